"""Find the training films of a model whose posters are most similar to others."""

from collections.abc import Iterator, Sequence
from itertools import islice
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
# Images for which the index is read once, and films that are compared with them at once: 32 MB of similarities.
_QUERIES_AT_ONCE = 1024
_FILMS_AT_ONCE = 4096


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

    def embed(contents: Sequence[bytes]) -> list[NDArray[np.float32]]:
        return list(predictor.embed(contents).embeddings)

    return _search(index, process_images(images, embed, settings), num_nearest)


def _search(
    index: Path, embedded: Iterator[ImageResult[NDArray[np.float32]]], num_nearest: int
) -> Iterator[ImageResult[list[dict[str, Any]]]]:
    while batch := list(islice(embedded, _QUERIES_AT_ONCE)):
        queries = [image.result for image in batch if image.result is not None]
        found = iter(find_similar(index, np.stack(queries), num_nearest) if queries else [])
        for image in batch:
            yield ImageResult(image.image, None if image.result is None else next(found), image.error)


def find_similar(index_path: Path, queries: NDArray[np.float32], num_nearest: int) -> list[list[dict[str, Any]]]:
    """Returns for each query the films of an index whose posters are nearest, nearest first.

    The index is read once, some thousands of films at a time.

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
        # Group by group: over all of them, pyarrow would hold the whole file in memory.
        for group in range(index.num_row_groups):
            for batch in index.iter_batches(_FILMS_AT_ONCE, row_groups=[group], columns=["embedding"]):
                vectors = batch["embedding"]
                yield vectors.flatten().to_numpy().reshape(-1, vectors.type.list_size)

    rows, similarities = find_nearest(queries, read_pieces(), num_nearest)
    films = _read_films(index, np.unique(rows))
    return [
        [{**films[row], "similarity": cosine} for row, cosine in zip(nearest, cosines, strict=True)]
        for nearest, cosines in zip(rows.tolist(), similarities.tolist(), strict=True)
    ]


def _read_films(index: pq.ParquetFile, rows: NDArray[np.int64]) -> dict[int, dict[str, Any]]:
    """Returns the films of these rows, ascending, by row; only the row groups that have some are read."""
    films: dict[int, dict[str, Any]] = {}
    start = 0
    for group in range(index.num_row_groups):
        end = start + index.metadata.row_group(group).num_rows
        if len(wanted := rows[(rows >= start) & (rows < end)]):
            found = index.read_row_group(group, columns=_FILMS).take(wanted - start).to_pylist()
            films |= {
                row: {**film, "year": film["year"] or None} for row, film in zip(wanted.tolist(), found, strict=True)
            }
        start = end
    return films
