"""Embeddings of posters, by the layers of a head on their features."""

from collections.abc import Callable, Iterator

import keras
import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import normalize

from tasks.features.matrix import FeatureViews
from tasks.training.head import EMBEDDING, build_embedding_model

_ROWS_AT_ONCE = 4096

# From features, shape `(num_posters, num_features)`, to vectors of length 1, shape `(num_posters, size)`.
Embed = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def make_embed(head: keras.Model) -> Embed:
    """Returns the function that computes a head's embeddings; a head without taps takes the first of the features."""
    model = build_embedding_model(head)

    def embed(features: NDArray[np.float32]) -> NDArray[np.float32]:
        vectors: NDArray[np.float32] = np.asarray(model(features[:, : model.input.shape[1]])[EMBEDDING])
        return vectors

    return embed


def embed_pieces(embed: Embed, features: FeatureViews) -> Iterator[NDArray[np.float32]]:
    """Yields the embeddings of posters, averaged over the views, some thousands at a time, in their order."""
    for start in range(0, len(features), _ROWS_AT_ONCE):
        views = [
            embed(features.read(start, start + _ROWS_AT_ONCE, view).astype(np.float32))
            for view in range(features.num_views)
        ]
        yield views[0] if len(views) == 1 else normalize(np.mean(views, axis=0))
