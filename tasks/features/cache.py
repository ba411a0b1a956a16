"""Features on disk: one Parquet file a poster part, in a folder a backbone and preprocessing."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tasks import versions
from tasks.atomic import atomic_file
from tasks.features.backbone import NUM_FEATURES

FEATURES = pa.schema(
    [
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("features", pa.list_(pa.float16(), NUM_FEATURES), nullable=False),
    ]
)

_ROWS_AT_ONCE = 512


def cache_dir(features_dir: Path, fingerprint: str) -> Path:
    """Returns the folder of the features of one backbone, under the present preprocessing."""
    return features_dir / f"{fingerprint}-v{versions.PREPROCESSING}"


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
        features: shape `(len(hashes), 1280)`.
    """
    flat = pa.array(features.astype(np.float16).ravel())
    added = pa.table([pa.array(hashes), pa.FixedSizeListArray.from_arrays(flat, NUM_FEATURES)], schema=FEATURES)
    table = pa.concat_tables([pq.read_table(path), added]) if path.exists() else added
    with atomic_file(path) as partial:
        pq.write_table(table, partial, compression="none", use_dictionary=False)


def iterate_features(folder: Path) -> Iterator[tuple[list[str], NDArray[np.float16]]]:
    """Yields hashes and features, shape `(num_images, 1280)`, some hundreds of images at a time."""
    for path in sorted(folder.glob("part-*.parquet")):
        for batch in pq.ParquetFile(path).iter_batches(batch_size=_ROWS_AT_ONCE):
            features = batch["features"].flatten().to_numpy()
            yield batch["sha256"].to_pylist(), features.reshape(-1, NUM_FEATURES)
