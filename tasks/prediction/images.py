"""Posters to predict: files, folders and addresses, read in batches while the model predicts the one before."""

import codecs
import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Generic, TypeVar

from tasks.errors import SettingsError
from tasks.posters.images import NotAPosterError, check_image
from tasks.settings import PosterSettings

SCHEMES = ("http://", "https://")

_SUFFIXES = (".jpg", ".jpeg", ".png")
_BATCH_SIZE = 64

Result = TypeVar("Result")


@dataclass(frozen=True)
class ImageResult(Generic[Result]):
    """The result for one image, or why there is none.

    Attributes:
        image: File or address, as given.
        result: The result; None after an error.
        error: What was wrong with the image; None if nothing was.
    """

    image: str
    result: Result | None = None
    error: str | None = None


def list_images(sources: Sequence[str]) -> list[str]:
    """Returns the images that sources name.

    Args:
        sources: Files and http(s) addresses, which are returned as given; folders: the JPEG and PNG files below them;
            patterns such as `posters/**/*.jpg`: the files that match; `-`: standard input, a source a line. Files of
            folders and patterns are in the order of their names.

    Raises:
        SettingsError: A source is nothing of these, or has no images.
    """
    images: list[str] = []
    for source in sources:
        path = Path(source)
        if source == "-":
            # As names of files are decoded, whatever the locale.
            lines = os.fsdecode(sys.stdin.buffer.read().removeprefix(codecs.BOM_UTF8)).splitlines()
            listed = [line.strip() for line in lines if line.strip() not in ("", "-")]
            if not listed:
                raise SettingsError("standard input is empty: expected a file, a folder or an http(s) address a line")
            images += list_images(listed)
        elif not source:
            raise SettingsError("the name of an image is empty: expected a file, a folder or an http(s) address")
        elif source.startswith(SCHEMES) or path.is_file():
            images.append(source)
        elif path.is_dir():
            found = sorted(str(file) for file in path.rglob("*") if file.suffix.lower() in _SUFFIXES)
            if not found:
                raise SettingsError(f"no images in {source}: expected files ending in {', '.join(_SUFFIXES)}")
            images += found
        # Not Path.glob, which takes no absolute patterns.
        elif matching := sorted(file for file in glob(source, recursive=True) if Path(file).is_file()):  # noqa: PTH207
            images += matching
        else:
            raise SettingsError(f"no image at {source}: expected a file, a folder, a pattern or an http(s) address")
    return images


def process_images(
    images: Sequence[str], process: Callable[[Sequence[bytes]], Sequence[Result]], settings: PosterSettings
) -> Iterator[ImageResult[Result]]:
    """Yields the result for each image, in order.

    Args:
        images: Files and http(s) addresses; an empty one is an error.
        process: Function as in `process_contents`.
        settings: Settings of the downloads.
    """
    starts = range(0, len(images), _BATCH_SIZE)
    contents = (content for start in starts for content in _read_images(images[start : start + _BATCH_SIZE], settings))
    for image, result in zip(images, process_contents(contents, process), strict=True):
        yield make_result(image, result)


def process_contents(
    contents: Iterable[bytes | NotAPosterError], process: Callable[[Sequence[bytes]], Sequence[Result]]
) -> Iterator[Result | NotAPosterError]:
    """Yields the result for each image, in order; the next batch is read while the model predicts the one before.

    Args:
        contents: JPEG or PNG files, and errors of images that can't be read, which are passed on.
        process: Function from JPEG or PNG files to a result each, which raises `NotAPosterError` if one cannot be
            decoded.
    """

    def process_each(batch: Sequence[bytes]) -> list[Result | NotAPosterError]:
        try:
            return list(process(batch))
        except NotAPosterError as error:
            if len(batch) == 1:
                return [error]
            # One that passed the check and yet cannot be decoded must not fail the others.
            return [result for content in batch for result in process_each([content])]

    waiting = iter(contents)

    def read_batch() -> list[bytes | NotAPosterError]:
        return list(itertools.islice(waiting, _BATCH_SIZE))

    with ThreadPoolExecutor(1, "images") as reader:
        reading = reader.submit(read_batch)
        while batch := reading.result():
            reading = reader.submit(read_batch)
            valid = [content for content in batch if isinstance(content, bytes)]
            results = iter(process_each(valid) if valid else [])
            yield from (next(results) if isinstance(content, bytes) else content for content in batch)


def make_result(image: str, result: Result | NotAPosterError) -> ImageResult[Result]:
    """Returns a result, or an error, with the name of its image."""
    if isinstance(result, NotAPosterError):
        return ImageResult(image, error=result.reason)
    return ImageResult(image, result)


def _read_images(images: Sequence[str], settings: PosterSettings) -> list[bytes | NotAPosterError]:
    """Returns the bytes of each image that decodes, and the error of any other."""
    fetched = iter(_fetch_images([image for image in images if image.startswith(SCHEMES)], settings))
    return [next(fetched) if image.startswith(SCHEMES) else read_file(image) for image in images]


def _fetch_images(addresses: Sequence[str], settings: PosterSettings) -> list[bytes | NotAPosterError]:
    if not addresses:
        return []
    # aiohttp takes half a second to import, which files do without.
    from tasks.posters.fetching import PosterRequest, fetch_posters

    fetched = fetch_posters([PosterRequest(address) for address in addresses], settings)
    return [poster.content if poster.content is not None else NotAPosterError(str(poster.reason)) for poster in fetched]


def read_file(image: str) -> bytes | NotAPosterError:
    """Returns the bytes of a file, or why it is no image that decodes."""
    if not image:
        return NotAPosterError("no poster address")
    try:
        content = Path(image).read_bytes()
        check_image(content)
    except OSError as error:
        return NotAPosterError(str(error.strerror))
    except ValueError as error:
        # NotAPosterError, or a path with a zero byte.
        return error if isinstance(error, NotAPosterError) else NotAPosterError("no path")
    return content
