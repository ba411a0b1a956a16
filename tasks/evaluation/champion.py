"""Compare a candidate with the present champion, on films that neither has learned from."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import tensorflow as tf
from numpy.typing import NDArray
from sklearn.metrics import f1_score

from tasks.dataset.task import Dataset
from tasks.model_folder import ModelFolder
from tasks.outputs.calibration import THRESHOLD
from tasks.outputs.genres import CONFIDENCES, GenresOutput
from tasks.posters.ledger import iterate_posters
from tasks.training.examples import Examples
from tasks.training.head import predict

_BATCH_SIZE = 64


@dataclass(frozen=True)
class ChampionTest:
    """How a candidate is compared with the champion.

    Attributes:
        champion: The present champion.
        min_films_per_genre: Number of test films that a genre must have to count: the F1 score of fewer is noise.
        posters_dir: Posters of the test films, for a champion that was trained on other features.
    """

    champion: ModelFolder
    min_films_per_genre: int
    posters_dir: Path


def compare_with_champion(
    champion_test: ChampionTest,
    dataset: Dataset,
    features_folder: Path,
    test: Examples,
    confidences: NDArray[np.float32],
) -> dict[str, Any]:
    """Scores candidate and champion on the test films that the champion has not learned from.

    (It has learned from some of them if its seed, fractions or films were others.) Only genres count that both have and
    that enough of these films have.

    Args:
        champion_test: The champion.
        dataset: Data set of the candidate.
        features_folder: Folder of the features of `test`. A champion that was trained on the same kind predicts from
            these, any other from the posters.
        test: Test split of the data set.
        confidences: The candidate's confidences for it, shape `(num_films, num_genres)`.

    Returns:
        `id` of the champion; `num_films` and `genres` of the comparison; `lost_genres`, which only the champion has;
        `candidate_macro_f1` and `champion_macro_f1`, None where nothing can be compared.
    """
    champion, genres = champion_test.champion, dataset.genres
    rows = np.flatnonzero(~_is_learned(champion, test))
    num_films = test.genre_targets[rows].sum(axis=0)
    shared = [
        genre
        for column, genre in enumerate(genres)
        if genre in champion.genres and num_films[column] >= champion_test.min_films_per_genre
    ]
    comparison: dict[str, Any] = {
        "id": champion.id,
        "num_films": len(rows),
        "genres": shared,
        "lost_genres": [genre for genre in champion.genres if genre not in genres],
    }
    if not shared:
        return {**comparison, "candidate_macro_f1": None, "champion_macro_f1": None}
    if champion.features == features_folder.name:
        champion_confidences = _predict_from_features(champion, test)[rows]
    else:
        imdb_ids = test.films["imdb_id"].iloc[rows].tolist()
        champion_confidences = _predict_from_posters(champion, champion_test.posters_dir, imdb_ids)

    def macro_f1(predicted: NDArray[np.float32], names: Sequence[str]) -> float:
        # Genre by genre: scikit-learn takes a single one for a problem of two classes.
        scores = [
            f1_score(
                test.genre_targets[rows, genres.index(genre)],
                predicted[:, names.index(genre)] > THRESHOLD,
                zero_division=0,
            )
            for genre in shared
        ]
        return float(np.mean(scores))

    return {
        **comparison,
        "candidate_macro_f1": macro_f1(confidences[rows], genres),
        "champion_macro_f1": macro_f1(champion_confidences, champion.genres),
    }


def _is_learned(champion: ModelFolder, test: Examples) -> NDArray[np.bool_]:
    """Returns for each test film whether the champion was trained or chosen on it, or on its image."""
    learned = pq.read_table(champion.films_path, columns=["imdb_id", "sha256", "split"])
    learned = learned.filter(pc.field("split") != "test").to_pandas()
    known = [test.films[name].isin(learned[name]).to_numpy() for name in ("imdb_id", "sha256")]
    return np.logical_or(*known)


def _predict_from_features(champion: ModelFolder, test: Examples) -> NDArray[np.float32]:
    head = keras.saving.load_model(champion.head_path)
    # By the layer: the head of an earlier version returns no dict.
    model = keras.Model(head.input, {GenresOutput.name: head.get_layer(CONFIDENCES).output})
    return predict(model, test.features)[GenresOutput.name]


def _predict_from_posters(champion: ModelFolder, posters_dir: Path, imdb_ids: Sequence[int]) -> NDArray[np.float32]:
    """Returns the confidences of the champion's SavedModel, shape `(len(imdb_ids), len(champion.genres))`."""
    signature = tf.saved_model.load(str(champion.saved_model_path)).signatures["probabilities"]
    row_of_film = {imdb_id: row for row, imdb_id in enumerate(imdb_ids)}
    confidences = np.empty((len(imdb_ids), len(champion.genres)), np.float32)
    posters = iterate_posters(posters_dir, row_of_film.keys())
    while batch := list(islice(posters, _BATCH_SIZE)):
        outputs = signature(image_bytes=tf.constant([content for _, content in batch]))
        # Before thresholds were folded in, a model had probabilities alone, which are its confidences.
        predicted = outputs.get("confidences", outputs["probabilities"])
        confidences[[row_of_film[imdb_id] for imdb_id, _ in batch]] = predicted.numpy()
    return confidences
