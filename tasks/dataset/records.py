"""Films with their posters as `tf.train.Example` records, written to TFRecord shards and read from them."""

import contextlib
import hashlib
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from tasks.checking import DamagedFileError
from tasks.dataset.shards import FEATURES
from tasks.errors import one_line

# Parsed together: one by one takes five times as long, 0.3 s for a shard of 1,500 images.
_RECORDS_AT_ONCE = 128
# Shards whose files stay open while films are written; a process may have 1,024 open files by default.
_OPEN_FILES = 64
# Size of the records that wait to be appended to all other shards.
_BUFFER_BYTES = 64_000_000


def encode_example(film: Mapping[str, Any]) -> bytes:
    """Returns a film with its poster as a serialised `tf.train.Example` with the features of `FEATURES`."""

    def integers(*values: int) -> dict[str, Any]:
        return {"int64_list": {"value": values}}

    def real(value: float) -> dict[str, Any]:
        return {"float_list": {"value": [value]}}

    def strings(*values: str | bytes) -> dict[str, Any]:
        return {"bytes_list": {"value": [value.encode() if isinstance(value, str) else value for value in values]}}

    features = {
        "imdb_id": integers(film["imdb_id"]),
        "title": strings(film["title"]),
        "year": integers(film["year"] or 0),
        "score": real(film["score"] or 0),
        "image/encoded": strings(film["content"]),
        "image/format": strings(film["format"]),
        "image/sha256": strings(film["sha256"]),
        "genres": strings(*film["genres"]),
        "targets": integers(*film["targets"]),
    }
    # One nested dict, in a third of the time of a message for each of its parts.
    example = tf.train.Example(features={"feature": features})
    # By default the order of a map's entries is undefined; the same film must give the same bytes.
    return bytes(example.SerializeToString(deterministic=True))


def parse_example(serialised: tf.Tensor) -> dict[str, tf.Tensor]:
    """Parses a record of `encode_example`; shapes and dtypes as in `FEATURES`."""
    spec = {
        name: tf.io.FixedLenFeature([], dtype)
        if shape == []
        else tf.io.FixedLenSequenceFeature([], dtype, allow_missing=True)
        for name, (dtype, shape) in FEATURES.items()
    }
    return dict(tf.io.parse_single_example(serialised, spec))


def write_records(folder: Path, films: Iterable[Mapping[str, Any]], names: Iterable[str]) -> None:
    """Writes films to their shards: neither memory nor the number of open files grows with their number.

    Args:
        folder: Existing folder to write the shards to, which has none of them yet.
        films: Films with the keys that `encode_example` reads, and `shard`, one of `names`.
        names: Names of the shards; a shard without films is written, too, and empty.
    """
    names = list(names)
    waiting: dict[str, list[bytes]] = {name: [] for name in names[_OPEN_FILES:]}
    num_bytes = 0
    with contextlib.ExitStack() as stack:
        writers = {name: stack.enter_context(tf.io.TFRecordWriter(str(folder / name))) for name in names[:_OPEN_FILES]}
        for film in films:
            record = encode_example(film)
            if writer := writers.get(film["shard"]):
                writer.write(record)
                continue
            waiting[film["shard"]].append(record)
            num_bytes += len(record)
            if num_bytes > _BUFFER_BYTES:
                _append_all(folder, waiting)
                num_bytes = 0
    _append_all(folder, waiting)


def _append_all(folder: Path, waiting: dict[str, list[bytes]]) -> None:
    """Appends the waiting records to their shards, each of which is created if it does not exist."""
    for name, records in waiting.items():
        if records or not (folder / name).exists():
            _append_records(folder / name, records)
            records.clear()


def _append_records(path: Path, records: Sequence[bytes]) -> None:
    # TensorFlow's writer can't append; but TFRecord files, one after the other, are a TFRecord file.
    piece = path.with_name(f".{path.name}.partial") if path.exists() else path
    with tf.io.TFRecordWriter(str(piece)) as writer:
        for record in records:
            writer.write(record)
    if piece != path:
        with piece.open("rb") as source, path.open("ab") as shard:
            shutil.copyfileobj(source, shard, 1_000_000)
        piece.unlink()


def read_images(path: Path, hashes: Collection[str]) -> dict[str, bytes]:
    """Reads images of a shard, each once even if several films show it.

    Args:
        path: Path of the shard.
        hashes: Hashes of the images.

    Returns:
        The images by hash, in the order of the records.

    Raises:
        DamagedFileError: If the shard is missing, has not all of these images, or a record's checksum or an image's
            hash is wrong.
    """
    spec = {name: tf.io.FixedLenFeature([], tf.string) for name in ("image/sha256", "image/encoded")}
    records = tf.data.TFRecordDataset(str(path)).batch(_RECORDS_AT_ONCE)
    records = records.map(lambda batch: tf.io.parse_example(batch, spec))
    images: dict[str, bytes] = {}
    try:
        for batch in records.as_numpy_iterator():
            for sha256, content in zip(batch["image/sha256"].astype(str), batch["image/encoded"], strict=True):
                if sha256 not in hashes:
                    continue
                if hashlib.sha256(content).hexdigest() != sha256:
                    raise DamagedFileError(path, f"is damaged (the sha256 of an image is not {sha256})")
                images[str(sha256)] = content
    except tf.errors.NotFoundError:
        raise DamagedFileError(path, "is missing") from None
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError, UnicodeDecodeError) as error:
        # Without the names of TensorFlow's operations around it.
        problem = one_line(error).rpartition("}} ")[2].partition(" [Op:")[0]
        raise DamagedFileError(path, f"is damaged ({problem})") from error
    if len(images) < len(hashes):
        raise DamagedFileError(path, f"is damaged ({len(hashes) - len(images)} of {len(hashes)} images are missing)")
    return images
