"""Numbers worked out by hand: posters on a line and a plane, and a model that measures the same."""

import keras
import numpy as np
import pytest

from tasks.training.novelty import NoveltyMeasure, fit_novelty

NUM_LAST = 2


def test_the_distance_is_measured_in_deviations_along_the_principal_components() -> None:
    measure = NoveltyMeasure(np.array([[0.5, 0], [0, 2.0]], np.float32), np.array([-1, 0], np.float32), bound=2.5)
    features = keras.Input((2,))
    model = keras.Model(features, measure.build(features))
    # (8 * 0.5 - 1, 2 * 2) = (3, 4): 5 deviations, twice the bound.
    assert np.asarray(model(np.array([[8, 2], [2, 0]], np.float32))).tolist() == [[2.0], [0.0]]


def test_posters_in_several_views_have_the_mean_of_their_distances(make_matrix) -> None:
    measure = NoveltyMeasure(np.eye(2, dtype=np.float32), np.zeros(2, np.float32), bound=2.0)
    near, far = make_matrix(np.array([[3, 4], [0, 0]])), make_matrix(np.array([[0, 1], [0, 2]]))
    views = type(near)([near._matrices[0], far._matrices[0]])
    assert measure.measure(views).tolist() == [1.5, 0.5]


def test_few_posters_of_the_same_kind_are_over_the_bound_and_all_others(make_matrix) -> None:
    rng = np.random.default_rng(0)
    # Inner layers in the last columns: two directions that vary, and one that does not.
    posters = np.hstack([rng.normal(size=(3000, NUM_LAST)), rng.normal(5, (3, 0.5, 0.001), (3000, 3))])
    measure = fit_novelty(make_matrix(posters[:2000]), make_matrix(posters[2000:]), NUM_LAST)
    assert (measure.measure(make_matrix(posters[2000:])) > 1).mean() == pytest.approx(0.035, abs=0.001)
    others = make_matrix(posters[:100] + np.array([0, 0, 0, 6, 0]))
    assert (measure.measure(others) > 1).all()
    # The last layer does not count beside inner ones.
    assert not measure.kernel[:NUM_LAST].any()
    assert np.array_equal(
        measure.measure(make_matrix(posters[:100])),
        measure.measure(make_matrix(posters[:100] + np.array([50, 50, 0, 0, 0]))),
    )


def test_without_inner_layers_the_last_one_counts(make_matrix) -> None:
    posters = np.random.default_rng(0).normal(size=(400, NUM_LAST))
    measure = fit_novelty(make_matrix(posters), make_matrix(posters), NUM_LAST)
    assert measure.kernel.shape == (NUM_LAST, NUM_LAST)
    assert measure.measure(make_matrix(np.array([[9.0, 9.0]])))[0] > 1


def test_a_single_poster_has_no_measure_and_equal_ones_a_bound(make_matrix) -> None:
    posters = np.full((5, 4), 2.0)
    assert fit_novelty(make_matrix(posters[:1]), make_matrix(posters), NUM_LAST) is None
    assert fit_novelty(make_matrix(posters), make_matrix(posters[:0]), NUM_LAST) is None
    measure = fit_novelty(make_matrix(posters), make_matrix(posters), NUM_LAST)
    assert measure.measure(make_matrix(posters)).tolist() == [0] * 5
    assert measure.measure(make_matrix(posters + 1))[0] > 1


def test_a_handful_of_posters_is_enough(make_matrix) -> None:
    posters = np.random.default_rng(0).normal(size=(3, 10))
    measure = fit_novelty(make_matrix(posters), make_matrix(posters[:1]), NUM_LAST)
    assert np.isfinite(measure.measure(make_matrix(posters))).all()
