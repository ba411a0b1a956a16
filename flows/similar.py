"""Find the posters of a model's training split that are most like others."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flows.label import ask_about
from tasks.errors import RegistryError


@dataclass(frozen=True)
class Similar:
    """The films whose posters are nearest to one image; or why there are none.

    Attributes:
        image: as it was given.
        films: nearest first, as `tasks.export.index.find_similar` gives them.
        error: why there are none.
    """

    image: str
    films: list[dict[str, Any]] = field(default_factory=list)
    error: str | None = None


def find_similar_posters(model_folder: Path, images: Sequence[str], num_nearest: int) -> Iterator[Similar]:
    """Yields for each image, in order, the films of the model's index whose posters are nearest.

    Args:
        model_folder: of a published model.
        images: files and http(s) addresses.
        num_nearest: films for each.

    Raises:
        RegistryError: if the model has no index.
    """
    index = model_folder / "index.parquet"
    if not index.is_file():
        raise RegistryError(f"{model_folder} has no {index.name}: publish a model with export.index=true")
    # Takes seconds; whoever gives a wrong model should not wait for it.
    import tensorflow as tf

    from tasks.export.index import find_similar

    loaded = tf.saved_model.load(str(model_folder / "saved_model"))

    def ask(posters: Sequence[bytes]) -> list[dict[str, Any]]:
        embeddings = loaded.signatures["embedding"](image_bytes=tf.constant(posters))["embedding"].numpy()
        return [{"films": films} for films in find_similar(index, embeddings, num_nearest)]

    for image, reply in ask_about(images, ask):
        yield Similar(image, **reply)
