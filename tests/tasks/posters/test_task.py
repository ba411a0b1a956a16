import hashlib
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.errors import DownloadError
from tasks.posters import downloading, ledger
from tasks.posters.task import check_success, count_posters, plan_downloads
from tasks.settings import PosterSettings

SETTINGS = PosterSettings(connections=8, backoff_seconds=0.01, attempts=2, posters_per_part=10)


def write_films(path: Path, urls: dict[int, str]) -> Path:
    pq.write_table(pa.table({"imdb_id": list(urls), "poster_url": list(urls.values())}), path)
    return path


def download(films: Path, posters_dir: Path, settings: PosterSettings = SETTINGS) -> Counter[str]:
    """Downloads as the flow does, but in this process."""
    plans = plan_downloads(films, posters_dir, settings)
    return sum((downloading.download(plan.path, plan.films, settings, 4, lambda _: None) for plan in plans), Counter())


def test_second_run_requests_only_missing_posters(server, tmp_path: Path) -> None:
    urls = {index: server.url(f"good-{index}") for index in range(40)} | {99: server.url("status-404")}
    films = write_films(tmp_path / "films.parquet", urls)
    assert download(films, tmp_path / "posters") == {"new": 40, "failed": 1}
    assert len(ledger.part_paths(tmp_path / "posters")) == 4
    assert download(films, tmp_path / "posters") == {}
    assert set(server.requests.values()) == {1}

    urls[100] = server.url("good-100")
    write_films(films, urls)
    assert download(films, tmp_path / "posters") == {"new": 1}
    assert download(films, tmp_path / "posters", SETTINGS.model_copy(update={"retry_failed": True})) == {"failed": 1}
    assert server.requests["status-404"] == 2


def test_counts_and_the_table_of_reasons(server, tmp_path: Path) -> None:
    paths = ["good-1", "good-2", "good-3", "status-404", "html", "status-410", "status-404-b"]
    films = write_films(tmp_path / "films.parquet", {n: server.url(path) for n, path in enumerate(paths[:6])})
    counts = count_posters(films, tmp_path / "posters", download(films, tmp_path / "posters"))
    assert (counts.num_films, counts.num_ok, counts.success_rate) == (6, 3, 0.5)
    assert counts.outcomes == {"new": 3, "failed": 3}
    assert counts.failed == {"http 404": 1, "not an image": 1, "http 410": 1}
    check_success(counts, 0.5)
    with pytest.raises(DownloadError, match=r"only 3 of 6 posters.*\(50\.0%.*--retry-failed.*\n +1  http 404"):
        check_success(counts, 0.51)


def test_posters_of_films_outside_the_catalog_do_not_count(server, tmp_path: Path) -> None:
    films = write_films(tmp_path / "films.parquet", {1: server.url("good"), 2: server.url("status-404")})
    download(films, tmp_path / "posters")
    write_films(films, {1: server.url("good")})
    counts = count_posters(films, tmp_path / "posters", {})
    assert (counts.num_films, counts.num_ok, counts.failed) == (1, 1, {})


REFRESH = SETTINGS.model_copy(update={"refresh": True})


def test_refresh_sends_validators_and_writes_only_changed_parts(server, tmp_path: Path) -> None:
    urls = {index: server.url(f"good-{index}") for index in range(30)} | {99: server.url("status-404")}
    films = write_films(tmp_path / "films.parquet", urls)
    download(films, tmp_path / "posters")
    before = {path: path.stat().st_mtime_ns for path in ledger.part_paths(tmp_path / "posters")}
    assert download(films, tmp_path / "posters", REFRESH) == {"unchanged": 30}
    assert server.not_modified == 30
    assert {path: path.stat().st_mtime_ns for path in before} == before

    server.replace("good-7")
    assert download(films, tmp_path / "posters", REFRESH) == {"unchanged": 29, "changed": 1}
    part = next(path for path in before if 7 in ledger.read_part(path)["imdb_id"].to_pylist())
    assert [path for path in before if path.stat().st_mtime_ns != before[path]] == [part]
    row = next(row for row in ledger.read_part(part).to_pylist() if row["imdb_id"] == 7)
    assert row["content"] == server.poster_at("good-7")
    assert row["sha256"] == hashlib.sha256(row["content"]).hexdigest()
    assert download(films, tmp_path / "posters", REFRESH) == {"unchanged": 30}


def test_refresh_without_validators_compares_the_bytes(server, tmp_path: Path) -> None:
    films = write_films(tmp_path / "films.parquet", {1: server.url("plain-1"), 2: server.url("plain-2")})
    download(films, tmp_path / "posters")
    assert download(films, tmp_path / "posters", REFRESH) == {"unchanged": 2}
    server.replace("plain-2")
    assert download(films, tmp_path / "posters", REFRESH) == {"unchanged": 1, "changed": 1}
    assert server.not_modified == 0


def test_a_poster_whose_refresh_fails_is_kept(server, tmp_path: Path) -> None:
    films = write_films(tmp_path / "films.parquet", {1: server.url("gone-1"), 2: server.url("good-2")})
    download(films, tmp_path / "posters")
    before = ledger.read_ledger(tmp_path / "posters")
    assert download(films, tmp_path / "posters", REFRESH) == {"kept": 1, "unchanged": 1}
    assert ledger.read_ledger(tmp_path / "posters").equals(before)


def test_a_part_is_written_once_and_whole(server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    films = write_films(tmp_path / "films.parquet", {1: server.url("good")})
    monkeypatch.setattr(ledger.pq, "write_table", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(OSError, match="No space left"):
        download(films, tmp_path / "posters")
    assert [path.name for path in (tmp_path / "posters").iterdir()] == ["ledger.json"]
