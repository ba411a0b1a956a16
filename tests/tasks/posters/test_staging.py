"""Parts are downloaded with nothing but a store, as on another machine; a real S3-compatible server, or a folder."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tasks.posters import ledger
from tasks.posters.segments import Part, copy_ledger, list_stored_files
from tasks.posters.staging import StoredPart, download_stored_part, keep_stored_parts
from tasks.settings import PosterSettings
from tasks.storage.folders import StoredFolder

SETTINGS = PosterSettings(
    backoff_seconds=0.01, attempts=1, deadline_seconds=20, connections=4, allow_private_hosts=("127.0.0.1",)
)


@pytest.fixture(params=["folder", "s3"])
def posters(request: pytest.FixtureRequest, tmp_path: Path) -> StoredFolder:
    """The copy of the machine whose run it is."""
    address = str(tmp_path / "store") if request.param == "folder" else request.getfixturevalue("s3")
    folder = StoredFolder(address, tmp_path / "data" / "posters")
    folder.pull()
    ledger.choose_num_parts(folder.folder, 10, 1000)
    return folder


def make_job(server, paths: Iterable[str], **settings: Any) -> dict[str, Any]:
    films = [{"imdb_id": number, "poster_url": server.url(path)} for number, path in enumerate(paths)]
    return {"films": films, "settings": SETTINGS.model_copy(update=settings).model_dump(mode="json")}


def download(posters: StoredFolder, job: dict[str, Any]) -> dict[str, int]:
    """Plans on this machine, downloads on another, and takes the result over."""
    part = StoredPart.describe(posters, 0, 1, ledger.list_names(posters.folder))
    sent = StoredPart.model_validate_json(part.model_dump_json())
    result = download_stored_part(sent, json.loads(json.dumps(job)))
    keep_stored_parts(posters, [(Part(posters.folder, 0, 1), result)])
    return dict(result.value["outcomes"])


def test_posters_get_into_the_store_and_are_read_from_it(posters: StoredFolder, server, tmp_path: Path) -> None:
    assert download(posters, make_job(server, ["good-1", "status-404"])) == {"new": 1, "failed": 1}
    # The posters are in the store alone; the ledger and single posters are read from there.
    assert list(posters.folder.glob("*.parquet")) == []
    assert ledger.read_ledger(posters.folder)["status"].to_pylist() == ["ok", "failed"]
    assert list(ledger.iterate_posters(posters.folder, [0, 1])) == [(0, server.poster)]
    assert posters.commit(list_stored_files(posters.folder))

    other = StoredFolder(posters.address, tmp_path / "other" / "posters")
    other.pull(lambda name: name.endswith(".json"))
    assert ledger.read_ledger(other.folder).equals(ledger.read_ledger(posters.folder))
    assert ledger.read_poster(other.folder, 0) == server.poster


def test_the_ledger_is_read_from_a_copy_once_it_was_made(posters: StoredFolder, server, tmp_path: Path) -> None:
    download(posters, make_job(server, ["good-1", "status-404"]))
    posters.commit(list_stored_files(posters.folder))
    other = StoredFolder(posters.address, tmp_path / "other" / "posters")
    other.pull(lambda name: name.endswith(".json"))
    copy_ledger(other.folder)
    (segment,) = Part(other.folder, 0, 1).segments()
    posters.store.remove(f"posters/{segment.name}")
    assert ledger.read_ledger(other.folder)["status"].to_pylist() == ["ok", "failed"]
    # The posters themselves are in the store alone; and a segment that is here is read itself.
    assert ledger.read_poster(other.folder, 0) is None
    assert list_names(other.folder.parent / ".posters-ledger") == [segment.name]
    assert not {".posters-ledger"} & set(other.list_files())


def test_copies_of_segments_that_were_replaced_are_removed(posters: StoredFolder, server) -> None:
    for number in range(1, 11):
        download(posters, make_job(server, [f"good-{index}" for index in range(number)]))
    listed = sorted(segment.name for segment in Part(posters.folder, 0, 1).segments())
    assert list_names(posters.folder.parent / ".posters-ledger") == listed


def list_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_later_run_downloads_what_is_missing(posters: StoredFolder, server) -> None:
    download(posters, make_job(server, ["good-1", "good-2"]))
    posters.commit(list_stored_files(posters.folder))
    assert download(posters, make_job(server, ["good-1", "good-2", "good-3"])) == {"new": 1}
    assert set(server.requests.values()) == {1}
    assert len(Part(posters.folder, 0, 1).segments()) == 2
    posters.commit(list_stored_files(posters.folder))
    assert len(posters.store.list_names("posters")) == 3  # two segments, and the folder of the results


def test_small_segments_are_joined_on_the_worker(posters: StoredFolder, server) -> None:
    for number in range(1, 11):
        download(posters, make_job(server, [f"good-{index}" for index in range(number)]))
    assert len(Part(posters.folder, 0, 1).segments()) < 9
    assert ledger.read_ledger(posters.folder)["imdb_id"].to_pylist() == list(range(10))
    assert set(server.requests.values()) == {1}


def test_a_part_that_was_done_is_not_downloaded_again(posters: StoredFolder, server, tmp_path: Path) -> None:
    """The tasks of a killed worker run again, and those of a killed run: nothing was committed."""
    job = make_job(server, ["good-1", "status-404"])
    part = StoredPart.describe(posters, 0, 1, ledger.list_names(posters.folder))
    first = download_stored_part(part, {**job, "share": 0.5})
    assert download_stored_part(part, {**job, "share": 0.25, "left_alone": {"host": "refuses"}}) == first
    assert server.requests == {"good-1": 1, "status-404": 1}
    # Other films, or another state of the part, are another job.
    more = make_job(server, ["good-1", "good-2"])
    assert download_stored_part(part, more).value["outcomes"] == {"new": 2}


@pytest.mark.parametrize("posters", ["folder"], indirect=True)
def test_settings_of_speed_and_patience_do_not_download_a_part_again(posters: StoredFolder, server) -> None:
    part = StoredPart.describe(posters, 0, 1, ledger.list_names(posters.folder))
    first = download_stored_part(part, make_job(server, ["good-1"]))
    operational: dict[str, Any] = {"connections": 8, "connections_per_host": 3, "requests_per_second_per_host": 9.0}
    operational |= {"attempts": 3, "backoff_seconds": 0.2, "connect_timeout_seconds": 9.0, "deadline_seconds": 9.0}
    operational |= {"give_up_seconds": 1.0, "min_success_rate": 0.5, "posters_per_part": 50}
    assert download_stored_part(part, make_job(server, ["good-1"], **operational)) == first
    assert server.requests == {"good-1": 1}
    # Each of the others decides which posters are requested, or taken.
    decisive: dict[str, Any] = {"max_bytes": 10, "min_side_pixels": 5000, "retry_failed": True, "image_width": 300}
    decisive |= {"forget_after_days": 1, "allow_private_hosts": ("localhost", "127.0.0.1")}
    for number, (name, value) in enumerate(decisive.items(), 2):
        download_stored_part(part, make_job(server, ["good-1"], **{name: value}))
        assert server.requests == {"good-1": number}, name
    assert operational.keys() | decisive.keys() | {"refresh"} == PosterSettings.model_fields.keys()


def test_a_refresh_asks_every_time(posters: StoredFolder, server) -> None:
    download(posters, make_job(server, ["good-1"]))
    job = make_job(server, ["good-1"], refresh=True)
    assert [download(posters, job) for _ in range(2)] == [{"unchanged": 1}, {"unchanged": 1}]
    assert server.requests["good-1"] == 3


def test_a_damaged_segment_in_the_store_is_repaired_by_the_next_download(posters: StoredFolder, server) -> None:
    download(posters, make_job(server, ["good-1", "good-2"]))
    (segment,) = Part(posters.folder, 0, 1).segments()
    posters.store.remove(f"posters/{segment.name}")
    assert download(posters, make_job(server, ["good-1", "good-2"])) == {"new": 2}
    assert ledger.read_ledger(posters.folder)["status"].to_pylist() == ["ok", "ok"]
