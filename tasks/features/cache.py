"""Features on disk: one Parquet file a poster part, in a folder a backbone, its taps and the preprocessing."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tasks import versions
from tasks.atomic import atomic_file

_ROWS_AT_ONCE = 512


def make_schema(num_features: int) -> pa.Schema:
    """Returns the schema of a part."""
    return pa.schema(
        [
            pa.field("sha256", pa.string(), nullable=False),
            pa.field("features", pa.list_(pa.float16(), num_features), nullable=False),
        ]
    )


def cache_dir(features_dir: Path, fingerprint: str, taps: Sequence[str]) -> Path:
    """Returns the folder of the features of one backbone with its taps, under the present preprocessing."""
    name = f"{fingerprint}-v{versions.PREPROCESSING}"
    if taps:
        name += f"-{hashlib.sha256(' '.join(taps).encode()).hexdigest()[:8]}"
    return features_dir / name


def read_hashes(folder: Path) -> set[str]:
    """Returns the image hashes whose features are there."""
    hashes: set[str] = set()
    for path in folder.glob("part-*.parquet"):
        hashes.update(pq.read_table(path, columns=["sha256"])["sha256"].to_pylist())
    return hashes


def append_features(path: Path, hashes: Sequence[str], features: NDArray[np.float32]) -> None:
    """Writes a part anew with features added, rounded to float16.

    Args:
        path: of the part.
        hashes: of the images, none of them in the part yet.
        features: shape `(len(hashes), num_features)`.
    """
    flat, num_features = pa.array(features.astype(np.float16).ravel()), features.shape[1]
    vectors = pa.FixedSizeListArray.from_arrays(flat, num_features)
    added = pa.table([pa.array(hashes), vectors], schema=make_schema(num_features))
    table = pa.concat_tables([pq.read_table(path), added]) if path.exists() else added
    with atomic_file(path) as partial:
        pq.write_table(table, partial, compression="none", use_dictionary=False)


def iterate_features(folder: Path) -> Iterator[tuple[list[str], NDArray[np.float16]]]:
    """Yields hashes and features, shape `(num_images, num_features)`, some hundreds of images at a time."""
    for path in sorted(folder.glob("part-*.parquet")):
        for batch in pq.ParquetFile(path).iter_batches(batch_size=_ROWS_AT_ONCE):
            features = batch["features"]
            yield batch["sha256"].to_pylist(), features.flatten().to_numpy().reshape(-1, features.type.list_size)


def count_features(folder: Path) -> int:
    """Returns how many features each image there has; 0 if there is no image."""
    for path in folder.glob("part-*.parquet"):
        return int(pq.read_schema(path).field("features").type.list_size)
    return 0
