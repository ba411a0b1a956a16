"""How good what a head says besides the genres is: decade, score, and the embedding."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import normalize

from tasks.evaluation.neighbours import (
    embed_pieces,
    find_nearest,
    make_feature_embedder,
    measure_chance,
    measure_precision,
)
from tasks.evaluation.scores import score_decade, score_score
from tasks.training.examples import Examples
from tasks.training.head import run_head, take_logits
from tasks.training.outputs import DECADE, SCORE, find_decade
from tasks.training.task import TrainedHead

# Of test films whose neighbours are looked for among those of the training split; more would say little more.
_MAX_QUERIES = 1000
_NUM_NEAREST = 10


def ask_head(trained: TrainedHead, examples: Examples) -> dict[str, NDArray[np.float32]]:
    """Returns what a head answers by output, of the genres the logits of its confidences, a row a film each."""
    return run_head(take_logits(keras.saving.load_model(trained.head_path)), examples.features)


def score_outputs(
    trained: TrainedHead, train: Examples, test: Examples, answers: Mapping[str, NDArray[np.float32]]
) -> dict[str, Any]:
    """Returns by name how good a head's outputs besides the genres are, on the test films that have a target."""
    figures: dict[str, Any] = {}
    if DECADE in answers and (dated := np.flatnonzero(test.years > 0)).size:
        likeliest = np.array(trained.decades)[answers[DECADE][dated].argmax(axis=1)]
        known = train.years[train.years > 0]
        figures[DECADE] = score_decade(find_decade(test.years[dated]), likeliest, find_decade(known))
    if SCORE in answers and (scored := np.flatnonzero(test.scores > 0)).size:
        of_films = answers[SCORE][scored, 0]
        figures[SCORE] = score_score(test.scores[scored], of_films, train.scores[train.scores > 0])
    return figures


def score_embedding(trained: TrainedHead, train: Examples, test: Examples) -> dict[str, Any]:
    """Returns how often the ten nearest training posters share a genre with a test poster: see `measure_precision`.

    Under `precision` for the model's embedding, for the network's features as they are, and for any posters at all.
    """
    queries = np.flatnonzero(test.genre_targets.any(axis=1))[:_MAX_QUERIES]
    if not queries.size:
        return {"num_queries": 0, "num_nearest": _NUM_NEAREST, "precision": {}}
    targets = test.genre_targets[queries], train.genre_targets
    by_model = make_feature_embedder(keras.saving.load_model(trained.head_path))
    precision = {}
    for name, embed in {"model": by_model, "features": normalize}.items():
        of_queries = embed(test.features.read(0, queries[-1] + 1)[queries].astype(np.float32))
        nearest, _ = find_nearest(of_queries, embed_pieces(embed, train.features), _NUM_NEAREST)
        precision[name] = measure_precision(nearest, *targets)
    precision["chance"] = measure_chance(*targets)
    return {"num_queries": len(queries), "num_nearest": _NUM_NEAREST, "precision": precision}
