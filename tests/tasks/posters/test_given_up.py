from pathlib import Path

import pyarrow as pa

from tasks.posters import ledger
from tasks.posters.downloading import download_part
from tasks.posters.given_up import mark_given_up
from tasks.posters.ledger import WORKER_DIED
from tasks.posters.segments import find_lineage
from tasks.posters.task import plan_downloads
from tasks.settings import PosterSettings

SETTINGS = PosterSettings(attempts=1, allow_private_hosts=("127.0.0.1",))


def test_missing_posters_are_marked_and_requested_again(server, tmp_path: Path) -> None:
    films = [{"imdb_id": number, "poster_url": server.url(f"good-{number}")} for number in range(3)]
    films.append({"imdb_id": 3, "poster_url": server.url("status-404")})
    job = {"posters_dir": str(tmp_path), "part": 0, "num_parts": 1, "settings": SETTINGS.model_dump(mode="json")}
    download_part(**job, films=[films[0], films[3]])
    lineage = find_lineage(tmp_path, 0, 1)
    assert mark_given_up(lineage, films, SETTINGS) == 2
    reasons = {row["imdb_id"]: row["reason"] for row in ledger.read_ledger(tmp_path).to_pylist()}
    assert reasons == {0: None, 1: WORKER_DIED, 2: WORKER_DIED, 3: "http 404"}
    (plan,) = plan_downloads(pa.Table.from_pylist(films), tmp_path, SETTINGS)
    assert plan.num_requests == 2
    assert download_part(**job, films=films)["outcomes"] == {"new": 2}
    assert ledger.read_ledger(tmp_path)["status"].to_pylist() == ["ok", "ok", "ok", "failed"]


def test_posters_that_are_only_refreshed_keep_their_rows(server, tmp_path: Path) -> None:
    films = [{"imdb_id": 0, "poster_url": server.url("good")}]
    download_part(str(tmp_path), 0, 1, films, SETTINGS.model_dump(mode="json"))
    refresh = SETTINGS.model_copy(update={"refresh": True})
    assert mark_given_up(find_lineage(tmp_path, 0, 1), films, refresh) == 0
    assert ledger.read_ledger(tmp_path)["status"].to_pylist() == ["ok"]
