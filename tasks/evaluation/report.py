"""The report of a run, in Markdown."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

_NAMES = {
    "default": "default recipe",
    "seed": "seed recipe (the article's, soft-F1)",
    "seed_bce": "seed recipe with BCE (the article's)",
    "predict_everything": "every genre for every film",
}


def describe_recipe(recipe: str) -> str:
    """Returns a recipe's name in words; that of an altered one keeps its mark."""
    name, _, mark = recipe.partition(" ")
    return f"{_NAMES[name]} {mark}".strip()


def render_report(metrics: Mapping[str, Any], *, with_charts: bool) -> str:
    """Returns the report, with or without links to the charts beside it.

    Args:
        metrics: as `tasks.evaluation.task` writes them.
        with_charts: whether `tasks.evaluation.charts` draws them beside it.
    """
    films, model = metrics["num_films"], metrics["model"]
    parts = [
        "# Film genres from posters\n",
        f"Trained on {films['train']:,} films, chosen on {films['validation']:,}, measured once on {films['test']:,} "
        f"others. A genre is predicted where its confidence is over {metrics['threshold']}.\n",
        compare_recipes(metrics).to_markdown(index=False, floatfmt=".3f"),
        f"\n## By genre: the {describe_recipe(metrics['recipe'])}, on the test split\n",
        list_genres(model).to_markdown(index=False, floatfmt=".3f"),
    ]
    if "champion" in metrics:
        parts.insert(3, describe_champion(metrics["champion"]))
    if with_charts:
        parts += ["\n![F1 score by genre](genres.png)\n", "![Validation macro-F1 by epoch](history.png)"]
    return "\n".join(parts) + "\n"


def describe_champion(comparison: Mapping[str, Any]) -> str:
    """Returns how the model compares with the champion it was held against, in a sentence."""
    if not comparison["genres"]:
        return f"\nThere is nothing to compare the champion, {comparison['id']}, on."
    return (
        f"\nAgainst the champion, {comparison['id']}, on {comparison['num_films']:,} test films that neither has "
        f"learned from and the {len(comparison['genres'])} genres that both know and enough of these have: macro-F1 "
        f"{comparison['candidate_macro_f1']:.3f} against {comparison['champion_macro_f1']:.3f}."
    )


def compare_recipes(metrics: Mapping[str, Any]) -> pd.DataFrame:
    """Returns a row for the model and for each baseline, best macro-F1 first."""
    scored = {metrics["recipe"]: metrics["model"], **metrics["baselines"]}
    rows = [
        {"recipe": describe_recipe(name), "macro-F1": scores["macro_f1"], "micro-F1": scores["micro_f1"]}
        for name, scores in scored.items()
    ]
    return pd.DataFrame(rows).sort_values("macro-F1", ascending=False, kind="stable", ignore_index=True)


def list_genres(scores: Mapping[str, Any]) -> pd.DataFrame:
    """Returns a row for each genre, best F1 score first."""
    rows = [{"genre": name, **of_genre} for name, of_genre in scores["genres"].items()]
    table = pd.DataFrame(rows).sort_values("f1", ascending=False, kind="stable")
    return table.rename(columns={"f1": "F1", "support": "films"})
