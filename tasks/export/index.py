"""The similarity index of a model: the films of its training split with the embeddings of their posters."""

from pathlib import Path

import keras
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.dataset.task import Dataset
from tasks.training.embedding import embed_pieces, make_embed
from tasks.training.examples import read_examples
from tasks.training.task import TrainedHead


def make_schema(size: int) -> pa.Schema:
    """Returns the schema of an index of embeddings of this size."""
    return pa.schema(
        [
            pa.field("imdb_id", pa.int64(), nullable=False),
            pa.field("title", pa.string(), nullable=False),
            pa.field("year", pa.int16(), nullable=False),  # 0 where the title has none
            pa.field("genres", pa.list_(pa.string()), nullable=False),  # of the model's genres
            pa.field("embedding", pa.list_(pa.float16(), size), nullable=False),  # of length 1
        ]
    )


def write_index(dataset: Dataset, trained: TrainedHead, head: keras.Model, path: Path) -> None:
    """Writes the index of a head's embeddings, some thousands of films at a time."""
    films = pq.read_table(dataset.films_path).filter(pc.field("split") == "train")
    genres = np.array(dataset.genres, object)
    train = read_examples(dataset, trained.features_folder, "train", trained.num_views)
    start, writer = 0, None
    try:
        for piece in embed_pieces(make_embed(head), train.features):
            piece_films = films.slice(start, len(piece))
            names = [genres[targets.astype(bool)].tolist() for targets in train.genre_targets[start:][: len(piece)]]
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(piece.astype(np.float16).ravel()), piece.shape[1])
            schema = make_schema(piece.shape[1])
            writer = writer or pq.ParquetWriter(path, schema, compression="none", use_dictionary=False)
            columns = [piece_films[name].combine_chunks() for name in ("imdb_id", "title", "year")]
            writer.write_table(pa.table([*columns, pa.array(names, schema.field("genres").type), vectors], schema))
            start += len(piece)
    finally:
        if writer:
            writer.close()
