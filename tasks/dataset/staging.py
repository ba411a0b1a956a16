"""Write a shard on a machine that has none of the posters: they are read from a store, and the shard is sent there."""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel, ConfigDict

from tasks.dataset.shards import list_parts_of_shard
from tasks.dataset.task import ShardPlan, iterate_films
from tasks.errors import DatasetError
from tasks.hashing import describe_file
from tasks.posters.ledger import iterate_part
from tasks.posters.segments import read_num_parts
from tasks.posters.staging import StoredPart, write_manifests
from tasks.storage.folders import StoredFile, StoredFolder, fetch_files, send_files, staged_folder
from tasks.storage.objects import ObjectStore
from tasks.storage.units import UnitResult, run_once
from tasks.work_report import WorkReport, report_work

logger = logging.getLogger(__name__)

_RECORD = ("imdb_id", "title", "year", "score", "format", "sha256", "genres", "targets")


class StoredShardPlan(BaseModel):
    """What a worker has to know to write a shard; plain data.

    Attributes:
        address: Address of the store.
        generation: Generation of the manifest of the shards.
        shard: Name of the shard.
        made_of: Fingerprint of all that its records hold.
        films: Its films, as `records.encode_example` takes them, without the image.
        parts: The poster parts that have their posters.
    """

    model_config = ConfigDict(frozen=True)

    address: str
    generation: int
    shard: str
    made_of: str
    films: Sequence[Mapping[str, Any]]
    parts: Sequence[StoredPart]

    @property
    def name(self) -> str:
        """Name of the shard in the log."""
        return self.shard.removesuffix(".tfrecord")


def describe_shard(
    shard: ShardPlan, films: pd.DataFrame, posters: StoredFolder, shards: StoredFolder, present: Collection[str]
) -> StoredShardPlan:
    """Describes a shard for a worker.

    Args:
        shard: The shard.
        films: Films of the data set, with `split`, `targets`, and of the image `sha256` and `format`.
        posters: This machine's copy of the posters.
        shards: This machine's copy of the shards.
        present: Names of the parts that have files, as `ledger.list_names` returns them.
    """
    num_parts = read_num_parts(posters.folder) or 1
    return StoredShardPlan(
        address=posters.address,
        generation=shards.generation,
        shard=shard.shard,
        made_of=shard.made_of,
        films=[{name: film[name] for name in _RECORD} for _, film in iterate_films(films, shard.rows)],
        parts=[
            StoredPart.describe(posters, number, num_parts, present)
            for number in list_parts_of_shard(shard.shard, num_parts)
        ],
    )


@task(name="write shard", task_run_name="write {plan.name}", cache_policy=NO_CACHE)
def write_shard(plan: StoredShardPlan) -> WorkReport[UnitResult]:
    """Writes one shard; see `write_stored_shard`."""
    return report_work(lambda: write_stored_shard(plan))


def write_stored_shard(plan: StoredShardPlan) -> UnitResult:
    """Writes a shard of films whose posters are in a store, and sends it there.

    Returns:
        The shard's file. If it was written before, from the same films and posters, the result of then.

    Raises:
        DamagedObjectError: A segment of posters is missing, or damaged.
        DatasetError: Posters of the ledger are not in its files.
        StoreError: The store can't be read or written.
    """
    # TensorFlow takes seconds to import.
    from tasks.dataset.records import write_records

    def work() -> UnitResult:
        with staged_folder(plan.address, "posters", {}) as posters:
            folder = posters.folder.with_name("shards")
            folder.mkdir()
            write_records(folder, _iterate_records(plan, posters), [plan.shard])
            file = StoredFile(**describe_file(folder / plan.shard))
            send_files(posters.store, folder, {plan.shard: file})
        logger.info("dataset: %s written, %d records", plan.name, len(plan.films), extra={"part": plan.name})
        return UnitResult(files={plan.shard: file}, value={})

    # The records are in the order of the parts.
    numbers = [[part.number, part.num_parts] for part in plan.parts]
    job = {"shard": plan.shard, "made_of": plan.made_of, "generation": plan.generation, "parts": numbers}
    return run_once(ObjectStore(plan.address), "shards", job, work)


def _iterate_records(plan: StoredShardPlan, posters: StoredFolder) -> Iterator[dict[str, Any]]:
    """Yields the films with their posters, in the order of the ledger, as where all shards are written at once.

    The segments of a part are here while it is read. They are fetched as they are, all at once: a shard has posters of
    nearly all their row groups, each of which would be a request.
    """
    films = {film["imdb_id"]: film for film in plan.films}
    num_films = 0
    for part in plan.parts:
        segments = part.list_files()
        fetch_files(posters.store, posters.folder, segments)
        write_manifests(part, posters.folder)
        for imdb_id, content in iterate_part(posters.folder, part.number, part.num_parts, films.keys()):
            yield {**films[imdb_id], "shard": plan.shard, "content": content}
            num_films += 1
        for name in segments:
            (posters.folder / name).unlink()
    if num_films < len(films):
        raise DatasetError(
            f"{len(films) - num_films} posters of {plan.name} are not in the store: run again, to download them again"
        )
