"""Write the shards of a data set on the workers of a cluster that have nothing but the store."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from flows.runners import RunnerError, open_runner
from flows.spreading import Spreading
from tasks.dataset.staging import describe_shard, write_shard
from tasks.dataset.task import ShardPlan, ShardWriter
from tasks.errors import DamagedObjectError, RepairedError
from tasks.posters.ledger import list_names
from tasks.posters.staging import repair_stored_segment
from tasks.progress import Progress
from tasks.settings import Settings
from tasks.storage.folders import StoredFile, StoredFolder


def choose_shard_writer(settings: Settings) -> ShardWriter | None:
    """Returns a writer on workers if they may be on other machines; None: this process writes the shards faster."""
    if settings.data_store and settings.runner.kind == "dask" and settings.runner.address:
        return partial(_write_shards, settings=settings, address=settings.data_store)
    return None


def _write_shards(
    folder: Path,  # noqa: ARG001  (they are in the store alone)
    films: pd.DataFrame,
    shards: Sequence[ShardPlan],
    *,
    settings: Settings,
    address: str,
) -> Mapping[str, Mapping[str, Any]]:
    """Writes the shards; see `ShardWriter`.

    A shard that ends every process which tries to write it ends the run, once all others are in the store, from where
    the next run takes them. Its films are not left out, as the posters of such a download are: writing copies bytes
    that a download has checked, and decodes none, so that no image is to blame, but a machine's memory or disk; and a
    data set without a shard's films, which may be half of the test split, gives another model and other figures.

    Raises:
        RepairedError: A segment of posters in the store was damaged; what is lost is to be downloaded again.
        RunnerError: The processes that tried to write some shards died; or the runner has failed.
    """
    posters = StoredFolder(address, settings.workspace.folder("posters"))
    stored = StoredFolder(address, settings.workspace.folder("shards"))
    present = list_names(posters.folder)
    files: dict[str, StoredFile] = {}
    with (
        Progress("dataset", sum(shard.size for shard in shards), "records") as progress,
        open_runner(settings.runner, len(shards), posters.folder) as runner,
    ):
        # Described when a worker is free for it: the films of all shards take more memory than the rest of the stage.
        spreading: Spreading[ShardPlan] = Spreading(
            "dataset",
            runner,
            write_shard,
            lambda shard: {"plan": describe_shard(shard, films, posters, stored, present)},
        )
        given_up = []
        try:
            for shard, result in spreading.run(shards):
                if result is None:
                    given_up.append(shard.name)
                    continue
                progress.advance(shard.size)
                files |= result.files
        except DamagedObjectError as error:
            repair_stored_segment(posters, error)
            raise RepairedError(f"{error.name} {error.problem}: what is whole was kept; run again") from error
    if given_up:
        raise RunnerError(
            f"{', '.join(given_up)} can't be written: the processes that tried it died; give them more memory or disk, "
            "or choose runner.kind=threads, and run again: all other shards are kept"
        )
    stored.adopt(files)
    return {name: file.describe() for name, file in files.items()}
