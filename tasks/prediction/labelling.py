"""Label a folder or a catalog of posters: `labels.parquet` and `labels.csv`.

Everything is written to one folder: the result, and in `work` the downloaded posters and the predictions so far, so
that a run that was killed goes on where it was, and the next one requests and predicts only what is new.
"""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks import versions
from tasks.atomic import atomic_file
from tasks.catalog.reading import read_rows
from tasks.checking import DamagedFileError, parquet_damage
from tasks.errors import SettingsError
from tasks.hashing import hash_file
from tasks.model_folder import ModelFolder
from tasks.posters import ledger, segments
from tasks.posters.images import NotAPosterError
from tasks.prediction.images import SCHEMES, ImageResult, list_images, make_result, process_contents, read_file
from tasks.prediction.predictor import Prediction, Predictor
from tasks.prediction.tables import make_schema, make_table, write_csv, write_parquet
from tasks.progress import Progress

logger = logging.getLogger(__name__)

FILES = ("labels.parquet", "labels.csv")
WORK = "work"

_MALFORMED = "wrong number of fields"
# Files of a piece: predictions that a killed run loses.
_FILES_PER_PIECE = 512


@dataclass(frozen=True)
class Labelled:
    """The result of labelling: the folder of `FILES`, and how many images were labelled or failed, by reason."""

    folder: Path
    num_labelled: int
    errors: dict[str, int]


def list_posters(source: str, private_hosts: Collection[str] = ()) -> pa.Table:
    """Returns the images of a folder, or those in the column `Poster` of a CSV.

    The columns are strings: `id`, may be null; `image`; and `error`, why there is no image, otherwise null. Rows of a
    CSV with a wrong number of fields come last.

    Args:
        source: Folder, file or address of an image, or path or address of a CSV.
        private_hosts: Hosts that may have private addresses, `posters.allow_private_hosts`.

    Raises:
        SettingsError: There are none.
        CatalogError: The CSV cannot be read or has no such column.
    """
    if not urlsplit(source).path.lower().endswith(".csv"):
        images = list_images([source])
        return _make_posters(pa.nulls(len(images), pa.string()), pa.array(images, pa.string()), 0)
    read = read_rows(source, required=["Poster"], optional=["imdbId"], private_hosts=private_hosts)
    rows = read.table
    if read.num_malformed:
        lines = ", ".join(map(str, read.malformed_lines))
        logger.warning("label: %d rows have a %s, the first: row %s", read.num_malformed, _MALFORMED, lines)
    if not any(pc.utf8_trim_whitespace(rows["Poster"]).to_pylist()):
        raise SettingsError(f"{source} names no poster: expected files or addresses in its column Poster")
    ids = rows["imdbId"] if "imdbId" in rows.column_names else pa.nulls(rows.num_rows, pa.string())
    return _make_posters(
        pc.utf8_trim_whitespace(ids), pc.utf8_trim_whitespace(rows["Poster"]), num_malformed=read.num_malformed
    )


def _make_posters(ids: pa.Array, images: pa.Array, num_malformed: int) -> pa.Table:
    posters = pa.table({"id": ids, "image": images, "error": pa.nulls(len(images), pa.string())})
    malformed = {"id": pa.nulls(num_malformed, pa.string()), "image": [""] * num_malformed}
    return pa.concat_tables(
        [posters, pa.table({**malformed, "error": [_MALFORMED] * num_malformed}, schema=posters.schema)]
    )


def list_addresses(posters: pa.Table) -> pa.Table:
    """Returns the addresses among some posters as films that can be downloaded: `imdb_id`, a hash, and `poster_url`.

    Args:
        posters: Posters as `list_posters` returns them.
    """
    images = pc.unique(posters["image"]).to_pylist()
    addresses = [image for image in images if image.startswith(SCHEMES)]
    return pa.table({"imdb_id": pa.array(map(_hash_address, addresses), pa.int64()), "poster_url": addresses})


def _hash_address(address: str) -> int:
    # 63 bits: among a million addresses two have the same one with a probability of 1 in 10 million.
    return int.from_bytes(hashlib.blake2b(address.encode(), digest_size=8).digest(), "big") >> 1


def write_labels(
    model: ModelFolder,
    posters: pa.Table,
    output_dir: Path,
    *,
    with_files: bool = True,
    precision: float | None = None,
) -> Labelled:
    """Predicts posters and writes a row each, in their order. What was predicted before is not predicted again.

    Args:
        model: The model.
        posters: Posters as `list_posters` returns them; those with an address have been downloaded to the poster parts
            in `work/posters`.
        output_dir: Folder that the files are written to.
        with_files: Whether local files are read; a catalog from elsewhere may not name them.
        precision: Precision at which genres are predicted; None: over a confidence of 0.5.

    Raises:
        RegistryError: The model has no thresholds for this precision.
        RepairedError: A file of the posters was damaged; what was damaged is to be downloaded again.
    """
    posters_dir = output_dir / WORK / "posters"
    films = list_addresses(posters)
    files = [image for image in pc.unique(posters["image"]).to_pylist() if not image.startswith(SCHEMES)]
    progress = Progress("prediction", films.num_rows + len(files) * with_files, "images")
    pieces = _Pieces(output_dir / WORK / "pieces", model, precision, progress)
    with progress:
        failed = _list_failed(posters_dir, films)
        progress.count(Counter(failed["error"].to_pylist()))
        predicted = [*pieces.predict_parts(posters_dir, films), failed]
        if with_files:
            predicted += pieces.predict_files(files)
        else:
            reasons = ((image, "address not http(s)" if image else "no poster address") for image in files)
            predicted.append(_make_error_rows(list(reasons)))
    pieces.remove_outdated()
    rows = pa.concat_tables(predicted)
    indices = pd.Index(rows["image"].to_pylist()).get_indexer(posters["image"].to_pylist())
    found = rows.take(pa.array(indices)).set_column(0, make_schema().field("id"), posters["id"])
    column = found.schema.get_field_index("error")
    found = found.set_column(column, found.field(column), pc.coalesce(posters["error"], found["error"]))
    errors = Counter(found["error"].drop_null().to_pylist())
    write_parquet(found, output_dir / FILES[0])
    write_csv(found, output_dir / FILES[1])
    logger.info("label: %d images; failed: %s", found.num_rows, dict(errors.most_common()) or "none")
    return Labelled(output_dir, found.num_rows - errors.total(), dict(errors.most_common()))


class _Pieces:
    """Predictions on disk: a file for each poster part, and for some hundreds of local files.

    The name of a file ends with a hash of the model and of its images, so that it is read only for these.

    Args:
        folder: Folder of the pieces.
        model: The model.
        precision: Precision at which genres are predicted; None: over a confidence of 0.5.
        progress: Counts what was predicted, now or before.
    """

    def __init__(self, folder: Path, model: ModelFolder, precision: float | None, progress: Progress) -> None:
        self._folder = folder
        self._predictor = Predictor.open(model.path, precision)
        self._model = [hash_file(model.manifest_path), versions.PREPROCESSING, versions.EXPORT, precision]
        self._current: set[Path] = set()
        self._progress = progress

    def predict_parts(self, posters_dir: Path, films: pa.Table) -> Iterator[pa.Table]:
        """Yields the predictions of downloaded posters, part by part."""
        num_parts = segments.read_num_parts(posters_dir) or 1
        rows = ledger.read_ledger(posters_dir, ["imdb_id", "status", "sha256"]).filter(
            pc.field("status") == segments.OK
        )
        hashes = dict(zip(rows["imdb_id"].to_pylist(), rows["sha256"].to_pylist(), strict=True))
        for number, part_films in enumerate(ledger.split_into_parts(films, num_parts)):
            addresses = {film["imdb_id"]: film["poster_url"] for film in part_films if film["imdb_id"] in hashes}
            if addresses:
                key = [[addresses[imdb_id], hashes[imdb_id]] for imdb_id in sorted(addresses)]
                posters = ledger.iterate_part(posters_dir, number, num_parts, addresses)
                contents = (content for _, content in posters)
                yield self._predict(f"part-{number:05d}", [address for address, _ in key], contents, key)

    def predict_files(self, files: Sequence[str]) -> Iterator[pa.Table]:
        """Yields the predictions of local files, some hundreds at a time."""
        for number, start in enumerate(range(0, len(files), _FILES_PER_PIECE)):
            images = files[start : start + _FILES_PER_PIECE]
            contents = (read_file(image) for image in images)
            yield self._predict(f"files-{number:05d}", images, contents, [_stat(image) for image in images])

    def remove_outdated(self) -> None:
        """Removes the pieces of other models and images."""
        for path in self._folder.glob("*.parquet"):
            if path not in self._current:
                path.unlink()

    def _predict(
        self, name: str, images: Sequence[str], contents: Iterable[bytes | NotAPosterError], key: list[Any]
    ) -> pa.Table:
        digest = hashlib.sha256(json.dumps([*self._model, key]).encode()).hexdigest()
        path = self._folder / f"{name}-{digest[:16]}.parquet"
        self._current.add(path)
        kept = _read_piece(path)
        if kept is not None:
            self._progress.advance(kept.num_rows)
            return kept
        results = zip(images, process_contents(contents, self._predictor.predict), strict=True)
        table = make_table(self._count(make_result(image, result)) for image, result in results)
        with atomic_file(path) as partial:
            pq.write_table(table, partial, write_page_checksum=True)
        logger.info("label: %s, %d images predicted", name, table.num_rows)
        return table

    def _count(self, result: ImageResult[Prediction]) -> ImageResult[Prediction]:
        self._progress.count({result.error or "": 1})
        return result


def _read_piece(path: Path) -> pa.Table | None:
    """Returns the rows of a piece; None if there is none, or it is damaged, so that it is made again."""
    try:
        with parquet_damage(path):
            rows = pq.read_table(path, page_checksum_verification=True)
    except DamagedFileError:
        return None
    return rows if rows.schema.equals(make_schema()) else None


def _stat(image: str) -> list[Any]:
    """Returns what changes when a file changes: its path, size and time."""
    try:
        stat = Path(image).stat()
    except (OSError, ValueError):
        return [image]
    return [image, stat.st_size, stat.st_mtime_ns]


def _list_failed(posters_dir: Path, films: pa.Table) -> pa.Table:
    """Returns rows with the errors of the addresses that have no poster."""
    rows = ledger.read_ledger(posters_dir, ["imdb_id", "status", "reason"]).to_pandas()
    found = films.to_pandas().merge(rows, on="imdb_id", how="left")
    failed = found[found["status"] != segments.OK]
    reasons = zip(failed["poster_url"], failed["reason"].fillna("not requested"), strict=True)
    return _make_error_rows(list(reasons))


def _make_error_rows(reasons: Sequence[tuple[str, str]]) -> pa.Table:
    return make_table(ImageResult(image, error=reason) for image, reason in reasons)
