"""Hold a candidate against the present champion: on the same films, none of which either has learned from."""

from collections.abc import Sequence
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
from tasks.evaluation.scores import THRESHOLD
from tasks.model_folder import ModelFolder
from tasks.posters.ledger import iterate_posters
from tasks.training.examples import Examples
from tasks.training.head import run_head
from tasks.training.outputs import CONFIDENCES, GENRES

_BATCH_SIZE = 64


def compare_with_champion(
    champion: ModelFolder,
    dataset: Dataset,
    test: Examples,
    confidences: NDArray[np.float32],
    features_folder: Path,
    posters_dir: Path,
    min_films_per_genre: int,
) -> dict[str, Any]:
    """Scores candidate and champion on the test films that the champion has not learned from.

    (It has learned from some where it was made with another seed or other fractions, or of other films.) Only genres
    count that both know and that enough of these films have.

    Args:
        champion: the present one.
        dataset: the candidate's.
        test: its test split.
        confidences: the candidate's of that, shape `(num_films, num_genres)`.
        features_folder: whose features `test` has. The champion is asked on these, too, if it was trained on the like,
            and else about the posters themselves.
        posters_dir: has the posters of the test films.
        min_films_per_genre: of these films; the F1 score of a genre with fewer says little.

    Returns:
        `id` of the champion; `num_films` and `genres` that were compared on; `lost_genres`, which only the champion
        knows; `candidate_macro_f1` and `champion_macro_f1`, None where there is nothing to compare on.
    """
    rows = np.flatnonzero(~_is_learned(champion.films_path, dataset.films_path))
    num_films = test.genre_targets[rows].sum(axis=0)
    genres = [
        genre
        for column, genre in enumerate(dataset.vocabulary)
        if genre in champion.genres and num_films[column] >= min_films_per_genre
    ]
    comparison: dict[str, Any] = {
        "id": champion.id,
        "num_films": len(rows),
        "genres": genres,
        "lost_genres": [genre for genre in champion.genres if genre not in dataset.vocabulary],
    }
    if not genres:
        return {**comparison, "candidate_macro_f1": None, "champion_macro_f1": None}
    if champion.features == features_folder.name:
        head = keras.saving.load_model(champion.head_path)
        # By the layer: the head of an earlier version gave no dict.
        confidences_alone = keras.Model(head.input, {GENRES: head.get_layer(CONFIDENCES).output})
        of_champion = run_head(confidences_alone, test.features)[GENRES][rows]
    else:
        of_champion = _ask_about_posters(champion, posters_dir, [test.imdb_ids[row] for row in rows])

    def macro_f1(asked: NDArray[np.float32], names: Sequence[str]) -> float:
        # Genre by genre: there may be only one, which scikit-learn would take for a problem of two classes.
        scores = [
            f1_score(
                test.genre_targets[rows, dataset.vocabulary.index(genre)],
                asked[:, names.index(genre)] > THRESHOLD,
                zero_division=0,
            )
            for genre in genres
        ]
        return float(np.mean(scores))

    return {
        **comparison,
        "candidate_macro_f1": macro_f1(confidences[rows], dataset.vocabulary),
        "champion_macro_f1": macro_f1(of_champion, champion.genres),
    }


def _is_learned(champion_films_path: Path, films_path: Path) -> NDArray[np.bool_]:
    """Returns for each test film whether the champion was trained or chosen on it, or on its picture."""
    learned = pq.read_table(champion_films_path, columns=["imdb_id", "sha256", "split"])
    learned = learned.filter(pc.field("split") != "test")
    test = pq.read_table(films_path, columns=["imdb_id", "sha256", "split"]).filter(pc.field("split") == "test")
    known = [pc.is_in(test[name], learned[name].combine_chunks()) for name in ("imdb_id", "sha256")]
    return np.asarray(pc.or_(*known).to_numpy(), bool)


def _ask_about_posters(champion: ModelFolder, posters_dir: Path, imdb_ids: Sequence[int]) -> NDArray[np.float32]:
    """Returns the champion's confidences, by its SavedModel, shape `(len(imdb_ids), len(champion.genres))`."""
    ask = tf.saved_model.load(str(champion.saved_model_path)).signatures["probabilities"]
    row_of = {imdb_id: row for row, imdb_id in enumerate(imdb_ids)}
    confidences = np.empty((len(imdb_ids), len(champion.genres)), np.float32)
    posters = iterate_posters(posters_dir, row_of.keys())
    while batch := list(islice(posters, _BATCH_SIZE)):
        answer = ask(image_bytes=tf.constant([content for _, content in batch]))
        # A model of before thresholds were folded in has probabilities alone, which are its confidences.
        asked = answer.get("confidences", answer["probabilities"])
        confidences[[row_of[imdb_id] for imdb_id, _ in batch]] = asked.numpy()
    return confidences
