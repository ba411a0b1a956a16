"""Which images have features, without reading every file of features: `.images.parquet` beside them.

A file of features is immutable, and its name tells its images, so that its hashes are read once. They are kept and
compared as keys, 128 bits of each, which take a fraction of the memory of Python strings.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tasks.atomic import atomic_file
from tasks.checking import DamagedFileError, parquet_damage
from tasks.features.cache import is_content_named, list_files, read_hashes, remove_damaged
from tasks.reading_ahead import read_ahead

logger = logging.getLogger(__name__)

Keys = NDArray[np.bytes_]

_INDEX = ".images.parquet"
_SCHEMA = pa.schema(
    [pa.field("file", pa.string(), nullable=False), pa.field("keys", pa.large_binary(), nullable=False)]
)
_KEY_BYTES = 32  # hexadecimal digits
# Of objects in a store, whose requests wait for an answer most of the time.
_FILES_AHEAD = 8


def make_keys(hashes: pa.ChunkedArray | pa.Array) -> Keys:
    """Returns the keys of images, shape `(num_images,)`: the first half of each hash.

    Args:
        hashes: Hexadecimal sha256 of each image, strings.
    """
    chunks = hashes.chunks if isinstance(hashes, pa.ChunkedArray) else [hashes]
    return np.concatenate([np.empty(0, f"S{_KEY_BYTES}"), *map(_make_keys, chunks)])


def _make_keys(hashes: pa.Array) -> Keys:
    # All of one length, so that their bytes lie in memory as those of a NumPy array do.
    keys = pc.utf8_rpad(pc.utf8_slice_codeunits(hashes, 0, _KEY_BYTES), _KEY_BYTES, "-").cast(pa.binary(_KEY_BYTES))
    return np.frombuffer(keys.buffers()[1], f"S{_KEY_BYTES}", len(keys), keys.offset * _KEY_BYTES)


class Images:
    """The distinct images of some films: several films may show the same image.

    Attributes:
        numbers: For each film the number of its image, in [0, len(self)), shape `(num_films,)`.

    Args:
        hashes: Hash of the image of each film.
    """

    def __init__(self, hashes: pa.ChunkedArray | pa.Array) -> None:
        self._keys, self.numbers = np.unique(make_keys(hashes), return_inverse=True)

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, keys: Keys) -> NDArray[np.int64]:
        """Returns the number of each image, shape `(len(keys),)`; -1 if no film shows it."""
        if not len(self):
            return np.full(len(keys), -1)
        numbers = np.searchsorted(self._keys, keys).clip(max=len(self) - 1)
        return np.where(self._keys[numbers] == keys, numbers, -1)


def read_image_keys(folder: Path, num_features: int | None = None) -> Keys:
    """Returns the keys of the images that have features in `folder`, in any order.

    Only files that are new since the last call are read. Those that are seen to be damaged are removed, with a warning:
    their images have no features any more.

    Args:
        folder: Folder of the features.
        num_features: Number of features of an image; a file with another number is damaged. None: any.

    Raises:
        StoreError: The files are in a store that can't be read.
    """
    paths = {path.name: path for path in list_files(folder)}
    if not paths:
        return np.empty(0, f"S{_KEY_BYTES}")
    index = _read_index(folder)
    known = index.filter(pc.is_in(index["file"], value_set=pa.array(paths, pa.string())))
    known_names = set(known["file"].to_pylist())
    read = _read_keys([path for name, path in paths.items() if name not in known_names], num_features)
    lasting = {path.name: keys.tobytes() for path, keys in read.items() if is_content_named(path)}
    added = pa.table([pa.array(lasting, pa.string()), pa.array(lasting.values(), pa.large_binary())], schema=_SCHEMA)
    if len(lasting) or known.num_rows < index.num_rows:
        with atomic_file(folder / _INDEX) as partial:
            pq.write_table(pa.concat_tables([known, added]), partial, use_dictionary=False, write_page_checksum=True)
    kept = (np.frombuffer(keys.as_buffer(), f"S{_KEY_BYTES}") for keys in known["keys"])
    return np.concatenate([np.empty(0, f"S{_KEY_BYTES}"), *kept, *read.values()])


def _read_index(folder: Path) -> pa.Table:
    """Returns the name of each known file, and the keys of its images; nothing if that is damaged or missing."""
    path = folder / _INDEX
    if path.exists():
        try:
            with parquet_damage(path):
                return pq.read_table(path, schema=_SCHEMA, page_checksum_verification=True)
        except DamagedFileError as error:
            logger.warning("%s: the hashes of all files are read again", error)
    return _SCHEMA.empty_table()


def _read_keys(paths: Sequence[Path], num_features: int | None) -> dict[Path, Keys]:
    """Reads several files at a time; damaged ones are removed, and left out."""

    def read(path: Path) -> Keys:
        return np.sort(make_keys(read_hashes(path, num_features)))

    found: dict[Path, Keys] = {}
    for path, keys in zip(paths, read_ahead(read, paths, _FILES_AHEAD), strict=True):
        try:
            found[path] = keys.result()
        except DamagedFileError as error:
            remove_damaged(error)
    return found
