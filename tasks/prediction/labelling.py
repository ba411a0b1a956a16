"""Label a folder or a catalog of posters: `labels.parquet` and `labels.csv`.

Everything is written to one folder: the result, and in `work` the downloaded posters and the predictions so far, so
that a run that was killed goes on where it was, and the next one requests and predicts only what is new.
"""

import hashlib
import logging
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tasks.catalog.reading import read_rows
from tasks.errors import SettingsError
from tasks.posters import ledger, segments
from tasks.prediction.images import SCHEMES, ImageResult, list_images
from tasks.prediction.pieces import PiecePlan, plan_files, plan_parts, read_piece
from tasks.prediction.predictors import PredictorKey
from tasks.prediction.tables import make_schema, make_table, write_csv, write_parquet

logger = logging.getLogger(__name__)

FILES = ("labels.parquet", "labels.csv")
WORK = "work"

_MALFORMED = "wrong number of fields"


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


@dataclass(frozen=True)
class LabelPlan:
    """What is known of some posters before they are predicted.

    Attributes:
        finished: Rows of the posters that were predicted before, or are known to have no image.
        pieces: The others.
        outdated: Files of pieces of other models and images.
        key: What decides the predictor.
    """

    finished: list[pa.Table]
    pieces: list[PiecePlan]
    outdated: list[Path]
    key: PredictorKey

    @property
    def size(self) -> int:
        """Number of images."""
        return sum(map(len, self.finished)) + sum(piece.size for piece in self.pieces)


def plan_labels(posters: pa.Table, output_dir: Path, key: PredictorKey, *, with_files: bool = True) -> LabelPlan:
    """Returns which posters are to be predicted.

    Args:
        posters: Posters as `list_posters` returns them; those with an address have been downloaded to the poster parts
            in `work/posters`.
        output_dir: Folder of the labels.
        key: What decides the predictor.
        with_files: Whether local files are read; a catalog from elsewhere may not name them.
    """
    work = output_dir.resolve() / WORK
    posters_dir, folder = work / "posters", work / "pieces"
    films = list_addresses(posters)
    files = [image for image in pc.unique(posters["image"]).to_pylist() if not image.startswith(SCHEMES)]
    finished = [_list_failed(posters_dir, films)]
    plans = list(plan_parts(posters_dir, films, folder, key))
    if with_files:
        plans += plan_files(files, folder, key)
    else:
        reasons = ((image, "address not http(s)" if image else "no poster address") for image in files)
        finished.append(make_error_rows(reasons))
    pieces = []
    for plan in plans:
        rows = read_piece(plan.path)
        if rows is None:
            pieces.append(plan)
        else:
            finished.append(rows)
    outdated = set(folder.glob("*.parquet")).difference(plan.path for plan in plans)
    return LabelPlan(finished, pieces, sorted(outdated), key)


def write_labels(posters: pa.Table, predicted: Sequence[pa.Table], output_dir: Path) -> Labelled:
    """Writes a row for each of some posters, in their order.

    Args:
        posters: Posters as `list_posters` returns them.
        predicted: Rows of their images.
        output_dir: Folder that the files are written to.
    """
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


def _list_failed(posters_dir: Path, films: pa.Table) -> pa.Table:
    """Returns rows with the errors of the addresses that have no poster."""
    rows = ledger.read_ledger(posters_dir, ["imdb_id", "status", "reason"]).to_pandas()
    found = films.to_pandas().merge(rows, on="imdb_id", how="left")
    failed = found[found["status"] != segments.OK]
    reasons = zip(failed["poster_url"], failed["reason"].fillna("not requested"), strict=True)
    return make_error_rows(reasons)


def make_error_rows(reasons: Iterable[tuple[str, str]]) -> pa.Table:
    """Returns the rows of images that have no prediction.

    Args:
        reasons: Images, each with the reason.
    """
    return make_table(ImageResult(image, error=reason) for image, reason in reasons)
