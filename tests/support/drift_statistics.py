"""Statistics of drift as a run collects them."""

from typing import Any

import numpy as np

from tasks.drift.distributions import Distribution
from tasks.drift.embeddings import NUM_COLUMNS, Embeddings
from tasks.drift.predictions import describe_predictions
from tasks.drift.statistics import Statistics, encode_ids


def make_statistics(**changes: Any) -> Statistics:
    """Returns the statistics of 10,000 films, as a run on them collects them, with these changes."""
    random = np.random.default_rng(0)
    confidences = random.random((1000, 2)) * [1, 0.6]
    sizes = {"bytes": Distribution.of_sizes(random.lognormal(9, 0.3, 10_000))}
    statistics: dict[str, Any] = {
        "dataset": "0123",
        "num_catalog_films": 10_200,
        "num_films": 10_000,
        "genres": {"Drama": 5000, "Horror": 1000},
        "has_all_genres": True,
        "decades": {"unknown": 10, "1990s": 4990, "2000s": 5000},
        "hosts": {"a.test": {"ok": 10_000, "http 404": 200}},
        "sizes": {
            **sizes,
            "width": Distribution.of_sizes([182] * 10_000),
            "height": Distribution.of_sizes([268] * 10_000),
        },
        "predictions": describe_predictions(confidences, ["Drama", "Horror"], {"recipe": "default"}),
        "embeddings": Embeddings.encode("f", make_embeddings()),
        "left_out": encode_ids(np.arange(200)),
    }
    return Statistics(**{**statistics, **changes})


def make_embeddings(shift: float = 0.0) -> "np.ndarray[Any, np.dtype[np.float32]]":
    """Returns embeddings of 300 films, shifted in every direction."""
    return (np.random.default_rng(1).normal(size=(300, NUM_COLUMNS)) + shift).astype(np.float32)
