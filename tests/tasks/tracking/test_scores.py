from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from event_logs import read_values

from tasks.tracking.scores import write_test_scores

# Of the third genre there is no test film.
GENRES = ["Comedy", "Sci-Fi", "War"]
TARGETS = [[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 1, 0]]
PROBABILITIES = [[0.9, 0.9, 0.1], [0.8, 0.3, 0.1], [0.6, 0.2, 0.1], [0.1, 1.0, 0.1]]


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("logs")
    scores = {"precision": 0.5, "recall": 1.0, "threshold": 0.25, "calibration_error": 0.125, "support": 2}
    genres = {genre: {**scores, "f1": number / 4} for number, genre in enumerate(GENRES)}
    metrics = {"vocabulary": GENRES, "model": {"macro_f1": 0.75, "micro_f1": 0.5, "genres": genres}}
    predictions = pd.DataFrame({"targets": TARGETS, "probabilities": PROBABILITIES})
    write_test_scores(folder, metrics, predictions, step=7)
    return folder


def test_scores_of_each_genre_lie_at_the_epoch_of_the_model(logs: Path) -> None:
    scalars = read_values(logs, "scalars")
    assert {step for values in scalars.values() for step, _ in values} == {7}
    found = {name: float(values[0][1]) for name, values in scalars.items()}
    assert found == pytest.approx(
        {
            "macro_f1": 0.75,
            "micro_f1": 0.5,
            **{f"f1/{genre}": number / 4 for number, genre in enumerate(GENRES)},
            **{f"precision/{genre}": 0.5 for genre in GENRES},
            **{f"recall/{genre}": 1.0 for genre in GENRES},
            **{f"threshold/{genre}": 0.25 for genre in GENRES},
            **{f"calibration_error/{genre}": 0.125 for genre in GENRES},
            # Films of the genre are the first and the third, and the first and the third, from the top.
            "average_precision/Comedy": (1 / 1 + 2 / 3) / 2,
            "average_precision/Sci-Fi": (1 / 1 + 2 / 3) / 2,
        }
    )


def test_precision_and_recall_at_every_threshold(logs: Path) -> None:
    curves = read_values(logs, "pr_curves")
    assert sorted(curves) == ["Comedy/pr_curves", "Sci-Fi/pr_curves"]
    ((step, comedy),) = curves["Comedy/pr_curves"]
    assert (step, comedy.shape) == (7, (6, 201))
    # True and false positives, true and false negatives, precision, recall; at 0, 0.35, 0.7 and 0.85.
    np.testing.assert_allclose(comedy[:, 0], [2, 2, 0, 0, 1 / 2, 1])
    np.testing.assert_allclose(comedy[:, 70], [2, 1, 1, 0, 2 / 3, 1])
    np.testing.assert_allclose(comedy[:, 140], [1, 1, 1, 1, 1 / 2, 1 / 2])
    np.testing.assert_allclose(comedy[:, 170], [1, 0, 2, 1, 1, 1 / 2])


def test_logs_are_small(logs: Path) -> None:
    (path,) = logs.iterdir()
    assert path.stat().st_size < 15_000
