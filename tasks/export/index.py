"""The index of a model: the films of its training split with the embeddings of their posters, to find similar ones."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tasks.dataset.task import Dataset
from tasks.evaluation.neighbours import embed_pieces, find_nearest, make_feature_embedder
from tasks.training.examples import read_examples

_FILMS = ["imdb_id", "title", "year", "genres"]


def make_schema(size: int) -> pa.Schema:
    """Returns the schema of an index of embeddings of this size."""
    return pa.schema(
        [
            pa.field("imdb_id", pa.int64(), nullable=False),
            pa.field("title", pa.string(), nullable=False),
            pa.field("year", pa.int16(), nullable=False),  # 0 where the title has none
            pa.field("genres", pa.list_(pa.string()), nullable=False),  # of the model's vocabulary
            pa.field("embedding", pa.list_(pa.float16(), size), nullable=False),  # of length 1
        ]
    )


def write_index(dataset: Dataset, features_folder: Path, head: keras.Model, path: Path) -> None:
    """Writes the index of a head's embeddings, some thousands of films at a time."""
    films = pq.read_table(dataset.films_path).filter(pc.field("split") == "train")
    genres = np.array(dataset.genres, object)
    train = read_examples(dataset, features_folder, "train")
    start, writer = 0, None
    try:
        for piece in embed_pieces(make_feature_embedder(head), train.features):
            of_piece = films.slice(start, len(piece))
            names = [genres[targets.astype(bool)].tolist() for targets in train.genre_targets[start:][: len(piece)]]
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(piece.astype(np.float16).ravel()), piece.shape[1])
            schema = make_schema(piece.shape[1])
            writer = writer or pq.ParquetWriter(path, schema, compression="none", use_dictionary=False)
            columns = [of_piece[name].combine_chunks() for name in ("imdb_id", "title", "year")]
            writer.write_table(pa.table([*columns, pa.array(names, schema.field("genres").type), vectors], schema))
            start += len(piece)
    finally:
        if writer:
            writer.close()


def find_similar(path: Path, queries: NDArray[np.float32], num_nearest: int) -> list[list[dict[str, Any]]]:
    """Returns for each query the films of an index whose posters are nearest, nearest first.

    Args:
        path: of the index.
        queries: embeddings by the same model, shape `(num_queries, size)`.
        num_nearest: films to give for each, or all if there are fewer.

    Returns:
        Dicts with `imdb_id`, `title`, `year` (None where the title has none), `genres` and `similarity`, the cosine of
        the two embeddings.
    """
    index = pq.ParquetFile(path)

    def read_pieces() -> Iterator[NDArray[np.float16]]:
        for batch in index.iter_batches(columns=["embedding"]):
            vectors = batch["embedding"]
            yield vectors.flatten().to_numpy().reshape(-1, vectors.type.list_size)

    rows, similarities = find_nearest(queries, read_pieces(), num_nearest)
    films = index.read(columns=_FILMS)
    return [
        [
            {**film, "year": film["year"] or None, "similarity": similarity}
            for film, similarity in zip(films.take(of_query).to_pylist(), of_films.tolist(), strict=True)
        ]
        for of_query, of_films in zip(rows, similarities, strict=True)
    ]
