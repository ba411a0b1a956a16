"""A champion of known weights against a candidate of known probabilities, worked out by hand."""

import hashlib
import json
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from ledger_rows import make_row, write_ledger

from tasks.dataset.task import Dataset
from tasks.evaluation.champion import ChampionTest, compare_with_champion
from tasks.features.matrix import FeatureMatrix
from tasks.model_folder import ModelFolder
from tasks.training.examples import Examples

# Six test films. Two features are the champion's probabilities of Comedy and Drama, by its head below.
FEATURES = np.array([[9, -9], [9, -9], [-9, 9], [-9, 9], [9, 9], [-9, -9]], np.float32)
TARGETS = np.array([[1, 0], [1, 0], [0, 1], [0, 1], [1, 1], [1, 1]], np.uint8)
# The candidate is wrong about the first film alone, which it takes for Drama.
CANDIDATE = np.array([[0, 1], [1, 0], [0, 1], [0, 1], [1, 1], [1, 1]], np.float32)
POSTERS = [f"poster {film}".encode() for film in range(6)]
HASHES = [hashlib.sha256(poster).hexdigest() for poster in POSTERS]


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """The champion's folder, the candidate's data set, and the posters."""
    champion = tmp_path / "m1"
    champion.mkdir()
    features = keras.Input((2,))
    # As an earlier version wrote them, without a dict.
    head = keras.Model(features, keras.layers.Activation("sigmoid", name="confidences")(features))
    head.save(champion / "head.keras")
    write_films(champion / "films.parquet", [], [])
    write_ledger(tmp_path / "posters", [make_row(film, POSTERS[film]) for film in range(6)], num_parts=2)
    return tmp_path


def write_films(path: Path, ids: list[int], splits: list[str], offset: int = 0) -> None:
    hashes = [HASHES[film] for film in ids]
    table = {"imdb_id": pa.array([film + offset for film in ids], pa.int64()), "sha256": pa.array(hashes, pa.string())}
    pq.write_table(pa.table({**table, "split": pa.array(splits, pa.string())}), path)


def compare(
    work: Path,
    candidate_genres: list[str] | None = None,
    features: str = "f",
    genres: list[str] | None = None,
    min_films: int = 1,
) -> dict[str, object]:
    champion = ModelFolder(work / "m1")
    champion.labels_path.write_text(json.dumps(genres or ["Comedy", "Drama"]))
    champion.write_manifest({"id": "m1", "features": features})
    dataset = Dataset(work, candidate_genres or ["Comedy", "Drama"], {"test": 6}, "")
    np.save(work / "test.npy", FEATURES.astype(np.float16))
    films = pd.DataFrame({"imdb_id": range(6), "sha256": HASHES})
    test = Examples(films, FeatureMatrix(work / "test.npy"), TARGETS)
    champion_test = ChampionTest(champion, min_films, work / "posters")
    return compare_with_champion(champion_test, dataset, work / "f", test, CANDIDATE)


def test_same_films_same_genres(work: Path) -> None:
    # Champion: 3 of 4 found of both genres. Candidate: 3 of 4 of Comedy; of Drama all 4, and one too many.
    assert compare(work) == {
        "id": "m1",
        "num_films": 6,
        "genres": ["Comedy", "Drama"],
        "lost_genres": [],
        "champion_macro_f1": pytest.approx(6 / 7),
        "candidate_macro_f1": pytest.approx((6 / 7 + 8 / 9) / 2),
    }


@pytest.mark.parametrize(
    ("ids", "splits", "offset"),
    [
        ([0, 5], ["train", "validation"], 0),
        ([0, 5], ["train", "validation"], 100),  # the same pictures, of other films
        ([0, 5, 1], ["train", "validation", "test"], 0),  # it was tested on one: it has not learned from that
    ],
)
def test_films_the_champion_has_learned_from_do_not_count(
    work: Path, ids: list[int], splits: list[str], offset: int
) -> None:
    write_films(work / "m1" / "films.parquet", ids, splits, offset)
    # Without the first and the last film the champion is never wrong, nor is the candidate.
    comparison = compare(work)
    assert (comparison["num_films"], comparison["champion_macro_f1"], comparison["candidate_macro_f1"]) == (4, 1, 1)


def test_nothing_to_compare_on(work: Path) -> None:
    write_films(work / "m1" / "films.parquet", list(range(6)), ["train"] * 6)
    assert compare(work)["champion_macro_f1"] is None
    assert compare(work)["num_films"] == 0
    write_films(work / "m1" / "films.parquet", [], [])
    none = compare(work, genres=["War", "Western"])
    assert (none["num_films"], none["genres"], none["lost_genres"]) == (6, [], ["War", "Western"])


def test_genres_of_too_few_films_do_not_count(work: Path) -> None:
    # The champion has not learned from three films: two of them are comedies, all are dramas.
    write_films(work / "m1" / "films.parquet", [0, 1, 2], ["train"] * 3)
    assert compare(work, min_films=2)["genres"] == ["Comedy", "Drama"]
    assert compare(work, min_films=3)["genres"] == ["Drama"]
    assert compare(work, min_films=4)["champion_macro_f1"] is None


def test_only_shared_genres_count_whatever_their_order(work: Path) -> None:
    # The champion's first column is War here.
    comparison = compare(work, candidate_genres=["Comedy", "War"], genres=["War", "Comedy"])
    assert comparison["genres"] == ["Comedy", "War"]
    only = compare(work, candidate_genres=["Action", "Drama"], genres=["Comedy", "Drama"])
    assert only["genres"] == ["Drama"]
    assert only["champion_macro_f1"] == pytest.approx(6 / 7)
    assert only["candidate_macro_f1"] == pytest.approx(8 / 9)


@pytest.mark.parametrize("with_confidences", [True, False])
def test_a_champion_of_other_features_predicts_from_the_posters(work: Path, with_confidences: bool) -> None:
    """Its SavedModel knows each poster by its last digit."""

    class Servable(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")])
        def predict(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
            film = tf.strings.to_number(tf.strings.substr(image_bytes, 7, 1), tf.int32)
            outputs = {"probabilities": tf.gather(tf.constant(CANDIDATE), film)}
            if with_confidences:
                # Its thresholds were folded in: confidences count, whatever the raw probabilities.
                outputs = {"confidences": outputs["probabilities"], "probabilities": 1 - outputs["probabilities"]}
            return outputs

    servable = Servable()
    tf.saved_model.save(servable, str(work / "m1" / "saved_model"), {"probabilities": servable.predict})
    comparison = compare(work, features="another")
    assert comparison["num_films"] == 6
    assert comparison["champion_macro_f1"] == comparison["candidate_macro_f1"] == pytest.approx((6 / 7 + 8 / 9) / 2)
