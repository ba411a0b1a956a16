import numpy as np
import pytest
import tensorflow as tf

from tasks.errors import DatasetError
from tasks.settings import GENRES_ALONE, HeadSettings, TrainingSettings
from tasks.training.examples import Examples
from tasks.training.outputs import DecadeOutput, ScoreOutput, find_decades, make_outputs, pick_decades

YEARS = np.array([1994, 0, 2003, 1929, 1990], np.int32)
SCORES = np.array([7.5, 0, 0, 4.5, 6.0], np.float32)


@pytest.fixture
def films(make_matrix) -> Examples:
    return Examples([1, 2, 3, 4, 5], make_matrix(np.zeros((5, 3))), np.ones((5, 2), np.uint8), YEARS, SCORES)


def test_decades_of_years() -> None:
    assert find_decades(YEARS) == [1920, 1990, 2000]
    assert find_decades(np.zeros(3, np.int32)) == []
    np.testing.assert_array_equal(pick_decades(YEARS, [1990, 2000]), [0, -1, 1, -1, 0])


def test_a_film_without_a_year_costs_nothing() -> None:
    output = DecadeOutput([1990, 2000], 1.0)
    targets = tf.constant([[0], [-1], [1]])
    answers = tf.constant([[0.8, 0.2], [0.01, 0.99], [0.6, 0.4]])
    # The mean of the two that have one.
    assert float(output.measure_loss(targets, answers)) == pytest.approx(-(np.log(0.8) + np.log(0.4)) / 2, abs=1e-5)
    output.update_metrics(targets, answers)
    assert float(output.metrics[0].result()) == 0.5
    assert float(output.measure_loss(tf.constant([[-1]]), answers[:1])) == 0


def test_a_film_without_a_score_costs_nothing(films: Examples) -> None:
    output = ScoreOutput(6.0, 1.5, 1.0)
    np.testing.assert_array_equal(output.read_targets(films), SCORES[:, np.newaxis])
    targets, answers = tf.constant([[7.0], [0.0], [4.0]]), tf.constant([[6.0], [9.0], [4.5]])
    assert float(output.measure_loss(targets, answers)) == pytest.approx((1.0 + 0.25) / 2)
    output.update_metrics(targets, answers)
    assert float(output.metrics[0].result()) == pytest.approx(0.75)


def test_genres_come_first_and_alone_if_nothing_else_is_asked_for(films: Examples) -> None:
    def names(heads: HeadSettings) -> list[str]:
        return [output.name for output in make_outputs(["a", "b"], TrainingSettings(), heads, films)]

    assert names(GENRES_ALONE) == ["genres"]
    every = HeadSettings(decade=0.1, score=0.2, embedding=0.3)
    assert names(every) == ["genres", "decade", "score", "embedding"] == list(every.names)
    decade, score = make_outputs(["a", "b"], TrainingSettings(), every, films)[1:3]
    assert isinstance(decade, DecadeOutput)
    assert decade.decades == [1920, 1990, 2000]
    assert isinstance(score, ScoreOutput)
    assert (score.mean, score.deviation) == pytest.approx((6.0, np.sqrt(1.5)))


@pytest.mark.parametrize(
    ("heads", "says"),
    [
        (HeadSettings(decade=1), r"no film of the training split has a year, .*expected a year in the title"),
        (HeadSettings(score=1), r"no film of the training split has a score, .*expected a number in the column IMDB"),
    ],
)
def test_nothing_to_learn_from_is_an_error(make_matrix, heads: HeadSettings, says: str) -> None:
    nothing = np.zeros(2)
    films = Examples(
        [1, 2], make_matrix(np.zeros((2, 3))), np.ones((2, 2), np.uint8), nothing.astype(np.int32), nothing
    )
    with pytest.raises(DatasetError, match=says):
        make_outputs(["a", "b"], TrainingSettings(), heads, films)
