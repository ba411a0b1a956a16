"""The downloads of a counting server's posters, in four parts, as a flow of their own."""

from pathlib import Path

import pyarrow as pa
from counting_server import CountingServer
from prefect import flow
from prefect.runtime import flow_run

from flows.downloading import download_posters
from flows.journal import journal
from tasks.posters import ledger
from tasks.posters.task import PosterCounts
from tasks.settings import PosterSettings, RunnerSettings

NUM_POSTERS = 120
NUM_PARTS = 4
SETTINGS = PosterSettings(
    allow_private_hosts=("127.0.0.1",), posters_per_part=20, attempts=1, connections=4, connections_per_host=4
)


@flow(name="downloads")
def download(
    films: pa.Table, folder: Path, settings: PosterSettings, runner: RunnerSettings
) -> tuple[PosterCounts, str]:
    """Returns the counts, and the id of the flow run."""
    with journal(folder / "logs"):
        return download_posters(films, folder / "posters", settings, runner), str(flow_run.get_id())


def list_films(server: CountingServer) -> pa.Table:
    numbers = list(range(NUM_POSTERS))
    return pa.table({"imdb_id": numbers, "poster_url": [server.url(number) for number in numbers]})


def find_part(number: int) -> int:
    return ledger.assign_part(number, NUM_PARTS)
