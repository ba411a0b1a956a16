import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tasks.outputs.decisions import DecisionRule, decide, limit, sort_decided

CONFIDENCES = np.array([[0.9, 0.6, 0.5, 0.7], [0.3, 0.5, 0.2, 0.4], [0.1, 0.1, 0.1, 0.1]], np.float32)
CALIBRATED = np.array([[0.2, 0.8, 0.9, 0.3], [0.4, 0.1, 0.3, 0.2], [0.2, 0.3, 0.3, 0.1]], np.float32)


@pytest.mark.parametrize(
    ("ranking", "top_k", "columns"),
    [
        # Of the first film all but the third, which is not over 0.5; of the second and third the best.
        (CONFIDENCES, None, [[0, 1, 3], [1], [0]]),
        (CALIBRATED, None, [[0, 1, 3], [0], [1]]),
        (CONFIDENCES, 2, [[0, 3], [1], [0]]),
        # By calibrated probability the best two of those over 0.5: the third has a higher one, and is not.
        (CALIBRATED, 2, [[1, 3], [0], [1]]),
        (CALIBRATED, 1, [[1], [0], [1]]),
        (CALIBRATED, 9, [[0, 1, 3], [0], [1]]),
    ],
)
def test_decisions_are_worked_by_hand(ranking, top_k, columns) -> None:
    decisions = decide(CONFIDENCES, ranking, top_k)
    assert decisions.dtype == bool
    assert [np.flatnonzero(row).tolist() for row in decisions] == columns


def test_the_order_is_that_of_the_ranking_and_of_equals_the_first() -> None:
    decisions = np.array([[1, 1, 0, 1], [0, 1, 0, 0]], bool)
    assert sort_decided(decisions, CALIBRATED[:2])[0, :3].tolist() == [1, 3, 0]
    assert sort_decided(decisions, CALIBRATED[:2])[1, 0] == 1
    assert sort_decided(np.ones((1, 4), bool), np.array([[0.5, 0.7, 0.5, 0.7]]))[0].tolist() == [1, 3, 0, 2]


def test_a_limit_may_leave_nothing_to_limit() -> None:
    assert limit(np.zeros((2, 4), bool), CALIBRATED[:2], 2).sum() == 0
    assert decide(CONFIDENCES[:0], CALIBRATED[:0], 2).shape == (0, 4)


def test_a_rule_ranks_by_its_order() -> None:
    assert DecisionRule("calibrated").rank(CONFIDENCES, CALIBRATED) is CALIBRATED
    assert DecisionRule().rank(CONFIDENCES, CALIBRATED) is CONFIDENCES
    decisions = DecisionRule("calibrated", 2).decide(CONFIDENCES, CALIBRATED)
    np.testing.assert_array_equal(decisions, decide(CONFIDENCES, CALIBRATED, 2))
    assert DecisionRule.from_config(DecisionRule("calibrated", 2).get_config()) == DecisionRule("calibrated", 2)
    with pytest.raises(ValueError, match="expected an order among calibrated, confidences. Received: 'best'"):
        DecisionRule.from_config({"order": "best", "top_k": None})


unit = arrays(np.float32, (5, 4), elements=st.floats(0, 1, width=32))


@settings(max_examples=100, deadline=None)
@given(unit, unit, st.none() | st.integers(1, 5))
def test_every_film_has_a_genre_and_none_more_than_allowed(confidences, ranking, top_k) -> None:
    decisions = decide(confidences, ranking, top_k)
    over = confidences > 0.5
    num_over = over.sum(axis=1)
    np.testing.assert_array_equal(decisions.sum(axis=1), np.clip(num_over, 1, top_k))
    # Nothing that is not over 0.5, where something is.
    assert not (decisions & ~over)[num_over > 0].any()
    candidates = over | (num_over == 0)[:, np.newaxis]
    lowest_chosen = np.where(decisions, ranking, np.inf).min(axis=1)
    highest_left = np.where(candidates & ~decisions, ranking, -np.inf).max(axis=1)
    assert (lowest_chosen >= highest_left).all()
