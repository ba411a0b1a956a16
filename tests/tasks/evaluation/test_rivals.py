"""A champion of known weights against a candidate of known probabilities, worked out by hand."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from ledger_rows import make_row, write_ledger
from numpy.typing import NDArray

from tasks.dataset.task import Dataset
from tasks.evaluation.rivals import CandidatePredictions, Rivals, compare_with_rivals
from tasks.features.matrix import FeatureMatrix, FeatureViews
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
    logits = keras.layers.Identity(name="logits")(features)
    head = keras.Model(features, keras.layers.Activation("sigmoid", name="confidences")(logits))
    head.save(champion / "head.keras")
    write_films(champion / "films.parquet", [], [])
    write_films(tmp_path / "films.parquet", [], [])
    write_ledger(tmp_path / "posters", [make_row(film, POSTERS[film]) for film in range(6)], num_parts=2)
    return tmp_path


def write_films(
    path: Path, ids: list[int], splits: list[str], offset: int = 0, targets: NDArray[np.uint8] = TARGETS
) -> None:
    hashes = [HASHES[film] for film in ids]
    table = {"imdb_id": pa.array([film + offset for film in ids], pa.int64()), "sha256": pa.array(hashes, pa.string())}
    genres = pa.array([targets[film].tolist() for film in ids], pa.list_(pa.uint8()))
    pq.write_table(pa.table({**table, "split": pa.array(splits, pa.string()), "targets": genres}), path)


def compare_all(
    work: Path,
    names: list[str],
    candidate_genres: list[str] | None = None,
    features: str = "f",
    genres: list[str] | None = None,
    min_films: int = 1,
) -> list[dict[str, Any]]:
    rivals = [ModelFolder(work / name) for name in names]
    for rival in rivals:
        rival.labels_path.write_text(json.dumps(genres or ["Comedy", "Drama"]))
        rival.write_manifest({"id": rival.id, "features": features})
    dataset = Dataset(work, candidate_genres or ["Comedy", "Drama"], {"test": 6}, "")
    np.save(work / "test.npy", FEATURES.astype(np.float16))
    films = pd.DataFrame({"imdb_id": range(6), "sha256": HASHES})
    test = Examples(films, FeatureViews([FeatureMatrix(work / "test.npy")]), TARGETS)
    candidate = CandidatePredictions(dataset, work / "f", test, CANDIDATE > 0.5)
    return compare_with_rivals(Rivals(rivals, min_films, work / "posters"), candidate)


def compare(
    work: Path,
    candidate_genres: list[str] | None = None,
    features: str = "f",
    genres: list[str] | None = None,
    min_films: int = 1,
) -> dict[str, Any]:
    (comparison,) = compare_all(work, ["m1"], candidate_genres, features, genres, min_films)
    return comparison


def test_same_films_same_genres(work: Path) -> None:
    # Champion: of Comedy all 4 (for the last film nothing is over 0.5, so that the first is the best), of Drama 3 of 4.
    # Candidate: of Comedy 3 of 4; of Drama all 4, and one too many.
    comparison = compare(work)
    assert comparison.pop("standard_error") > 0
    assert comparison.pop("noise") > 0
    assert comparison == {
        "id": "m1",
        "data_films": 0,
        "test_films": 0,
        "num_films": 6,
        "genres": ["Comedy", "Drama"],
        "lost_genres": [],
        "new_genres": [],
        "renamed_genres": {},
        "rival_macro_f1": pytest.approx((1 + 6 / 7) / 2),
        "candidate_macro_f1": pytest.approx((6 / 7 + 8 / 9) / 2),
    }


def test_each_rival_has_films_of_its_own(work: Path) -> None:
    """One has learned from all but four, the other from all: only the first can be compared with."""
    for name in ("m2", "m3"):
        shutil.copytree(work / "m1", work / name)
    write_films(work / "m2" / "films.parquet", [0, 5, 1], ["train", "validation", "test"])
    write_films(work / "m3" / "films.parquet", list(range(6)), ["train"] * 6)
    first, second, third = compare_all(work, ["m1", "m2", "m3"])
    assert [row["num_films"] for row in (first, second, third)] == [6, 4, 0]
    assert [row["data_films"] for row in (first, second, third)] == [0, 3, 6]
    assert [row["test_films"] for row in (first, second, third)] == [0, 1, 0]
    assert first["rival_macro_f1"] == pytest.approx((1 + 6 / 7) / 2)
    assert second["rival_macro_f1"] == second["candidate_macro_f1"] == 1
    assert third["rival_macro_f1"] is third["candidate_macro_f1"] is third["noise"] is None


def test_renamed_genres_are_found_by_their_films(work: Path) -> None:
    """Drama's films have War now; Comedy is kept."""
    ids = list(range(6))
    write_films(work / "m1" / "films.parquet", ids, ["test"] * 6, targets=TARGETS)
    write_films(work / "films.parquet", ids, ["test"] * 6, targets=TARGETS)
    comparison = compare(work, candidate_genres=["Comedy", "War"])
    assert (comparison["lost_genres"], comparison["new_genres"]) == (["Drama"], ["War"])
    assert comparison["renamed_genres"] == {"Drama": "War"}
    # Of Drama's four films two have it now, which is not most of them.
    targets = TARGETS.copy()
    targets[2:4, 1] = 0
    write_films(work / "films.parquet", ids, ["test"] * 6, targets=targets)
    assert compare(work, candidate_genres=["Comedy", "War"])["renamed_genres"] == {}


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
    assert (comparison["num_films"], comparison["rival_macro_f1"], comparison["candidate_macro_f1"]) == (4, 1, 1)


def test_nothing_to_compare_on(work: Path) -> None:
    write_films(work / "m1" / "films.parquet", list(range(6)), ["train"] * 6)
    assert compare(work)["rival_macro_f1"] is None
    assert compare(work)["num_films"] == 0
    write_films(work / "m1" / "films.parquet", [], [])
    none = compare(work, genres=["War", "Western"])
    assert (none["num_films"], none["genres"], none["lost_genres"]) == (6, [], ["War", "Western"])


def test_genres_of_too_few_films_do_not_count(work: Path) -> None:
    # The champion has not learned from three films: two of them are comedies, all are dramas.
    write_films(work / "m1" / "films.parquet", [0, 1, 2], ["train"] * 3)
    assert compare(work, min_films=2)["genres"] == ["Comedy", "Drama"]
    assert compare(work, min_films=3)["genres"] == ["Drama"]
    assert compare(work, min_films=4)["rival_macro_f1"] is None


def test_only_shared_genres_count_whatever_their_order(work: Path) -> None:
    # The champion's first column is War here.
    comparison = compare(work, candidate_genres=["Comedy", "War"], genres=["War", "Comedy"])
    assert comparison["genres"] == ["Comedy", "War"]
    only = compare(work, candidate_genres=["Action", "Drama"], genres=["Comedy", "Drama"])
    assert only["genres"] == ["Drama"]
    assert only["rival_macro_f1"] == pytest.approx(6 / 7)
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
    assert comparison["rival_macro_f1"] == comparison["candidate_macro_f1"] == pytest.approx((6 / 7 + 8 / 9) / 2)
