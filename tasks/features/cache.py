"""Features on disk: immutable Parquet files, in one folder for each way of computing them."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tasks import versions
from tasks.atomic import atomic_file

_ROWS_AT_ONCE = 512


@dataclass(frozen=True)
class FeatureKey:
    """Everything beside the image itself that decides its features; equal keys share a folder.

    Attributes:
        backbone: Fingerprint of the backbone's weights.
        taps: Names of the tapped inner layers, in order.
        preprocessing: Version of the preprocessing.
        view: Part or version of the image that the backbone is run on; `full` is the whole image.
    """

    backbone: str
    taps: tuple[str, ...]
    preprocessing: int = field(default_factory=lambda: versions.PREPROCESSING)
    view: str = "full"

    @property
    def folder_name(self) -> str:
        """Name of the folder of these features under `features_dir`."""
        name = f"{self.backbone}-v{self.preprocessing}"
        if self.taps:
            name += f"-{hashlib.sha256(' '.join(self.taps).encode()).hexdigest()[:8]}"
        return name if self.view == "full" else f"{name}-{self.view}"


def make_schema(num_features: int) -> pa.Schema:
    """Returns the schema of a features file."""
    return pa.schema(
        [
            pa.field("sha256", pa.string(), nullable=False),
            pa.field("features", pa.list_(pa.float16(), num_features), nullable=False),
        ]
    )


def list_files(folder: Path) -> list[Path]:
    """Returns the features files of a folder, in a fixed order; none if the folder does not exist."""
    # Earlier versions wrote a file for each poster part.
    return [*sorted(folder.glob("part-*.parquet")), *sorted(folder.glob("features-*.parquet"))]


def read_hashes(folder: Path) -> set[str]:
    """Returns the hashes of the images that have features in `folder`."""
    hashes: set[str] = set()
    for path in list_files(folder):
        hashes.update(pq.read_table(path, columns=["sha256"])["sha256"].to_pylist())
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
        pq.write_table(table, partial, compression="none", use_dictionary=False)
    return path


def iterate_features(folder: Path) -> Iterator[tuple[list[str], NDArray[np.float16]]]:
    """Yields hashes and features, shape `(num_images, num_features)`, some hundreds of images at a time."""
    for path in list_files(folder):
        for batch in pq.ParquetFile(path).iter_batches(batch_size=_ROWS_AT_ONCE):
            features = batch["features"]
            yield batch["sha256"].to_pylist(), features.flatten().to_numpy().reshape(-1, features.type.list_size)


def count_features(folder: Path) -> int:
    """Returns the number of features of each image in `folder`; 0 if there are no images."""
    for path in list_files(folder):
        return int(pq.read_schema(path).field("features").type.list_size)
    return 0
