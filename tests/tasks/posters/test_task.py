import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tasks.errors import DownloadError
from tasks.posters import ledger, segments
from tasks.posters.downloading import download_part
from tasks.posters.task import check_success, count_posters, plan_downloads
from tasks.settings import PosterSettings

SETTINGS = PosterSettings(
    connections=8, backoff_seconds=0.01, attempts=2, posters_per_part=10, allow_private_hosts=("127.0.0.1",)
)


def make_films(urls: dict[int, str]) -> pa.Table:
    return pa.table({"imdb_id": list(urls), "poster_url": list(urls.values())})


def download(films: pa.Table, posters_dir: Path, settings: PosterSettings = SETTINGS) -> Counter[str]:
    """Downloads as the flow does, but in this process."""
    outcomes: Counter[str] = Counter()
    for plan in plan_downloads(films, posters_dir, settings):
        result = download_part(**json.loads(json.dumps(plan.make_job(posters_dir, settings))))
        assert sum(result["outcomes"].values()) == plan.num_requests
        outcomes.update(result["outcomes"])
    return outcomes


def list_segments(posters_dir: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in posters_dir.glob("*.parquet")}


def test_second_run_requests_only_missing_posters(server, tmp_path: Path) -> None:
    urls = {index: server.url(f"good-{index}") for index in range(40)} | {99: server.url("status-404")}
    films = make_films(urls)
    assert download(films, tmp_path / "posters") == {"new": 40, "failed": 1}
    assert len(segments.list_parts(tmp_path / "posters")) == 4
    assert download(films, tmp_path / "posters") == {}
    assert set(server.requests.values()) == {1}

    urls[100] = server.url("good-100")
    films = make_films(urls)
    assert download(films, tmp_path / "posters") == {"new": 1}
    assert download(films, tmp_path / "posters", SETTINGS.model_copy(update={"retry_failed": True})) == {"failed": 1}
    assert server.requests["status-404"] == 2


def test_counts_and_the_table_of_reasons(server, tmp_path: Path) -> None:
    paths = ["good-1", "good-2", "good-3", "status-404", "html", "status-410", "status-404-b"]
    films = make_films({n: server.url(path) for n, path in enumerate(paths[:6])})
    counts = count_posters(films, tmp_path / "posters", download(films, tmp_path / "posters"))
    assert (counts.num_films, counts.num_ok, counts.success_rate) == (6, 3, 0.5)
    assert counts.outcomes == {"new": 3, "failed": 3}
    assert counts.failed == {"http 404": 1, "not an image": 1, "http 410": 1}
    check_success(counts, 0.5)
    with pytest.raises(DownloadError, match=r"only 3 of 6 posters.*\(50\.0%.*--retry-failed.*\n +1  http 404"):
        check_success(counts, 0.51)


def test_posters_of_films_outside_the_catalog_do_not_count(server, tmp_path: Path) -> None:
    films = make_films({1: server.url("good"), 2: server.url("status-404")})
    download(films, tmp_path / "posters")
    films = make_films({1: server.url("good")})
    counts = count_posters(films, tmp_path / "posters", {})
    assert (counts.num_films, counts.num_ok, counts.failed) == (1, 1, {})


REFRESH = SETTINGS.model_copy(update={"refresh": True})


def test_refresh_sends_validators_and_writes_only_changed_posters(server, tmp_path: Path) -> None:
    urls = {index: server.url(f"good-{index}") for index in range(30)} | {99: server.url("status-404")}
    films = make_films(urls)
    download(films, tmp_path / "posters")
    before = list_segments(tmp_path / "posters")
    assert download(films, tmp_path / "posters", REFRESH) == {"unchanged": 30}
    assert server.not_modified == 30
    assert list_segments(tmp_path / "posters") == before

    server.replace("good-7")
    assert download(films, tmp_path / "posters", REFRESH) == {"unchanged": 29, "changed": 1}
    (new,) = list_segments(tmp_path / "posters").keys() - before.keys()
    assert segments.read_segment(tmp_path / "posters" / new)["imdb_id"].to_pylist() == [7]
    assert dict(ledger.iterate_posters(tmp_path / "posters", {7})) == {7: server.poster_at("good-7")}
    assert download(films, tmp_path / "posters", REFRESH) == {"unchanged": 30}


def test_refresh_without_validators_compares_the_bytes(server, tmp_path: Path) -> None:
    films = make_films({1: server.url("plain-1"), 2: server.url("plain-2")})
    download(films, tmp_path / "posters")
    assert download(films, tmp_path / "posters", REFRESH) == {"unchanged": 2}
    server.replace("plain-2")
    assert download(films, tmp_path / "posters", REFRESH) == {"unchanged": 1, "changed": 1}
    assert server.not_modified == 0


def test_a_poster_whose_refresh_fails_is_kept(server, tmp_path: Path) -> None:
    films = make_films({1: server.url("gone-1"), 2: server.url("good-2")})
    download(films, tmp_path / "posters")
    before = ledger.read_ledger(tmp_path / "posters")
    assert download(films, tmp_path / "posters", REFRESH) == {"kept": 1, "unchanged": 1}
    assert ledger.read_ledger(tmp_path / "posters").equals(before)


def test_failures_that_may_pass_are_mended_by_the_next_run(server, tmp_path: Path) -> None:
    paths = ["once-503", "status-404", "good"]
    films = make_films({n: server.url(path) for n, path in enumerate(paths)})
    one_try = SETTINGS.model_copy(update={"attempts": 1})
    assert download(films, tmp_path / "posters", one_try) == {"new": 1, "failed": 2}
    assert download(films, tmp_path / "posters", one_try) == {"new": 1}
    counts = count_posters(films, tmp_path / "posters", {})
    assert (counts.num_ok, counts.failed) == (2, {"http 404": 1})


def test_odd_headers_cost_nothing_and_pictures_one_poster(server, tmp_path: Path) -> None:
    paths = ["oddheader", "html", *(f"good-{number}" for number in range(30))]
    films = make_films({n: server.url(path) for n, path in enumerate(paths)})
    assert download(films, tmp_path / "posters") == {"new": 31, "failed": 1}
    assert dict(ledger.iterate_posters(tmp_path / "posters", {0})) == {0: server.poster}


def test_films_that_were_not_requested_are_accounted_for(server, tmp_path: Path) -> None:
    films = make_films({1: server.url("good-1")})
    download(films, tmp_path / "posters")
    films = make_films({1: server.url("good-1"), 2: server.url("good-2")})
    counts = count_posters(films, tmp_path / "posters", {})
    assert (counts.num_films, counts.num_ok, counts.failed) == (2, 1, {"not requested": 1})


def test_what_was_downloaded_before_an_error_is_kept(server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    films = make_films({n: server.url(f"good-{n}") for n in range(300)})
    one_part = SETTINGS.model_copy(update={"posters_per_part": 1000})
    append = segments.Part.append

    def fail_at_second(part: segments.Part, rows: Any) -> None:
        if part.segments():
            raise OSError(28, "No space left on device")
        append(part, rows)

    monkeypatch.setattr(segments.Part, "append", fail_at_second)
    with pytest.raises(OSError, match="No space left"):
        download(films, tmp_path / "posters", one_part)
    monkeypatch.undo()
    assert ledger.read_ledger(tmp_path / "posters").num_rows == segments.SEGMENT_ROWS
    assert not list((tmp_path / "posters").glob(".*"))
    assert download(films, tmp_path / "posters", one_part) == {"new": 300 - segments.SEGMENT_ROWS}


def test_segments_are_bounded_by_bytes(server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.posters.downloading.SEGMENT_BYTES", 5 * len(server.poster))
    films = make_films({n: server.url(f"good-{n}") for n in range(12)})
    download(films, tmp_path / "posters", SETTINGS.model_copy(update={"posters_per_part": 1000}))
    rows = [segments.read_segment(path).num_rows for path in (tmp_path / "posters").glob("*.parquet")]
    assert sorted(rows) == [2, 5, 5]


def test_another_width_is_downloaded_once_and_the_catalogs_where_there_is_none(server, tmp_path: Path) -> None:
    # The test server answers 404 to both addresses of the second film.
    paths = {1: "good._V1_UX182_CR0,0,182,268_AL_.jpg", 2: "status-404-a._V1_UX182_CR0,0,182,268_AL_.jpg"}
    films = make_films({number: server.url(path) for number, path in paths.items()})
    assert download(films, tmp_path / "posters") == {"new": 1, "failed": 1}
    wider = SETTINGS.model_copy(update={"image_width": 364})
    assert download(films, tmp_path / "posters", wider) == {"new": 1, "failed": 1}
    assert download(films, tmp_path / "posters", wider) == {}
    assert server.requests == {
        **dict.fromkeys(paths.values(), 1),
        paths[2]: 2,  # as the fall back
        "good._V1_UX364_CR0,0,364,536_AL_.jpg": 1,
        "status-404-a._V1_UX364_CR0,0,364,536_AL_.jpg": 1,
    }
