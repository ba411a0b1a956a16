import numpy as np
import pytest
import tensorflow as tf

from tasks.errors import DatasetError
from tasks.outputs.decade import DecadeOutput
from tasks.outputs.output import OutputContext


def test_decades_are_those_of_the_training_films(context: OutputContext, films) -> None:
    output = DecadeOutput.from_context(context)
    assert output.decades == [1920, 1990, 2000]
    np.testing.assert_array_equal(output.read_targets(films), [[1], [-1], [2], [0], [1]])
    np.testing.assert_array_equal(DecadeOutput([1990]).read_targets(films), [[0], [-1], [-1], [-1], [0]])


def test_films_without_a_year_are_an_error(context: OutputContext, make_films) -> None:
    no_years = OutputContext(context.genres, make_films([0, 0], [1, 1]), context.training, context.heads)
    with pytest.raises(DatasetError, match=r"no film of the training split has a year, .*expected a year in the title"):
        DecadeOutput.from_context(no_years)


def test_a_film_without_a_year_costs_nothing() -> None:
    output = DecadeOutput([1990, 2000])
    targets = tf.constant([[0], [-1], [1]])
    predictions = tf.constant([[0.8, 0.2], [0.01, 0.99], [0.6, 0.4]])
    # The mean over the two that have one.
    loss = float(output.measure_loss(targets, predictions))
    assert loss == pytest.approx(-(np.log(0.8) + np.log(0.4)) / 2, abs=1e-5)
    output.update_metrics(targets, predictions)
    assert float(output.metrics[0].result()) == 0.5
    assert float(output.measure_loss(tf.constant([[-1]]), predictions[:1])) == 0


def test_it_is_served_and_decoded_by_name() -> None:
    output = DecadeOutput([1990, 2000])
    probabilities = np.array([[0.25, 0.75], [0.625, 0.375]], np.float32)
    served = {name: tensor.numpy() for name, tensor in output.serve(tf.constant(probabilities)).items()}
    assert served["decade"].astype(str).tolist() == ["2000s", "1990s"]
    assert served["decade_confidence"].tolist() == [0.75, 0.625]
    assert output.decode(probabilities) == [{"decade": "2000s"}, {"decade": "1990s"}]
    lists = {"decade": ["2000s", "1990s"], "decade_confidence": [0.75, 0.5]}
    assert output.compare_served(lists, probabilities) == pytest.approx(0.125)
    every = {name: tensor.numpy() for name, tensor in output.serve_all(tf.constant(probabilities)).items()}
    found = DecadeOutput.from_served(every)
    assert found is not None
    assert found[0] == output
    assert every["decades"].astype(str).tolist() == [["1990s", "2000s"]] * 2
    early = DecadeOutput.from_served({**every, "decades": every["decades"][0]})  # of version 0.1.0
    assert early is not None
    assert early[0] == output
    np.testing.assert_array_equal(found[1], probabilities)
    assert DecadeOutput.from_served({}) is None
    assert DecadeOutput.from_column_names(["Drama", "score"]) is None


def test_scores_are_worked_by_hand(make_films) -> None:
    output = DecadeOutput([1980, 1990, 2000])
    test = make_films([1985, 1991, 2004, 2009, 0], [1] * 5)
    train = make_films([1999, 1990, 2000, 0], [1] * 4)
    predictions = np.eye(3, dtype=np.float32)[[0, 2, 2, 0, 1]]
    # Correct: the first and the third; one off: the second; two off: the fourth; the last has no year.
    scores = output.evaluate(predictions, test, train)
    assert scores == {
        "num_films": 4,
        "accuracy": 0.5,
        "within_one": 0.75,
        "majority": 1990,
        "majority_accuracy": 0.25,
    }
    assert "correct for 50.0% of 4 films" in DecadeOutput.describe(scores)
    assert output.evaluate(predictions[:1], make_films([0], [1]), train) == {}
