import numpy as np
import pytest
import tensorflow as tf

from tasks.errors import DatasetError
from tasks.outputs.output import OutputContext
from tasks.outputs.score import ScoreOutput


def test_mean_and_deviation_are_those_of_the_training_films(context: OutputContext, films) -> None:
    output = ScoreOutput.from_context(context)
    assert (output.mean, output.deviation) == pytest.approx((6.0, np.sqrt(1.5)))
    np.testing.assert_array_equal(output.read_targets(films), [[7.5], [0], [0], [4.5], [6.0]])


def test_films_without_a_score_are_an_error(context: OutputContext, make_films) -> None:
    no_scores = OutputContext(context.genres, make_films([1, 2], [0, 0]), context.training, context.heads)
    with pytest.raises(DatasetError, match=r"no film of the training split has a score, .*number in the column IMDB"):
        ScoreOutput.from_context(no_scores)


def test_a_film_without_a_score_costs_nothing() -> None:
    output = ScoreOutput(6.0, 1.5)
    targets, predictions = tf.constant([[7.0], [0.0], [4.0]]), tf.constant([[6.0], [9.0], [4.5]])
    assert float(output.measure_loss(targets, predictions)) == pytest.approx((1.0 + 0.25) / 2)
    output.update_metrics(targets, predictions)
    assert float(output.metrics[0].result()) == pytest.approx(0.75)


def test_it_is_served_and_decoded() -> None:
    output = ScoreOutput(6.0, 1.5)
    columns = np.array([[6.5], [7.0]], np.float32)
    assert output.serve(tf.constant(columns))["score"].numpy().tolist() == [6.5, 7.0]
    assert output.decode(columns) == [{"score": 6.5}, {"score": 7.0}]
    assert output.compare_served({"score": [6.5, 7.25]}, columns) == pytest.approx(0.25)
    found = ScoreOutput.from_served({"score": columns[:, 0]})
    assert found is not None
    np.testing.assert_array_equal(found[1], columns)
    assert ScoreOutput.from_served({}) is None


def test_scores_are_worked_by_hand(make_films) -> None:
    test, train = make_films([1] * 4, [5, 7, 9, 0]), make_films([1] * 4, [6, 8, 7, 0])
    predictions = np.array([[6], [6.5], [8], [1]], np.float32)
    # Off by 1, 0.5 and 1; the median of the training split, 7, by 2, 0 and 2; the last film has no score.
    scores = ScoreOutput(6.0, 1.5).evaluate(predictions, test, train)
    assert scores == {
        "num_films": 3,
        "mean_absolute_error": pytest.approx(2.5 / 3),
        "median_mean_absolute_error": pytest.approx(4 / 3),
        "rank_correlation": pytest.approx(1.0),
    }
    assert "0.83 points over 3 films" in ScoreOutput.describe(scores)
    constant = np.full((4, 1), 6, np.float32)
    assert ScoreOutput(6.0, 1.5).evaluate(constant, test, train)["rank_correlation"] == 0
    assert ScoreOutput(6.0, 1.5).evaluate(predictions, make_films([1], [0]), train) == {}
