"""Compare a candidate with its rivals, present and earlier champions, on films that neither has learned from."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import tensorflow as tf
from numpy.typing import NDArray
from scipy.special import expit

from tasks.dataset.task import Dataset
from tasks.evaluation.differences import Paired, find_differences
from tasks.model_folder import ModelFolder
from tasks.outputs.decisions import decide
from tasks.outputs.genres import LOGITS, GenresOutput
from tasks.posters.ledger import iterate_posters
from tasks.training.examples import Examples, read_examples
from tasks.training.head import predict

_BATCH_SIZE = 8  # the fastest of a SavedModel, and 300 MB
# A lost genre was renamed if more than this share of its films has the same new genre, and the other way round.
_MIN_OVERLAP = 0.5


@dataclass(frozen=True)
class Rivals:
    """How a candidate is compared with other models.

    Attributes:
        models: The models, the present champion first.
        min_films_per_genre: Number of test films that a genre must have to count: the F1 score of fewer is noise.
        posters_dir: Posters of the test films, for models that were trained on other features.
    """

    models: Sequence[ModelFolder]
    min_films_per_genre: int
    posters_dir: Path


@dataclass(frozen=True)
class CandidatePredictions:
    """A candidate, and its predictions for the test split.

    Attributes:
        dataset: Data set of the candidate.
        features_folder: Folder of the features of `test`. A rival that was trained on the same kind predicts from
            these, any other from the posters.
        test: Test split of the data set.
        decisions: Predictions for it, bool, shape `(num_films, num_genres)`.
    """

    dataset: Dataset
    features_folder: Path
    test: Examples
    decisions: NDArray[np.bool_]


@dataclass(frozen=True)
class _Rival:
    """A rival, the films of its data set, and for each test film whether it has learned from neither film nor image."""

    model: ModelFolder
    films: pd.DataFrame
    unlearned: NDArray[np.bool_]

    @classmethod
    def read(cls, model: ModelFolder, test: Examples) -> "_Rival":
        films = pq.read_table(model.films_path).to_pandas()
        return cls(model, films, test.find_unlearned(films))


def compare_with_rivals(rivals: Rivals, candidate: CandidatePredictions) -> list[dict[str, Any]]:
    """Scores the candidate and each rival on the test films that the rival has not learned from.

    (It has learned from some of them if its seed, fractions or films were others.) Only genres count that both have and
    that enough of these films have.

    Returns:
        For each rival its `id`, and the numbers of films of its data set and of its test split, `data_films` and
        `test_films`; `num_films` and `genres` of the comparison; `lost_genres`, `new_genres`, and `renamed_genres` (old
        to new name; they are lost and new, too); `candidate_macro_f1`, `rival_macro_f1`, and of their difference
        `standard_error` and `noise` (see `tasks.evaluation.differences`), None where nothing can be compared.
    """
    known = [_Rival.read(model, candidate.test) for model in rivals.models]
    comparisons = [_describe(rival, candidate, rivals.min_films_per_genre) for rival in known]
    comparable = [
        (rival, comparison) for rival, comparison in zip(known, comparisons, strict=True) if comparison["genres"]
    ]
    pairs = [_pair(rival, comparison["genres"], candidate, rivals.posters_dir) for rival, comparison in comparable]
    for (_, comparison), difference in zip(comparable, find_differences(pairs), strict=True):
        comparison |= {
            "candidate_macro_f1": difference.candidate_macro_f1,
            "rival_macro_f1": difference.other_macro_f1,
            "standard_error": difference.standard_error,
            "noise": difference.noise,
        }
    return comparisons


def compare_again(model: ModelFolder, rivals: Rivals, dataset: Dataset, features_folder: Path) -> list[dict[str, Any]]:
    """Returns `compare_with_rivals` for a published model, on the test films of the data set that it was made of."""
    test = read_examples(dataset, features_folder, "test", model.num_views)
    decisions = decide_as_served(model, predict_from_features(model, test))
    return compare_with_rivals(rivals, CandidatePredictions(dataset, features_folder, test, decisions))


def _describe(rival: _Rival, candidate: CandidatePredictions, min_films_per_genre: int) -> dict[str, Any]:
    """Returns a comparison without its figures."""
    genres, num_films = candidate.dataset.genres, candidate.test.genre_targets[rival.unlearned].sum(axis=0)
    lost = [genre for genre in rival.model.genres if genre not in genres]
    new = [genre for genre in genres if genre not in rival.model.genres]
    return {
        "id": rival.model.id,
        "data_films": len(rival.films),
        "test_films": int((rival.films["split"] == "test").sum()),
        "num_films": int(rival.unlearned.sum()),
        "genres": [
            genre
            for genre, count in zip(genres, num_films, strict=True)
            if genre in rival.model.genres and count >= min_films_per_genre
        ],
        "lost_genres": lost,
        "new_genres": new,
        "renamed_genres": _find_renamed(rival, candidate.dataset, lost, new),
        **dict.fromkeys(("candidate_macro_f1", "rival_macro_f1", "standard_error", "noise")),
    }


def _find_renamed(rival: _Rival, dataset: Dataset, lost: Sequence[str], new: Sequence[str]) -> dict[str, str]:
    """Returns the lost genres whose films have one of the new ones instead, with that."""
    if not lost or not new:
        return {}
    present = pq.read_table(dataset.films_path, columns=["imdb_id", "targets"]).to_pandas()
    both = rival.films[["imdb_id", "targets"]].merge(present, on="imdb_id", suffixes=("_before", "_now"))
    if both.empty:
        return {}
    before, now = (np.array(both[name].tolist(), bool) for name in ("targets_before", "targets_now"))
    renamed = {}
    for name in lost:
        had = before[:, rival.model.genres.index(name)]
        for other in new:
            has = now[:, dataset.genres.index(other)]
            if np.count_nonzero(had & has) > _MIN_OVERLAP * max(had.sum(), has.sum()):
                renamed[name] = other
    return renamed


def _pair(rival: _Rival, shared: Sequence[str], candidate: CandidatePredictions, posters_dir: Path) -> Paired:
    """Returns the predictions of candidate and rival for the shared genres, of the films of their comparison."""
    test, genres = candidate.test, candidate.dataset.genres
    has_views = rival.model.num_views <= test.features.num_views
    if has_views and rival.model.features == candidate.features_folder.name:
        confidences = predict_from_features(rival.model, test)
    else:
        rows = np.flatnonzero(rival.unlearned)
        confidences = np.zeros((len(test), len(rival.model.genres)), np.float32)
        imdb_ids = test.films["imdb_id"].iloc[rows].tolist()
        confidences[rows] = _predict_from_posters(rival.model, posters_dir, imdb_ids)
    own = [genres.index(genre) for genre in shared]
    others = [rival.model.genres.index(genre) for genre in shared]
    return Paired(
        positives=test.genre_targets[:, own].astype(bool),
        candidate=candidate.decisions[:, own],
        other=decide_as_served(rival.model, confidences)[:, others],
    ).keep(rival.unlearned)


def decide_as_served(model: ModelFolder, confidences: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Returns which genres a published model predicts, by its own rule, shape `(num_films, num_genres)`."""
    if not model.decision_path.is_file():  # a model of an earlier version
        return decide(confidences, confidences)
    output = GenresOutput.from_config(json.loads(model.decision_path.read_text("utf-8")))
    return output.rule.decide(confidences, output.recalibrate(confidences))


def predict_from_features(model: ModelFolder, examples: Examples) -> NDArray[np.float32]:
    """Returns the confidences of a published model's head, shape `(num_films, num_genres)`."""
    head = keras.saving.load_model(model.head_path)
    # By the layer: the head of an earlier version returns no dict.
    bare = keras.Model(head.input, {GenresOutput.name: head.get_layer(LOGITS).output})
    confidences: NDArray[np.float32] = expit(
        predict(bare, examples.features.take_views(model.num_views))[GenresOutput.name]
    )
    return confidences


def _predict_from_posters(model: ModelFolder, posters_dir: Path, imdb_ids: Sequence[int]) -> NDArray[np.float32]:
    """Returns the confidences of a SavedModel, shape `(len(imdb_ids), num_genres)`."""
    signature = tf.saved_model.load(str(model.saved_model_path)).signatures["probabilities"]
    row_of_film = {imdb_id: row for row, imdb_id in enumerate(imdb_ids)}
    confidences = np.empty((len(imdb_ids), len(model.genres)), np.float32)
    posters = iterate_posters(posters_dir, row_of_film.keys())
    while batch := list(islice(posters, _BATCH_SIZE)):
        outputs = signature(image_bytes=tf.constant([content for _, content in batch]))
        # Before thresholds were folded in, a model had probabilities alone, which are its confidences.
        predicted = outputs.get("confidences", outputs["probabilities"])
        confidences[[row_of_film[imdb_id] for imdb_id, _ in batch]] = predicted.numpy()
    return confidences
