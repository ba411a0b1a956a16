"""The report of figures that are written here, word for word."""

from pathlib import Path
from typing import Any

import pytest
from metrics import make_metrics

from tasks.evaluation.report import compare_recipes, describe_recipe, render_report

EXPECTED = Path(__file__).with_name("expected_report.md")


@pytest.fixture
def metrics() -> dict[str, Any]:
    return make_metrics()


def test_report_is_word_for_word_as_expected(metrics: dict[str, Any]) -> None:
    assert render_report(metrics, with_charts=True) == EXPECTED.read_text("utf-8")


def test_parts_that_were_not_made_are_left_out(metrics: dict[str, Any]) -> None:
    for name in ("verdicts", "catalog", "drift", "label_errors", "rivals"):
        del metrics[name]
    metrics["decades"] = {"1980s": {"num_films": 19, "micro_f1": 0.1}}
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
