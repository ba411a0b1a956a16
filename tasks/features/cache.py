"""Features on disk: immutable Parquet files, in one folder for each way of computing them.

Their pages have checksums, which are compared when they are read. Files of earlier versions have none: their values
must be possible ones.
"""

import contextlib
import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tasks import versions
from tasks.atomic import atomic_file
from tasks.checking import DamagedFileError, parquet_damage
from tasks.features.image_size import IMAGE_SIZE, ImageSize
from tasks.storage.folders import list_stored, open_stored, remove_stored

logger = logging.getLogger(__name__)

_ROWS_AT_ONCE = 512
# All features are means of ReLU6 layers: in [0, 6]. The float16 of that range, and they alone, are in this order as
# integers, which compare in a tenth of the time; the other zero, -0.0, is the greatest negative number.
_LARGEST_BITS, _NEGATIVE_ZERO_BITS = np.array([6.0, -0.0], np.float16).view(np.uint16)


@dataclass(frozen=True)
class FeatureKey:
    """Everything beside the image itself that decides its features; equal keys share a folder.

    Attributes:
        backbone: Fingerprint of the backbone's weights.
        taps: The tapped inner layers and their statistics, in order, as `features.taps`.
        image_size: Height and width of the backbone's input.
        preprocessing: Version of the preprocessing.
    """

    backbone: str
    taps: tuple[str, ...]
    image_size: ImageSize = IMAGE_SIZE
    preprocessing: int = field(default_factory=lambda: versions.PREPROCESSING)

    @property
    def folder_name(self) -> str:
        """Name of the folder of these features under `features_dir`."""
        name = f"{self.backbone}-v{self.preprocessing}"
        if self.taps:
            name += f"-{hashlib.sha256(' '.join(self.taps).encode()).hexdigest()[:8]}"
        if self.image_size != IMAGE_SIZE:
            name += "-{}x{}".format(*self.image_size)
        return name


def view_folder(folder: Path, view: int) -> Path:
    """Returns the folder of the features of a view (see `tasks.features.views`), that of the whole posters is `folder`.

    Args:
        folder: Folder of the features of one `FeatureKey`.
        view: Number of the view.
    """
    return folder / f"view-{view}-v{versions.VIEWS}" if view else folder


def list_view_folders(folder: Path) -> list[Path]:
    """Returns the folders of all views that have features, that of the whole posters first."""
    return [folder, *sorted(path for path in folder.glob("view-*") if path.is_dir())]


def make_schema(num_features: int) -> pa.Schema:
    """Returns the schema of a features file."""
    return pa.schema(
        [
            pa.field("sha256", pa.string(), nullable=False),
            pa.field("features", pa.list_(pa.float16(), num_features), nullable=False),
        ]
    )


def list_files(folder: Path) -> list[Path]:
    """Returns the features files of a folder, in a fixed order; none if the folder does not exist.

    Those that are in a store alone are among them; see `tasks.storage.folders.open_stored`.
    """
    paths = {*folder.glob("*.parquet"), *list_stored(folder)}
    # Earlier versions wrote a file for each poster part.
    found = (path for path in paths if path.name.startswith(("part-", "features-")))
    return sorted(found, key=lambda path: (is_content_named(path), path))


def is_content_named(path: Path) -> bool:
    """Returns whether the name of a features file tells its images."""
    return path.name.startswith("features-")


def remove_damaged(error: DamagedFileError) -> None:
    """Removes a damaged file, so that the features of its images are extracted again, and logs a warning."""
    logger.warning("%s: the features of its images are extracted again", error)
    remove_stored(error.path)


def check_features_file(path: Path) -> None:
    """Reads a whole file of features.

    Raises:
        DamagedFileError: If it is damaged.
    """
    hashes = read_hashes(path)
    num_vectors = sum(len(features) for _, features in iterate_features(path))
    if num_vectors != len(hashes):
        raise DamagedFileError(path, f"is damaged ({num_vectors} vectors, expected {len(hashes)})")


def read_hashes(path: Path, num_features: int | None = None) -> pa.Array:
    """Returns the hashes of the images of a features file.

    Args:
        path: Path of the file.
        num_features: Number of features of an image; a file with another number is damaged. None: any.

    Raises:
        DamagedFileError: If the file is damaged.
        StoreError: It is in a store that can't be read.
    """
    with parquet_damage(path), _open(path, ahead=False) as file:
        schema = file.schema_arrow
        size = getattr(dict(zip(schema.names, schema.types, strict=True)).get("features"), "list_size", 0)
        if not schema.equals(make_schema(size)) or size != (num_features or size):
            raise DamagedFileError(path, f"is damaged (its columns are {', '.join(map(str, schema))})")
        hashes = file.read(columns=["sha256"])["sha256"].combine_chunks()
        if is_content_named(path) and path.name != name_file(hashes.to_pylist()):
            raise DamagedFileError(path, "is damaged (its images are not those of its name)")
        return hashes


def name_file(hashes: Iterable[str]) -> str:
    """Returns the name of the file with the features of these images: the same for the same images in any order."""
    digest = hashlib.sha256("\n".join(sorted(hashes)).encode()).hexdigest()
    return f"features-{digest[:16]}.parquet"


def write_features(folder: Path, hashes: Sequence[str], features: NDArray[np.float32]) -> Path:
    """Writes a new features file, and returns its path; existing files are left as they are.

    Args:
        folder: Folder of the features of one `FeatureKey`; created if it does not exist.
        hashes: Hashes of the images.
        features: Features of the images, shape `(len(hashes), num_features)`; rounded to float16.
    """
    flat, num_features = pa.array(features.astype(np.float16).ravel()), features.shape[1]
    vectors = pa.FixedSizeListArray.from_arrays(flat, num_features)
    table = pa.table([pa.array(hashes), vectors], schema=make_schema(num_features))
    path = folder / name_file(hashes)
    with atomic_file(path) as partial:
        pq.write_table(table, partial, compression="none", use_dictionary=False, write_page_checksum=True)
    return path


def write_views(folder: Path, hashes: Sequence[str], features: NDArray[np.float32], views: Sequence[int]) -> None:
    """Writes the features of several views; see `write_features`.

    Args:
        folder: Folder of the features of one `FeatureKey`.
        hashes: Hashes of the images.
        features: Features of the images, shape `(len(hashes), len(views), num_features)`.
        views: Numbers of the views.
    """
    for column, view in enumerate(views):
        write_features(view_folder(folder, view), hashes, features[:, column])


def iterate_features(path: Path) -> Iterator[tuple[list[str], NDArray[np.float16]]]:
    """Yields hashes and features, shape `(num_images, num_features)`, of some hundreds of images of a file at a time.

    Raises:
        DamagedFileError: If the file is damaged; what was yielded before is not.
        StoreError: It is in a store that can't be read.
    """
    for hashes, features in iterate_arrays(path):
        yield hashes.to_pylist(), features


def iterate_arrays(path: Path) -> Iterator[tuple[pa.Array, NDArray[np.float16]]]:
    """Yields what `iterate_features` does, the hashes as an Arrow array."""
    batches = _iterate_batches(path)
    while True:
        with parquet_damage(path):
            batch = next(batches, None)
            if batch is None:
                return
            vectors = batch["features"]
            features = vectors.flatten().to_numpy().reshape(len(vectors), vectors.type.list_size)
        if not _are_possible(features):
            raise DamagedFileError(path, "is damaged (some of its features are not in [0, 6])")
        yield batch["sha256"], features


def _iterate_batches(path: Path) -> Iterator[pa.RecordBatch]:
    with _open(path) as file:
        yield from file.iter_batches(batch_size=_ROWS_AT_ONCE)


def _open(path: Path, *, ahead: bool = True) -> pq.ParquetFile:
    # Of an object of a store, one range is requested, and not a range a page.
    return pq.ParquetFile(open_stored(path), page_checksum_verification=True, pre_buffer=ahead)


def _are_possible(features: NDArray[np.float16]) -> bool:
    bits = features.view(np.uint16)
    if bits.max(initial=0) <= _LARGEST_BITS:
        return True
    return bool(((bits <= _LARGEST_BITS) | (bits == _NEGATIVE_ZERO_BITS)).all())


def count_features(folder: Path) -> int:
    """Returns the number of features of each image in `folder`, by its first whole file; 0 if there is none."""
    for path in list_files(folder):
        with contextlib.suppress(DamagedFileError), parquet_damage(path):
            return int(pq.read_schema(open_stored(path)).field("features").type.list_size)
    return 0
