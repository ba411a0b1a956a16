"""The pieces of a label run: the posters of one poster part, or some hundreds of local files, predicted by one task.

The name of a piece's file ends with a hash of the model and of its images, so that it is read only for these.
"""

import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks import versions
from tasks.atomic import atomic_file
from tasks.checking import DamagedFileError, parquet_damage
from tasks.errors import RepairedError, SettingsError
from tasks.posters import ledger, segments
from tasks.posters.images import NotAPosterError
from tasks.prediction.images import ImageResult, make_result, process_contents, read_file
from tasks.prediction.predictor import Prediction
from tasks.prediction.predictors import CountedPredictor, PredictorKey
from tasks.prediction.tables import make_schema, make_table
from tasks.work_report import check_wanted

logger = logging.getLogger(__name__)

# Files of a piece: predictions that a killed run loses.
_FILES_PER_PIECE = 512


@dataclass(frozen=True)
class PartImages:
    """Downloaded posters of one part.

    Attributes:
        posters_dir: Folder of the poster parts, absolute.
        number: Number of the part.
        num_parts: Number of parts.
        films: The posters in the order of ids, as dicts with `imdb_id` and `poster_url`.
    """

    posters_dir: Path
    number: int
    num_parts: int
    films: Sequence[Mapping[str, Any]]

    @property
    def images(self) -> list[str]:
        """Addresses of the posters."""
        return [film["poster_url"] for film in self.films]

    def read(self) -> Iterator[bytes]:
        """Yields their bytes.

        Raises:
            RepairedError: A file of the posters was damaged; what was damaged is to be downloaded again.
        """
        imdb_ids = [film["imdb_id"] for film in self.films]
        num_read = 0
        for _, content in ledger.iterate_part(self.posters_dir, self.number, self.num_parts, imdb_ids):
            num_read += 1
            yield content
        if num_read < len(imdb_ids):
            raise RepairedError(
                f"{self.posters_dir} has lost {len(imdb_ids) - num_read} posters of part {self.number}: run again, to "
                "download them"
            )


@dataclass(frozen=True)
class LocalFiles:
    """Local files.

    Attributes:
        images: Their names, as given.
        folder: Folder that names may be relative to, absolute.
        example: Path of one that is there; None: none of them is.
    """

    images: Sequence[str]
    folder: str
    example: str | None

    def read(self) -> Iterator[bytes | NotAPosterError]:
        """Yields their bytes, or why one is no image.

        Raises:
            SettingsError: None of them is on this machine.
        """
        # Not Path, which refuses other names than `read_file` does.
        paths = [image and os.path.join(self.folder, image) for image in self.images]  # noqa: PTH118
        if self.example and not any(map(_exists, paths)):
            raise SettingsError(
                f"the {len(paths)} local images from {self.example} on are gone, or not on the worker's machine: "
                "expected images at the same path for all workers (a shared disk)"
            )
        return (read_file(path) for path in paths)


@dataclass(frozen=True)
class PiecePlan:
    """Images that are predicted by one task.

    Attributes:
        name: Name of the piece in the log.
        path: File of its predictions, absolute.
        source: The images.
    """

    name: str
    path: Path
    source: PartImages | LocalFiles

    @property
    def size(self) -> int:
        """Number of images."""
        return len(self.source.films if isinstance(self.source, PartImages) else self.source.images)


@dataclass(frozen=True)
class PredictedPiece:
    """What became of a piece.

    Attributes:
        reasons: Number of images by reason of failure ("" for success), unless they were counted meanwhile.
        damage: What was wrong with the downloaded posters, which were repaired; empty if nothing was.
    """

    reasons: Mapping[str, int] = field(default_factory=dict)
    damage: str = ""


def plan_parts(posters_dir: Path, films: pa.Table, folder: Path, key: PredictorKey) -> Iterator[PiecePlan]:
    """Yields the pieces of downloaded posters, one a part.

    Args:
        posters_dir: Folder of the poster parts, absolute.
        films: Columns `imdb_id` and `poster_url`; those without a poster are left out.
        folder: Folder of the pieces, absolute.
        key: What decides the predictor.
    """
    num_parts = segments.read_num_parts(posters_dir) or 1
    rows = ledger.read_ledger(posters_dir, ["imdb_id", "status", "sha256"]).filter(pc.field("status") == segments.OK)
    hashes = dict(zip(rows["imdb_id"].to_pylist(), rows["sha256"].to_pylist(), strict=True))
    films = films.filter(pc.is_in(films["imdb_id"], rows["imdb_id"].combine_chunks())).sort_by("imdb_id")
    for number, part_films in enumerate(ledger.split_into_parts(films, num_parts)):
        if part_films:
            images = [[film["poster_url"], hashes[film["imdb_id"]]] for film in part_films]
            name = f"part-{number:05d}"
            source = PartImages(posters_dir, number, num_parts, part_films)
            yield PiecePlan(name, _name_file(folder, name, key, images), source)


def plan_files(files: Sequence[str], folder: Path, key: PredictorKey) -> Iterator[PiecePlan]:
    """Yields the pieces of local files, some hundreds each.

    Args:
        files: Names of the files.
        folder: Folder of the pieces, absolute.
        key: What decides the predictor.
    """
    here = os.getcwd()  # noqa: PTH109  (as names are)
    for number, start in enumerate(range(0, len(files), _FILES_PER_PIECE)):
        images = files[start : start + _FILES_PER_PIECE]
        stats = [_stat(image) for image in images]
        example = next((stat[0] for stat in stats if len(stat) > 1), None)
        name = f"files-{number:05d}"
        source = LocalFiles(images, here, example and os.path.join(here, example))  # noqa: PTH118
        yield PiecePlan(name, _name_file(folder, name, key, stats), source)


def _name_file(folder: Path, name: str, key: PredictorKey, images: list[Any]) -> Path:
    described = [key.manifest_sha256, versions.PREPROCESSING, versions.EXPORT, key.precision, images]
    digest = hashlib.sha256(json.dumps(described).encode()).hexdigest()
    return folder / f"{name}-{digest[:16]}.parquet"


def _stat(image: str) -> list[Any]:
    """Returns what changes when a file changes: its path, size and time."""
    if not image:
        return [image]  # as a path, it would be the working directory
    try:
        stat = Path(image).stat()
    except (OSError, ValueError):
        return [image]
    return [image, stat.st_size, stat.st_mtime_ns]


def _exists(path: str) -> bool:
    return len(_stat(path)) > 1


def read_piece(path: Path) -> pa.Table | None:
    """Returns the rows of a piece; None if there is none, or it is damaged, so that it is made again."""
    try:
        with parquet_damage(path):
            rows = pq.read_table(path, page_checksum_verification=True)
    except DamagedFileError:
        return None
    return rows if rows.schema.equals(make_schema()) else None


def write_piece(plan: PiecePlan, counted: CountedPredictor) -> PredictedPiece:
    """Predicts the images of a piece and writes its file, unless a worker that died had written it.

    A hundred images are in memory at a time.

    Raises:
        SettingsError: The images are not on this machine.
        InterruptedError: The run has ended.
    """
    kept = read_piece(plan.path)
    if kept is not None:
        return _count(count_reasons(kept), counted)
    reasons: Counter[str] = Counter()

    def note(image: str, result: Prediction | NotAPosterError) -> ImageResult[Prediction]:
        named = make_result(image, result)
        reason = named.error or ""
        reasons[reason] += 1
        if counted.count:
            counted.count({reason: 1})
        check_wanted()
        return named

    results = process_contents(plan.source.read(), counted.predictor.predict)
    try:
        table = make_table(note(image, result) for image, result in zip(plan.source.images, results, strict=True))
    except RepairedError as error:
        return PredictedPiece(damage=str(error))
    with atomic_file(plan.path) as partial:
        pq.write_table(table, partial, write_page_checksum=True)
    logger.info("label: %s, %d images predicted", plan.name, table.num_rows, extra={"part": plan.name})
    return PredictedPiece({} if counted.count else reasons)


def _count(reasons: Mapping[str, int], counted: CountedPredictor) -> PredictedPiece:
    if counted.count is None:
        return PredictedPiece(reasons)
    counted.count(reasons)
    return PredictedPiece()


def count_reasons(rows: pa.Table) -> Counter[str]:
    """Returns the number of predictions by reason of failure; the reason "" is success."""
    return Counter(error or "" for error in rows["error"].to_pylist())
