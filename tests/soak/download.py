"""Download the posters of the soak test's catalog, as the flow does: python tests/soak/download.py FOLDER ROWS PORT"""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import server

from tasks.posters.task import count_posters, plan_downloads
from tasks.posters.workers import Workers
from tasks.progress import Progress
from tasks.settings import PosterSettings

NUM_PROCESSES = 2


def main() -> None:
    folder, num_rows, port = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    settings = PosterSettings(
        connections=128,
        connections_per_host=128,
        posters_per_part=5000,
        attempts=3,
        backoff_seconds=0.05,
        deadline_seconds=2.0,
        allow_private_hosts=("127.0.0.1", *(f"127.0.1.{host + 1}" for host in range(server.NUM_WAITING_HOSTS))),
    )
    numbers = list(range(num_rows))
    addresses = [f"http://{server.host_of(number)}:{port}/posters/{number}.jpg" for number in numbers]
    films = pa.table({"imdb_id": numbers, "poster_url": addresses})
    plans = plan_downloads(films, folder, settings)
    progress = Progress("posters", sum(plan.num_requests for plan in plans))
    with Workers(NUM_PROCESSES) as workers, ThreadPoolExecutor(NUM_PROCESSES) as pool:
        list(pool.map(lambda plan: workers.download(plan.make_job(folder, settings), progress), plans))
    count_posters(films, folder, {})


if __name__ == "__main__":
    main()
