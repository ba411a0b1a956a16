"""Download a part on a machine that has none of its files: they are read from a store, and sent there."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from tasks.errors import DamagedObjectError
from tasks.hashing import describe_file
from tasks.posters.downloading import download_part
from tasks.posters.segments import Part, Segment, copy_ledger, find_lineage, list_parts
from tasks.storage.folders import StoredFile, StoredFolder, send_files, staged_folder
from tasks.storage.objects import ObjectStore
from tasks.storage.units import UnitResult, run_once

# How fast a part is downloaded, and how often a poster is tried: what another value changes is tried again by the next
# run, as every failure that may pass.
_OPERATIONAL_SETTINGS = frozenset(
    {
        *("connections", "connections_per_host", "requests_per_second_per_host", "posters_per_part"),
        *("attempts", "backoff_seconds", "connect_timeout_seconds", "deadline_seconds", "give_up_seconds"),
        "min_success_rate",
    }
)


class StoredPart(BaseModel):
    """What a worker has to know of a part; plain data.

    Attributes:
        address: Address of the store.
        generation: Generation of the manifest of the posters.
        number: Number of the part.
        num_parts: Number of parts.
        segments: Segments of the part, and of those that it was split from, by the names of the parts.
    """

    model_config = ConfigDict(frozen=True)

    address: str
    generation: int
    number: int
    num_parts: int
    segments: Mapping[str, Sequence[Segment]]

    @classmethod
    def describe(cls, posters: StoredFolder, number: int, num_parts: int, present: Collection[str]) -> "StoredPart":
        """Describes a part of this machine's copy.

        Args:
            posters: The copy.
            number: Number of the part.
            num_parts: Number of parts.
            present: Names of the parts that have files, as `ledger.list_names` returns them.
        """
        lineage = [part for part in find_lineage(posters.folder, number, num_parts) if part.name in present]
        return cls(
            address=posters.address,
            generation=posters.generation,
            number=number,
            num_parts=num_parts,
            segments={part.name: part.segments() for part in lineage},
        )

    def list_files(self) -> dict[str, StoredFile]:
        """Returns the files of the segments, by name."""
        return {segment.name: segment.as_stored() for part in self.segments.values() for segment in part}


def download_stored_part(part: StoredPart, job: Mapping[str, Any]) -> UnitResult:
    """Downloads the posters of a part that are missing, and sends the new segments to the store.

    Args:
        part: The part.
        job: Arguments of `download_part` beside the folder and the part, JSON values.

    Returns:
        The new segments' files, and what `download_part` returned, with `segments`, those of the part from now on. If
        it was done before, of these very posters, the result of then.

    Raises:
        OSError: A segment can't be written, or this machine has no more open files.
        StoreError: The store can't be read or written.
    """

    def work() -> UnitResult:
        with staged_folder(part.address, "posters", part.list_files()) as staged:
            write_manifests(part, staged.folder)
            place: dict[str, Any] = {"part": part.number, "num_parts": part.num_parts}
            result = download_part(str(staged.folder), **place, **job)
            segments = find_lineage(staged.folder, part.number, part.num_parts)[-1].segments()
            known = part.list_files()
            new = {each.name: each.as_stored() for each in segments if each.name not in known}
            send_files(staged.store, staged.folder, new)
        return UnitResult(files=new, value={**result, "segments": [each.model_dump() for each in segments]})

    if job["settings"]["refresh"]:  # where nothing has changed, the next refresh is the same job
        return work()
    # Which part of the limits by host this call has does not decide the result, nor which hosts are left alone.
    decisive = {name: value for name, value in job.items() if name not in ("share", "left_alone", "on_fetched")}
    decisive["settings"] = {name: value for name, value in job["settings"].items() if name not in _OPERATIONAL_SETTINGS}
    described = part.model_dump(mode="json", exclude={"address"})
    return run_once(ObjectStore(part.address), "posters", {**described, **decisive}, work)


def write_manifests(part: StoredPart, folder: Path) -> None:
    """Writes the manifests of a part, and of those that it was split from, to a folder of posters."""
    for each in find_lineage(folder, part.number, part.num_parts):
        if segments := part.segments.get(each.name):
            each.list_segments(segments)


def keep_stored_parts(posters: StoredFolder, results: Iterable[tuple[Part, UnitResult]]) -> None:
    """Takes over what workers downloaded: these are the parts' segments from now on, and stay in the store.

    Args:
        posters: This machine's copy of the posters.
        results: Parts, each with its result of `download_stored_part`.
    """
    results = list(results)
    if not results:
        return
    posters.adopt({name: file for _, result in results for name, file in result.files.items()})
    for part, result in results:
        part.list_segments([Segment.model_validate(segment) for segment in result.value["segments"]])
    copy_ledger(posters.folder)


def repair_stored_segment(posters: StoredFolder, error: DamagedObjectError) -> None:
    """Takes what is damaged out of a segment in the store, so that the next download brings it again.

    Args:
        posters: This machine's copy of the posters.
        error: Error of the copy of that segment.

    Raises:
        StoreError: The store can't be read or written.
    """
    (part,) = (part for part in list_parts(posters.folder) if error.name.startswith(f"{part.name}-"))
    for path in part.repair(posters.folder / error.name, error.problem):
        # If no row is lost, the new segment has the name of the damaged one, which no commit would replace.
        send_files(posters.store, posters.folder, {path.name: StoredFile(**describe_file(path))})
