import numpy as np

from tasks.evaluation.comparison import Scored, summarise, summarise_differences

TARGETS = np.array([[1, 0], [0, 1], [1, 1], [0, 1]], np.uint8)
WRONG = TARGETS == 0


def scored(recipe: str, seed: int, macro_f1: float, decisions: np.ndarray = WRONG, first_film: int = 0) -> Scored:
    scores = {
        "validation_macro_f1": 0.5,
        "macro_f1": macro_f1,
        "micro_f1": macro_f1 + 0.1,
        "average_precision": 0.4,
        "calibration_error": 0.02,
        "mean_batch_macro_f1": 0.25,
    }
    return Scored(recipe, seed, scores, np.arange(first_film, first_film + 4), TARGETS, decisions)


def test_worked_by_hand() -> None:
    # Better by 0.1 with seed 0, by 0.3 with seed 1, whatever the order of the lines.
    rows = [scored("b", 0, 0.6), scored("a", 1, 0.1, first_film=4), scored("b", 1, 0.4), scored("a", 0, 0.5)]
    table = summarise(rows)
    assert table["recipe"].tolist() == ["b", "a"]
    assert table["test macro-F1"].tolist() == ["0.500 ± 0.141", "0.300 ± 0.283"]
    assert table["test micro-F1"].tolist() == ["0.600 ± 0.141", "0.400 ± 0.283"]
    assert table["validation macro-F1"].tolist() == ["0.500 ± 0.000"] * 2
    differences = summarise_differences(rows)
    assert differences.to_dict("list") == {
        "less that of": ["b", "a"],
        "b": ["", "-0.200 ± 0.141"],
        "a": ["0.200 ± 0.141", ""],
    }


def test_one_seed_has_no_spread() -> None:
    assert summarise([scored("a", 0, 0.5)])["test macro-F1"].tolist() == ["0.500"]


def test_the_same_test_films_give_an_interval() -> None:
    # Right for every film against wrong for every film: macro-F1 of 1 against 0 in almost every resample of four films
    # (each genre is missing from one in 16 to one in 256).
    rows = [scored("b", 0, 1.0, TARGETS == 1), scored("a", 0, 0.0, WRONG)]
    assert summarise_differences(rows)["a"].tolist() == ["1.000 (0.500 to 1.000)", ""]
