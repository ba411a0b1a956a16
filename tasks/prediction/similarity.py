"""Find the training films of a model whose posters are most similar to others."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tasks.errors import RegistryError
from tasks.features.nearest import find_nearest
from tasks.model_folder import ModelFolder
from tasks.prediction.images import ImageResult, process_images
from tasks.prediction.predictor import Predictor
from tasks.settings import PosterSettings

_FILMS = ["imdb_id", "title", "year", "genres"]


def find_similar_posters(
    folder: Path, images: Sequence[str], num_nearest: int, settings: PosterSettings
) -> Iterator[ImageResult[list[dict[str, Any]]]]:
    """Yields for each image, in order, the films of a model's index whose posters are nearest.

    Args:
        folder: Folder of a published model.
        images: Files and http(s) addresses.
        num_nearest: Number of films for each.
        settings: Settings of the downloads.

    Raises:
        RegistryError: The model has no index.
    """
    index = ModelFolder(folder).index_path
    if not index.is_file():
        raise RegistryError(f"{folder} has no {index.name}: publish a model with export.index=true")
    predictor = Predictor.open(folder)

    def process(contents: Sequence[bytes]) -> list[list[dict[str, Any]]]:
        return find_similar(index, predictor.embed(contents), num_nearest)

    return process_images(images, process, settings)


def find_similar(index_path: Path, queries: NDArray[np.float32], num_nearest: int) -> list[list[dict[str, Any]]]:
    """Returns for each query the films of an index whose posters are nearest, nearest first.

    Args:
        index_path: Path of the index.
        queries: Embeddings by the same model, shape `(num_queries, size)`.
        num_nearest: Number of films for each; all, if there are fewer.

    Returns:
        Dicts with `imdb_id`, `title`, `year` (None where the title has none), `genres` and `similarity`, the cosine of
        the two embeddings.
    """
    index = pq.ParquetFile(index_path)

    def read_pieces() -> Iterator[NDArray[np.float16]]:
        for batch in index.iter_batches(columns=["embedding"]):
            vectors = batch["embedding"]
            yield vectors.flatten().to_numpy().reshape(-1, vectors.type.list_size)

    rows, similarities = find_nearest(queries, read_pieces(), num_nearest)
    films = index.read(columns=_FILMS)
    return [
        [
            {**film, "year": film["year"] or None, "similarity": similarity}
            for film, similarity in zip(films.take(nearest).to_pylist(), cosines.tolist(), strict=True)
        ]
        for nearest, cosines in zip(rows, similarities, strict=True)
    ]
