from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.features.cache import write_features
from tasks.features.matrix import FeatureViews
from tasks.registry.reproduction import (
    Comparison,
    Weights,
    compare_features,
    compare_figures,
    compare_predictions,
    compare_weights,
)

# The first and the third film show the same image.
FILMS = pd.DataFrame(
    {"imdb_id": [11, 12, 13, 14], "sha256": ["a", "b", "a", "c"], "split": ["train", "test", "train", "train"]}
)
FEATURES = {"a": [1.0, 2.0], "b": [3.0, 4.0], "c": [5.0, 6.0]}


@pytest.fixture
def made(make_matrix) -> dict[str, FeatureViews]:
    train, test = [FEATURES["a"], FEATURES["a"], FEATURES["c"]], [FEATURES["b"]]
    return {"train": make_matrix(np.array(train)), "test": make_matrix(np.array(test))}


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        ({**FEATURES, "other": [0, 0]}, Comparison("features", True, "3 of 3 images compared")),
        ({"c": FEATURES["c"]}, Comparison("features", True, "1 of 3 images compared")),
        (
            {"c": [5.0, 5.5], "b": [3.25, 4.0], "a": [1.0, 2.0]},
            Comparison("features", False, "2 of 3 images, first b of film 12; the largest difference is 0.5"),
        ),
        ({}, Comparison("features", None, "3 images, none of whose features were kept")),
    ],
)
def test_features(
    made: dict[str, FeatureViews], tmp_path: Path, kept: dict[str, list[float]], expected: Comparison
) -> None:
    if kept:
        write_features(tmp_path / "net", list(kept), np.array(list(kept.values()), np.float32))
    assert compare_features(FILMS, made, tmp_path / "net", tmp_path / "scratch" / "net") == expected


def test_features_of_another_network(made: dict[str, FeatureViews]) -> None:
    found = compare_features(FILMS, made, Path("net-v1"), Path("net-v2"))
    assert found == Comparison("features", False, "they are those of net-v2, expected net-v1")


KERNEL, BIAS = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32), np.array([5.0, 6.0], np.float32)


@pytest.mark.parametrize(
    ("published", "expected"),
    [
        ([KERNEL, BIAS], (True, "6 values in 2 arrays")),
        ([KERNEL, BIAS + 0.5], (False, "first logits/bias, the largest difference is 0.5")),
        (
            [KERNEL - [[0, 0.25], [0, 0]], BIAS + 0.5],
            (False, "first hidden/kernel, the largest difference is 0.25; the largest of all is 0.5"),
        ),
        (
            [KERNEL, BIAS * [1, np.nan]],
            (False, "first logits/bias, the largest difference is inf"),
        ),
        ([KERNEL, BIAS[:1]], (False, "first logits/bias, of shape (2,), expected (1,)")),
        ([KERNEL], (False, "2 arrays, expected 1")),
    ],
)
def test_weights(published: list[np.ndarray], expected: tuple[bool, str]) -> None:
    names = ["hidden/kernel", "logits/bias"]
    found = compare_weights(Weights(names, [KERNEL, BIAS]), Weights(names[: len(published)], published))
    assert found == Comparison("weights", *expected)


def test_predictions() -> None:
    made = {"genres": np.array([[0.5, 0.25], [0.75, 0.0]]), "score": np.array([[6.0], [7.0]])}
    assert compare_predictions(made, made, [11, 12]) == Comparison("predictions", True, "2 test films")
    published = {"genres": made["genres"] - [[0, 0], [0.25, 0]], "score": made["score"] + [[0.125], [0]]}
    found = compare_predictions(made, published, [11, 12])
    assert found.equal is False
    assert found.found == "2 test films, the largest difference is 0.25: genres of 12"
    found = compare_predictions(made, {"genres": made["genres"]}, [11, 12])
    assert (found.equal, found.found) == (False, "score has the shape (2, 1), expected None")
    nothing = {"genres": np.zeros((0, 2))}
    assert compare_predictions(nothing, nothing, []) == Comparison("predictions", True, "0 test films")
    # What is not a number in both is the same.
    unknown = {"genres": np.array([[np.nan, 1.0]])}
    assert compare_predictions(unknown, unknown, [11]).equal is True


def test_figures() -> None:
    made = {"macro_f1": 0.5, "genres": {"Drama": {"f1": 0.25}}, "interval": [0.25, 0.75], "training_seconds": 9.0}
    published = {**made, "training_seconds": 8.0, "later": 1.0, "recipe": "seed"}
    assert compare_figures(made, published) == Comparison("figures", True, "4 figures of the test split")
    published = {**published, "interval": [0.25, 0.5]}
    assert compare_figures(made, published) == Comparison("figures", False, "first interval.1: 0.75, expected 0.5")
    published = {**published, "genres": {"Drama": {"f1": 0.3}}}
    assert compare_figures(made, published).found == "first genres.Drama.f1: 0.25, expected 0.3"
    assert compare_figures(made, {}).equal is None
