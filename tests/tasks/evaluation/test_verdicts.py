import json

import numpy as np
import pytest

from tasks.evaluation.verdicts import describe_verdicts, fingerprint_verdicts, score_by_verdicts


def make_films(*groups: tuple[int, int, int]) -> tuple[list[int], dict[int, int], np.ndarray, np.ndarray]:
    """Films in groups of (number, verdicts before, number with a wrong prediction), all of them of the genre 0.

    A film with a wrong prediction is predicted as none. The genre 1 has the first film alone, and is predicted for it;
    nothing has the genre 2, and the last film is predicted as it.
    """
    total = sum(num_films for num_films, _, _ in groups)
    targets, decisions = np.zeros((total, 3), np.uint8), np.zeros((total, 3), bool)
    targets[:, 0] = targets[0, 1] = 1
    decisions[0, 1] = decisions[-1, 2] = True
    earlier, start = {}, 0
    for num_films, verdicts, num_wrong in groups:
        decisions[start + num_wrong : start + num_films, 0] = True
        earlier |= {film: verdicts for film in range(start, start + num_films) if verdicts}
        start += num_films
    return list(range(total)), earlier, targets, decisions


def test_all_films_of_a_first_model_are_fresh() -> None:
    figures = score_by_verdicts(*make_films((400, 0, 100)))
    # F1 of genre 0: 300 found of 400. Genre 1: 1. Genre 2 does not count, no film has it.
    assert figures["fresh_macro_f1"] == pytest.approx((600 / 700 + 1) / 2)
    low, high = figures["fresh_macro_f1_interval"]
    assert low < figures["fresh_macro_f1"] < high
    assert {name: figures[name] for name in ("largest", "films_by_verdicts", "fresh_films", "used_macro_f1")} == {
        "largest": 1,
        "films_by_verdicts": {"1": 400},
        "fresh_films": 400,
        "used_macro_f1": None,
    }
    assert figures["least_used"] is None
    assert describe_verdicts(figures) == (
        "\nNo test film has given a verdict of the gate before this model's: nothing was selected on them."
    )


def test_fresh_films_beside_the_others() -> None:
    figures = score_by_verdicts(*make_films((500, 3, 50), (300, 0, 150)))
    assert (figures["largest"], figures["fresh_films"]) == (4, 300)
    assert figures["films_by_verdicts"] == {"1": 300, "4": 500}
    # Genre 0 alone: 150 found of 300. Of the others, 450 of 500, and genre 1.
    assert figures["fresh_macro_f1"] == pytest.approx(300 / 450)
    assert figures["used_macro_f1"] == pytest.approx((900 / 950 + 1) / 2)
    assert figures["least_used"] is None
    report = describe_verdicts(figures)
    low, high = figures["fresh_macro_f1_interval"]
    assert "They have given up to 4 verdicts, this model's included; 300 had given none before." in report
    assert f"On these macro-F1 is 0.667 (95% interval {low:.3f} to {high:.3f}) and 0.974 on the others." in report
    assert report.startswith(
        "\nEach verdict of the gate selects a model on the test films, which makes the figures on them optimistic. "
        "They have given up to"
    )
    few = score_by_verdicts(*make_films((299, 3, 50), (300, 0, 150)))
    assert describe_verdicts(few).endswith(") and the others are too few.")


def test_under_300_fresh_films_the_least_used_have_a_figure() -> None:
    figures = score_by_verdicts(*make_films((500, 9, 0), (199, 5, 99), (101, 2, 51), (299, 0, 0)))
    assert (figures["fresh_films"], figures["fresh_macro_f1"], figures["fresh_macro_f1_interval"]) == (299, None, None)
    assert figures["used_macro_f1"] is None
    # The fresh films and those that have given 3: 349 found of 400.
    least_used = figures["least_used"]
    assert (least_used["films"], least_used["largest"]) == (400, 3)
    assert least_used["macro_f1"] == pytest.approx(698 / 749)
    report = describe_verdicts(figures)
    assert "These are too few for a figure (300). On the 400 least used, with up to 3, macro-F1 is 0.932" in report


@pytest.mark.parametrize("groups", [[(20, 0, 3), (700, 6, 9)], [(250, 1, 9)], [(10, 0, 0), (280, 4, 0)]])
def test_the_least_used_are_not_all_films(groups: list[tuple[int, int, int]]) -> None:
    figures = score_by_verdicts(*make_films(*groups))
    assert figures["least_used"] is None
    assert describe_verdicts(figures).endswith("These are too few for a figure (300).")


def test_exactly_300_least_used_are_enough() -> None:
    figures = score_by_verdicts(*make_films((200, 0, 0), (100, 1, 0), (50, 2, 0)))
    assert (figures["least_used"]["films"], figures["least_used"]["largest"]) == (300, 2)


def test_figures_are_json() -> None:
    for groups in ([(400, 0, 100)], [(300, 2, 1), (30, 0, 0)], [(300, 2, 1), (300, 0, 0)]):
        figures = score_by_verdicts(*make_films(*groups))
        assert json.loads(json.dumps(figures)) == figures


def test_no_film() -> None:
    nothing = np.zeros((0, 2), np.uint8)
    assert score_by_verdicts([], {}, nothing, nothing.astype(bool))["largest"] == 0


def test_the_fingerprint_is_that_of_the_counts() -> None:
    assert fingerprint_verdicts({1: 2, 3: 4}) == fingerprint_verdicts({3: 4, 1: 2})
    assert len({fingerprint_verdicts(counts) for counts in ({}, {1: 2}, {1: 3}, {2: 2}, {1: 2, 3: 4})}) == 5
