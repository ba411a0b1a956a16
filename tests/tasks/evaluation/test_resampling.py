import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from tasks.evaluation.resampling import resample_f1, score_f1


@given(num_films=st.integers(2, 40), num_genres=st.integers(2, 5), seed=st.integers(0, 2**31), density=st.floats(0, 1))
@settings(max_examples=50, deadline=None)
def test_scores_are_those_of_scikit_learn(num_films: int, num_genres: int, seed: int, density: float) -> None:
    rng = np.random.default_rng(seed)
    targets = (rng.random((num_films, num_genres)) < density).astype(np.uint8)
    decisions = rng.random((num_films, num_genres)) < 0.5
    expected = f1_score(targets, decisions, average=None, zero_division=0)
    assert score_f1((targets, decisions)) == pytest.approx(expected)


def test_a_resample_is_a_draw_of_films_the_same_for_all_models() -> None:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, (30, 3)).astype(np.uint8)
    models = [(targets, rng.random((30, 3)) < share) for share in (0.3, 0.6)]
    scores = resample_f1(models, num_resamples=20, seed=7)
    drawn = np.random.default_rng(7).integers(30, size=(20, 30), dtype=np.int32)
    for (_, decisions), found in zip(models, scores, strict=True):
        expected = [f1_score(targets[rows], decisions[rows], average=None, zero_division=0) for rows in drawn]
        assert found == pytest.approx(np.array(expected))


def test_models_may_have_other_genres() -> None:
    targets = np.ones((10, 3), np.uint8)
    wide, narrow = resample_f1([(targets, targets.astype(bool)), (targets[:, :1], np.zeros((10, 1), bool))], 5)
    assert wide.tolist() == [[1, 1, 1]] * 5
    assert narrow.tolist() == [[0]] * 5


def test_the_number_of_weights_in_memory_does_not_change_the_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    model = (rng.integers(0, 2, (50, 2)).astype(np.uint8), rng.random((50, 2)) < 0.5)
    (at_once,) = resample_f1([model], 30)
    monkeypatch.setattr("tasks.evaluation.resampling._WEIGHTS_AT_ONCE", 50 * 7)
    (in_turns,) = resample_f1([model], 30)
    assert in_turns.tolist() == at_once.tolist()


def test_many_films_take_seconds() -> None:
    rng = np.random.default_rng(0)
    targets = (rng.random((100_000, 20)) < 0.1).astype(np.uint8)
    start = time.process_time()
    resample_f1([(targets, rng.random((100_000, 20)) < 0.1)])
    # Some 5 s of one core; the loop over the resamples took 6 minutes.
    assert time.process_time() - start < 60
