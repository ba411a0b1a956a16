"""The report of figures that are written here, word for word."""

from pathlib import Path
from typing import Any

import pytest

from tasks.evaluation.report import compare_recipes, describe_recipe, render_report

EXPECTED = Path(__file__).with_name("expected_report.md")


def make_scores(macro_f1: float, **others: Any) -> dict[str, Any]:
    return {
        "macro_f1": macro_f1,
        "macro_f1_interval": [macro_f1 - 0.02, macro_f1 + 0.03],
        "micro_f1": macro_f1 + 0.1,
        "mean_batch_macro_f1": macro_f1 - 0.05,
        "labels_per_film": 2.345,
        **others,
    }


def make_genre(f1: float, support: int) -> dict[str, Any]:
    return {
        "precision": f1 - 0.1,
        "recall": f1 + 0.1,
        "f1": f1,
        "support": support,
        "threshold": 0.25,
        "raw_calibration_error": 0.2,
        "calibration_error": 0.02,
        "brier": 0.12,
    }


def make_rival(model_id: str, **others: Any) -> dict[str, Any]:
    return {
        "id": model_id,
        "num_films": 781,
        "genres": ["Drama", "Comedy"],
        "rival_macro_f1": 0.45123,
        "candidate_macro_f1": 0.462,
        "noise": 0.013,
        "lost_genres": [],
        "new_genres": [],
        "renamed_genres": {},
        **others,
    }


@pytest.fixture
def metrics() -> dict[str, Any]:
    """Every section of the report, with names that would be markup."""
    genres = {"Comedy": make_genre(0.6, 300), "*War*": make_genre(0.7, 20)}
    error = {"imdb_id": 7, "title": "<b>Seven</b>", "genre": "*War*", "probability": 0.81234}
    return {
        "recipe": "default (altered)",
        "threshold": 0.5,
        "rule": {"order": "calibrated", "top_k": 3},
        "ranking": {"first_genre_right": {"calibrated": 0.593, "confidences": 0.471}},
        "num_films": {"train": 6244, "validation": 781, "test": 1782},
        "heads": ["genres", "decade"],
        "model": make_scores(0.46, genres=genres),
        "operating_points": {
            "0.5": {"num_genres": 2, "precision": 0.523, "recall": 0.71, "films_with_genres": 0.9},
            "0.9": {"num_genres": 0, "precision": None, "recall": 0.0, "films_with_genres": 0.0},
        },
        "outputs": {
            "decade": {
                "accuracy": 0.5,
                "num_films": 1782,
                "within_one": 0.75,
                "majority": 2000,
                "majority_accuracy": 0.4,
            }
        },
        "embedding": {
            "num_queries": 1000,
            "num_nearest": 10,
            "precision": {"model": 0.8, "features": 0.7, "chance": 0.6},
        },
        "baselines": {
            "seed": make_scores(0.47, improvement_interval=[-0.02, 0.01]),
            "predict_everything": make_scores(0.2, improvement_interval=[0.2, 0.3]),
        },
        "verdicts": {"largest": 1},
        "catalog": {
            "dropped": {"no id": 1234, "no genre": 0},
            "doubtful": {"<none>": 0},
            "corrections": {"films changed": 2, "genres as before": 0, "not in the catalog": 1},
        },
        "drift": {"against": None},
        "label_errors": {"given": [error], "not_given": [{**error, "title": "Eight", "genre": "Comedy"}]},
        "rivals": [
            make_rival("m2", lost_genres=["_A_", "B"], new_genres=["C"], renamed_genres={"Sci-Fi": "<SF>"}),
            make_rival("m1", num_films=300),
        ],
    }


def test_report_is_word_for_word_as_expected(metrics: dict[str, Any]) -> None:
    assert render_report(metrics, with_charts=True) == EXPECTED.read_text("utf-8")


def test_parts_that_were_not_made_are_left_out(metrics: dict[str, Any]) -> None:
    for name in ("verdicts", "catalog", "drift", "label_errors", "rivals"):
        del metrics[name]
    metrics["outputs"], metrics["embedding"] = {}, {"num_queries": 0, "num_nearest": 10, "precision": {}}
    metrics["rule"] = {"order": "confidences", "top_k": None}
    report = render_report(metrics, with_charts=False)
    whole = EXPECTED.read_text("utf-8")
    titles = [line for line in report.splitlines() if line.startswith("#")]
    assert titles == [
        "# Film genres from posters",
        "## By genre: the default recipe (altered), on the test split",
        "## With --precision, on the test split",
    ]
    assert "![" not in report
    assert "over 0.5, at least the first, by confidence: 2.35 a film." in report
    # Nothing else is another.
    others = {line for line in report.splitlines() if "The genres of a film are those" not in line}
    assert others <= set(whole.splitlines())


def test_one_output_has_no_curves_of_its_own(metrics: dict[str, Any]) -> None:
    metrics["heads"] = ["genres"]
    report = render_report(metrics, with_charts=True)
    assert "(outputs.png)" not in report
    assert report == EXPECTED.read_text("utf-8").replace("\n![Learning curves of the outputs](outputs.png)\n", "")


def test_embedding_alone_is_described(metrics: dict[str, Any]) -> None:
    metrics["outputs"] = {}
    lines = render_report(metrics, with_charts=False).splitlines()
    start = lines.index("## Besides the genres, on the test split")
    assert lines[start + 2].startswith("- **Similar posters**: of the 10 training posters")


def test_short_comparison(metrics: dict[str, Any]) -> None:
    table = compare_recipes(metrics)
    assert table.to_dict("list") == {
        "recipe": ["seed recipe (the article's, soft-F1)", "default recipe (altered)", "every genre for every film"],
        "macro-F1": [0.47, 0.46, 0.2],
        "micro-F1": pytest.approx([0.57, 0.56, 0.3]),
    }


@pytest.mark.parametrize(
    ("recipe", "words"),
    [("default", "default recipe"), ("seed_bce (altered)", "seed recipe with BCE (the article's) (altered)")],
)
def test_names_of_recipes(recipe: str, words: str) -> None:
    assert describe_recipe(recipe) == words
