"""Label posters with a published model."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.errors import SettingsError
from tasks.posters.deadlines import Watchdog
from tasks.posters.fetching import fetch_poster, make_session
from tasks.posters.images import NotAPosterError, check_image
from tasks.settings import PosterSettings

_SUFFIXES = (".jpg", ".jpeg", ".png")
_BATCH_SIZE = 64


@dataclass(frozen=True)
class Answer:
    """What a model says of one image: labels with confidences, best first; or why it could not be asked."""

    image: str
    labels: list[str] = dataclasses.field(default_factory=list)
    confidences: list[float] = dataclasses.field(default_factory=list)
    error: str | None = None


def list_images(sources: Sequence[str]) -> list[str]:
    """Returns files and addresses as given, and of each folder the JPEG and PNG files below it, by name.

    Raises:
        SettingsError: if a source is neither file, folder nor http(s) address, or a folder has no images.
    """
    images: list[str] = []
    for source in sources:
        path = Path(source)
        if source.startswith(("http://", "https://")) or path.is_file():
            images.append(source)
        elif path.is_dir():
            found = sorted(str(file) for file in path.rglob("*") if file.suffix.lower() in _SUFFIXES)
            if not found:
                raise SettingsError(f"no images in {source}: expected files ending in {', '.join(_SUFFIXES)}")
            images += found
        else:
            raise SettingsError(f"no image at {source}: expected a file, a folder or an http(s) address")
    return images


def label_images(model_folder: Path, images: Sequence[str]) -> Iterator[Answer]:
    """Yields the model's answer about each image, in order.

    Args:
        model_folder: of a published model.
        images: files and http(s) addresses.
    """
    import tensorflow as tf  # takes seconds; whoever gives a wrong file name should not wait for it

    model = tf.saved_model.load(str(model_folder / "saved_model")).signatures["serving_default"]

    def ask(posters: Sequence[bytes]) -> list[dict[str, Any]]:
        try:
            answer = model(image_bytes=tf.constant(posters))
        except tf.errors.InvalidArgumentError as error:
            if len(posters) == 1:
                return [{"error": f"broken image: {error.message}"}]
            # One that passed the check and yet can't be decoded must not cost the others their answers.
            return [reply for poster in posters for reply in ask([poster])]
        labels, confidences = answer["labels"].numpy().tolist(), answer["confidences"].numpy().tolist()
        return [
            {"labels": [label.decode() for label in names], "confidences": scores}
            for names, scores in zip(labels, confidences, strict=True)
        ]

    with Watchdog() as watchdog, make_session() as session:
        for start in range(0, len(images), _BATCH_SIZE):
            contents = [_read_image(image, session, watchdog) for image in images[start : start + _BATCH_SIZE]]
            posters = [content for content in contents if isinstance(content, bytes)]
            replies = iter(ask(posters) if posters else [])
            for image, content in zip(images[start:], contents, strict=False):
                yield Answer(image, error=content) if isinstance(content, str) else Answer(image, **next(replies))


def _read_image(image: str, session: Any, watchdog: Watchdog) -> bytes | str:
    """Returns the bytes of an image that decodes, or why there is none."""
    if image.startswith(("http://", "https://")):
        fetched = fetch_poster(session, watchdog, image, PosterSettings(min_side_pixels=1))
        return fetched.content if fetched.content is not None else str(fetched.reason)
    try:
        content = Path(image).read_bytes()
        check_image(content)
    except OSError as error:
        return str(error.strerror)
    except NotAPosterError as error:
        return error.reason
    return content
