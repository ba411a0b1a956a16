"""Posters to predict: files, folders and addresses, read in batches while the model predicts the one before."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import zip_longest
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
    """Returns files and addresses as given, and of each folder the JPEG and PNG files below it, by name.

    Raises:
        SettingsError: A source is neither file, folder nor http(s) address, or a folder has no images.
    """
    images: list[str] = []
    for source in sources:
        path = Path(source)
        if source.startswith(SCHEMES) or path.is_file():
            images.append(source)
        elif path.is_dir():
            found = sorted(str(file) for file in path.rglob("*") if file.suffix.lower() in _SUFFIXES)
            if not found:
                raise SettingsError(f"no images in {source}: expected files ending in {', '.join(_SUFFIXES)}")
            images += found
        else:
            raise SettingsError(f"no image at {source}: expected a file, a folder or an http(s) address")
    return images


def process_images(
    images: Sequence[str], process: Callable[[Sequence[bytes]], list[Result]]
) -> Iterator[ImageResult[Result]]:
    """Yields the result for each image, in order.

    Args:
        images: Files and http(s) addresses; an empty one is an error.
        process: Function from JPEG or PNG files to a result each, which raises `NotAPosterError` if one cannot be
            decoded.
    """

    def process_each(contents: Sequence[bytes]) -> list[Result | NotAPosterError]:
        try:
            return list(process(contents))
        except NotAPosterError as error:
            if len(contents) == 1:
                return [error]
            # One that passed the check and yet cannot be decoded must not fail the others.
            return [result for content in contents for result in process_each([content])]

    batches = [images[start : start + _BATCH_SIZE] for start in range(0, len(images), _BATCH_SIZE)]
    with ThreadPoolExecutor(1, "images") as reader:
        reading = reader.submit(_read_images, images[:_BATCH_SIZE])
        for batch, following in zip_longest(batches, batches[1:]):
            contents = reading.result()
            if following:
                reading = reader.submit(_read_images, following)  # while the model predicts these
            valid = [content for content in contents if isinstance(content, bytes)]
            results = iter(process_each(valid) if valid else [])
            for image, content in zip(batch, contents, strict=True):
                result = next(results) if isinstance(content, bytes) else content
                if isinstance(result, NotAPosterError):
                    yield ImageResult(image, error=result.reason)
                else:
                    yield ImageResult(image, result)


def _read_images(images: Sequence[str]) -> list[bytes | NotAPosterError]:
    """Returns the bytes of each image that decodes, and the error of any other."""
    fetched = iter(_fetch_images([image for image in images if image.startswith(SCHEMES)]))
    return [next(fetched) if image.startswith(SCHEMES) else _read_file(image) for image in images]


def _fetch_images(addresses: Sequence[str]) -> list[bytes | NotAPosterError]:
    if not addresses:
        return []
    # aiohttp takes half a second to import, which files do without.
    from tasks.posters.fetching import PosterRequest, fetch_posters

    settings = PosterSettings(min_side_pixels=1)
    requests = [PosterRequest(address) for address in addresses]
    fetched = fetch_posters(requests, settings)
    return [poster.content if poster.content is not None else NotAPosterError(str(poster.reason)) for poster in fetched]


def _read_file(image: str) -> bytes | NotAPosterError:
    if not image:
        return NotAPosterError("no poster address")
    try:
        content = Path(image).read_bytes()
        check_image(content)
    except OSError as error:
        return NotAPosterError(str(error.strerror))
    except NotAPosterError as error:
        return error
    return content
