"""Compare the check of images with TensorFlow's decoder, on mutated JPEG and PNG files.

    python tests/fuzz/fuzz_images.py --mutations 100000 --seed 1

`check_image` must accept a file exactly if `decode_poster` decodes it, and so must `decode_image`, which decodes
without TensorFlow; nothing but `NotAPosterError` may be raised. Prints counts, and ends with 1 and the files in
`--folder` if one of them disagrees. Beside that it counts the files that both decode to different pixels.
"""

import argparse
import hashlib
import io
import itertools
import os
import struct
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from PIL import Image

from tasks.features.numpy_preprocessing import decode_image
from tasks.features.preprocessing import decode_poster
from tasks.posters.images import NotAPosterError, check_image
from tasks.posters.png import PNG_SIGNATURE

_BATCH_SIZE = 500
_ANCILLARY = [b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"tEXt", b"zTXt", b"iTXt", b"bKGD", b"pHYs", b"sBIT", b"sPLT"]
_ANCILLARY += [b"hIST", b"tIME", b"tRNS", b"eXIf", b"oFFs", b"pCAL", b"sCAL", b"acTL", b"fcTL", b"fdAT", b"abCd"]
_CRITICAL = [b"IHDR", b"PLTE", b"IDAT", b"IEND", b"ABCD", b"ID1T"]

Chunk = tuple[bytes, bytes]


def make_seeds() -> list[bytes]:
    """Returns small files of every kind: what is mutated."""
    noise = np.random.default_rng(0).normal(0, 12, (70, 50, 3))
    y, x = np.mgrid[0:70, 0:50]
    smooth = np.stack([x * 5, y * 3, 128 + 100 * np.sin(x / 5 + y / 9)], axis=-1)
    image = Image.fromarray((smooth + noise).clip(0, 255).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    jpegs: list[dict[str, Any]] = [
        {},
        {"quality": 95, "subsampling": 0},
        {"subsampling": 1, "restart_marker_blocks": 3},
        {"progressive": True},
        {"progressive": True, "restart_marker_rows": 1},
        {"optimize": True, "comment": b"a comment"},
        {"exif": exif.tobytes(), "icc_profile": bytes(300)},
    ]
    seeds = [encode(image, format="JPEG", **options) for options in jpegs]
    seeds += [
        encode(image.convert(mode), format="JPEG", progressive=p) for mode in ("L", "CMYK") for p in (False, True)
    ]
    seeds.append(encode(image, format="JPEG", keep_rgb=True))
    seeds.append(encode(image, format="MPO", save_all=True, append_images=[image.rotate(90)]))
    seeds.append(encode(image.resize((460, 500)), format="JPEG", quality=30))
    for mode in ("1", "L", "LA", "RGB", "RGBA", "I;16", "P"):
        seeds.append(encode(image.convert(mode), format="PNG"))
    seeds += [encode(image.quantize(colors), format="PNG", transparency=1) for colors in (2, 4, 16)]
    seeds.append(encode(image, format="PNG", save_all=True, append_images=[image.rotate(90)]))
    seeds.append(encode(image, format="PNG", icc_profile=bytes(3000), dpi=(72, 72), exif=exif))
    seeds += [write_png(color, depth, interlaced) for color, depth in _KINDS for interlaced in (False, True)]
    return seeds


_KINDS = [(0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (2, 8), (2, 16), (3, 1), (3, 2), (3, 4), (3, 8)]
_KINDS += [(4, 8), (4, 16), (6, 8), (6, 16)]
_PASSES = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def write_png(color: int, depth: int, interlaced: bool, width: int = 21, height: int = 17) -> bytes:
    """Returns a PNG file of random rows with all filters, and a small window of compression."""
    rng = np.random.default_rng(color * 100 + depth)
    bits = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color] * depth
    rows = []
    for left, top, across, down in _PASSES if interlaced else [(0, 0, 1, 1)]:
        columns = len(range(left, width, across))
        num_rows = len(range(top, height, down)) if columns else 0
        rows += [bytes([rng.integers(0, 5)]) + rng.bytes((columns * bits + 7) // 8) for _ in range(num_rows)]
    deflater = zlib.compressobj(wbits=9 if depth < 8 else 12)
    compressed = deflater.compress(b"".join(rows)) + deflater.flush()
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, int(interlaced)))]
    if color == 3:
        chunks.append((b"PLTE", rng.bytes(3 << depth)))
    third = len(compressed) // 3
    chunks += [(b"IDAT", compressed[:third]), (b"IDAT", compressed[third:-4]), (b"IDAT", compressed[-4:])]
    return join_png([*chunks, (b"IEND", b"")])


def encode(image: Image.Image, **options: Any) -> bytes:
    """Returns the file of an image."""
    file = io.BytesIO()
    image.save(file, **options)
    return file.getvalue()


def split_png(content: bytes) -> list[Chunk]:
    """Returns names and data of the chunks of a sound file."""
    chunks = []
    at = len(PNG_SIGNATURE)
    while at < len(content):
        (length,) = struct.unpack_from(">I", content, at)
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    return chunks


def join_png(chunks: list[Chunk]) -> bytes:
    """Returns a file of chunks, with right checksums."""
    parts = [PNG_SIGNATURE]
    for name, data in chunks:
        parts += [struct.pack(">I", len(data)), name, data, struct.pack(">I", zlib.crc32(name + data))]
    return b"".join(parts)


def split_jpeg(content: bytes) -> list[bytes]:
    """Returns the segments of a sound file, each with its marker; scans with their data."""
    segments = [content[:2]]
    at = 2
    while content[at + 1] != 0xD9:
        end = at + 2 + struct.unpack_from(">H", content, at + 2)[0]
        if content[at + 1] == 0xDA:
            while content[end] != 0xFF or content[end + 1] == 0 or 0xD0 <= content[end + 1] <= 0xD7:
                end += 1
        segments.append(content[at:end])
        at = end
    return [*segments, content[at:]]


class Mutator:
    """Makes mutated files, the same ones for the same seed."""

    def __init__(self, seed: int) -> None:
        """Starts with a seed of the random numbers."""
        self._rng = np.random.default_rng(seed)
        self._seeds = make_seeds()

    def __iter__(self) -> Iterator[bytes]:
        """Yields files without end."""
        while True:
            content = self._choose(self._seeds)
            for _ in range(self._choose([1, 1, 1, 2, 3])):
                content = self._mutate(content)
            yield content

    def _int(self, low: int, high: int) -> int:
        return int(self._rng.integers(low, max(high, low + 1)))

    def _choose(self, options: list[Any]) -> Any:
        return options[self._int(0, len(options))]

    def _mutate(self, content: bytes) -> bytes:
        ways: list[Callable[[bytes], bytes]] = [self._flip, self._cut, self._shuffle_bytes]
        ways.append(self._edit_png if content.startswith(PNG_SIGNATURE) else self._edit_jpeg)
        way = self._rng.choice(len(ways), p=[0.25, 0.08, 0.12, 0.55])
        try:
            return ways[way](content)
        except (struct.error, IndexError):  # a file that an earlier mutation has broken
            return self._flip(content)

    def _flip(self, content: bytes) -> bytes:
        changed = bytearray(content)
        for _ in range(self._int(1, 5) if changed else 0):
            # Half of them in the first bytes, where headers are.
            at = self._int(0, len(changed) if self._int(0, 2) else min(len(changed), 700))
            changed[at] = self._choose([changed[at] ^ (1 << self._int(0, 8)), self._int(0, 256), 0, 255])
        return bytes(changed)

    def _cut(self, content: bytes) -> bytes:
        at = self._int(0, len(content)) if self._int(0, 2) else max(0, len(content) - self._int(1, 20))
        return content[:at] + (self._rng.bytes(self._int(0, 30)) if self._int(0, 2) else b"")

    def _shuffle_bytes(self, content: bytes) -> bytes:
        start, other = sorted((self._int(0, len(content) + 1), self._int(0, len(content) + 1)))
        end = min(other, start + self._int(0, 60))
        piece = content[start:end]
        return content[:start] + self._choose([b"", piece + piece, self._rng.bytes(len(piece))]) + content[end:]

    def _edit_png(self, content: bytes) -> bytes:
        chunks = split_png(content)
        at = self._int(0, len(chunks))
        name, data = chunks[at]
        way = self._int(0, 9)
        if way == 0:
            del chunks[at]
        elif way == 1:
            chunks.insert(self._int(0, len(chunks) + 1), (name, data))
        elif way == 2:
            chunks.insert(self._int(0, len(chunks) + 1), chunks.pop(at))
        elif way == 3:
            new = self._choose(self._choose([_ANCILLARY, _CRITICAL]))
            chunks.insert(self._int(0, len(chunks) + 1), (new, self._fill()))
        elif way == 4:
            chunks[at] = (self._choose([*_ANCILLARY, *_CRITICAL]), data)
        elif way == 5:
            cut = self._int(0, len(data) + 1)
            chunks[at : at + 1] = [(name, data[:cut]), (name, data[cut:])]
        elif way == 6:
            chunks[at] = (name, self._cut(data) if data else self._rng.bytes(3))
        elif way == 7:
            return self._edit_rows(chunks)
        else:
            chunks[at] = (name, self._flip(data))
        return join_png(chunks)

    def _fill(self) -> bytes:
        text = b"Title\0" + self._choose([b"", b"\0", b"\0\0", b"\0\0en\0\0"])
        return self._choose([b"", self._rng.bytes(self._int(0, 40)), text + zlib.compress(b"x" * self._int(0, 5000))])

    def _edit_rows(self, chunks: list[Chunk]) -> bytes:
        """Compresses the rows again: changed, fewer, more, with another window, checksum or split into chunks."""
        at = [name for name, _ in chunks].index(b"IDAT") if (b"IDAT" in dict(chunks)) else 0
        inflater = zlib.decompressobj()
        try:
            rows = inflater.decompress(b"".join(data for name, data in chunks if name == b"IDAT"))
        except zlib.error:
            return self._flip(join_png(chunks))
        rows = self._choose([rows, rows, self._flip(rows), self._cut(rows), rows + self._rng.bytes(self._int(0, 3000))])
        deflater = zlib.compressobj(self._int(0, 10), zlib.DEFLATED, self._int(9, 16))
        data = bytearray(deflater.compress(rows) + deflater.flush())
        if self._int(0, 3) == 0:
            data[-self._int(1, 5)] ^= 1 << self._int(0, 8)
        if self._int(0, 4) == 0:  # a window that is smaller than the one compressed with
            data[0] = 0x08 | self._int(0, 8) << 4
            data[1] = 31 - data[0] * 256 % 31
        if self._int(0, 4) == 0:
            data = data[: -self._int(1, 7)]
        if self._int(0, 4) == 0:
            data += self._rng.bytes(self._int(1, 40))
        cuts = sorted(self._int(0, len(data) + 1) for _ in range(self._int(0, 4)))
        if self._int(0, 2):
            cuts = sorted([*cuts, max(0, len(data) - self._int(0, 8))])
        pieces = [bytes(data[start:end]) for start, end in itertools.pairwise([0, *cuts, len(data)])]
        others = [chunk for chunk in chunks if chunk[0] != b"IDAT"]
        others[at:at] = [(b"IDAT", piece) for piece in pieces]
        return join_png(others)

    def _edit_jpeg(self, content: bytes) -> bytes:
        segments = split_jpeg(content)
        at = self._int(1, len(segments))
        segment = segments[at]
        way = self._int(0, 9)
        if way == 0:
            del segments[at]
        elif way == 1:
            segments.insert(self._int(1, len(segments) + 1), segment)
        elif way == 2:
            segments.insert(self._int(1, len(segments) + 1), segments.pop(at))
        elif way == 3:  # bytes between segments, restart markers, and markers of any kind
            extra = self._choose([self._rng.bytes(self._int(1, 6)), b"\xff", b"\xff\x00", b"\xff\xd0", b"\xff\x01"])
            segments.insert(self._int(1, len(segments) + 1), extra)
        elif way == 4:
            data = self._rng.bytes(self._int(0, 30))
            marker = bytes([0xFF, self._int(1, 256)])
            segments.insert(self._int(1, len(segments) + 1), marker + struct.pack(">H", len(data) + 2) + data)
        elif way == 5:
            segments[at] = segment[:1] + bytes([self._int(0xC0, 0xE0)]) + segment[2:]
        elif way == 6:
            segments[at] = segment[:2] + struct.pack(">H", self._int(0, len(segment) + 9)) + segment[4:]
        elif way == 7:
            segments[at] = segment[: self._int(2, len(segment) + 1)]
        else:
            segments[at] = segment[:4] + self._flip(segment[4:])
        return b"".join(segments)


def decode_batch(contents: list[bytes]) -> dict[int, np.ndarray]:
    """Returns the pixels of the files that TensorFlow decodes, by their number."""
    numbered = tf.data.Dataset.from_tensor_slices((tf.range(len(contents)), tf.constant(contents, tf.string)))
    decoded = numbered.map(lambda number, content: (number, decode_poster(content)), num_parallel_calls=2)
    return {int(number): pixels.numpy() for number, pixels in decoded.ignore_errors()}


def check(process: Callable[[bytes], Any], content: bytes) -> tuple[Any, str]:
    """Returns the result for a file, or the reason why there is none; another exception than it should raise, too."""
    try:
        return process(content), "accepted"
    except NotAPosterError as error:
        return None, error.reason
    except Exception as error:
        # Whatever it is: to find it is what this is for.
        return None, f"{type(error).__name__}: {error}"


def save(content: bytes, folder: Path) -> None:
    """Writes a file by its hash."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / hashlib.sha256(content).hexdigest()[:16]).write_bytes(content)


def main() -> int:
    """Runs the comparison; returns 1 after a disagreement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutations", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("fuzz_images"))
    options = parser.parse_args()
    # libjpeg writes a line to stderr for each broken file.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    start = time.monotonic()
    reasons: Counter[str] = Counter()
    disagreements: Counter[str] = Counter()
    files = itertools.islice(Mutator(options.seed), options.mutations)
    while contents := list(itertools.islice(files, _BATCH_SIZE)):
        decoded = decode_batch(contents)
        for number, content in enumerate(contents):
            _, reason = check(check_image, content)
            pixels, twin = check(decode_image, content)
            reasons[reason] += 1
            is_decoded = number in decoded
            kind = ""
            # A limit of this program, not of TensorFlow's.
            agrees = reason == "too many pixels" or (reason == "accepted") == is_decoded
            if reason != twin or not agrees:
                kind = f"TensorFlow: {is_decoded}; check_image: {reason}; decode_image: {twin}"
            elif is_decoded and reason == "accepted" and not np.array_equal(pixels, decoded[number]):
                reasons["of these with other pixels"] += 1
                save(content, options.folder / "pixels")
            if kind:
                disagreements[kind] += 1
                save(content, options.folder)
    seconds = time.monotonic() - start
    print(
        f"{options.mutations:,} files of seed {options.seed} in {seconds:.0f} s ({options.mutations / seconds:.0f}/s)"
    )
    for name, count in reasons.most_common():
        print(f"  {name}: {count:,}")
    print(f"disagreements: {disagreements.total()}")
    for name, count in disagreements.most_common():
        print(f"  {name}: {count}")
    return 1 if disagreements else 0


if __name__ == "__main__":
    sys.exit(main())
