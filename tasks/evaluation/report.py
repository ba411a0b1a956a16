"""The report of a run: a Markdown page with two charts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

# The two colours, from Okabe and Ito (2008), are told apart by everyone.
_BLUE, _ORANGE = "#0072B2", "#E69F00"

_NAMES = {
    "default": "default recipe",
    "seed": "seed recipe (the article's, soft-F1)",
    "seed_bce": "seed recipe with BCE (the article's)",
    "predict_everything": "every genre for every film",
}


def _describe(recipe: str) -> str:
    """Returns a recipe's name in words; that of an altered one keeps its mark."""
    name, _, mark = recipe.partition(" ")
    return f"{_NAMES[name]} {mark}".strip()


def write_report(folder: Path, metrics: Mapping[str, Any], histories: Mapping[str, pd.DataFrame]) -> None:
    """Writes `report.md` and the charts it shows, `genres.png` and `history.png`, into `folder`.

    Args:
        folder: exists.
        metrics: as `tasks.evaluation.task` writes them.
        histories: by recipe, a row an epoch, with `epoch` and `val_macro_f1`.
    """
    (folder / "report.md").write_text(render_report(metrics, with_charts=True), "utf-8")
    _draw_genres(metrics).savefig(folder / "genres.png", dpi=120)
    _draw_history(histories).savefig(folder / "history.png", dpi=120)


def render_report(metrics: Mapping[str, Any], *, with_charts: bool) -> str:
    """Returns the report as Markdown, with or without links to the charts beside it."""
    films, model = metrics["num_films"], metrics["model"]
    parts = [
        "# Film genres from posters\n",
        f"Trained on {films['train']:,} films, chosen on {films['validation']:,}, measured once on {films['test']:,} "
        f"others. A genre is predicted where its confidence is over {metrics['threshold']}.\n",
        compare_recipes(metrics).to_markdown(index=False, floatfmt=".3f"),
        f"\n## By genre: the {_describe(metrics['recipe'])}, on the test split\n",
        list_genres(model).to_markdown(index=False, floatfmt=".3f"),
    ]
    if with_charts:
        parts += ["\n![F1 score by genre](genres.png)\n", "![Validation macro-F1 by epoch](history.png)"]
    return "\n".join(parts) + "\n"


def compare_recipes(metrics: Mapping[str, Any]) -> pd.DataFrame:
    """Returns a row for the model and for each baseline, best macro-F1 first."""
    scored = {metrics["recipe"]: metrics["model"], **metrics["baselines"]}
    rows = [
        {"recipe": _describe(name), "macro-F1": scores["macro_f1"], "micro-F1": scores["micro_f1"]}
        for name, scores in scored.items()
    ]
    return pd.DataFrame(rows).sort_values("macro-F1", ascending=False, kind="stable")


def list_genres(scores: Mapping[str, Any]) -> pd.DataFrame:
    """Returns a row for each genre, best F1 score first."""
    rows = [{"genre": name, **of_genre} for name, of_genre in scores["genres"].items()]
    table = pd.DataFrame(rows).sort_values("f1", ascending=False, kind="stable")
    return table.rename(columns={"f1": "F1", "support": "films"})


def _draw_genres(metrics: Mapping[str, Any]) -> Figure:
    table = list_genres(metrics["model"]).iloc[::-1]
    everything = metrics["baselines"]["predict_everything"]["genres"]
    figure = Figure(figsize=(7, 1 + 0.32 * len(table)), layout="constrained")
    axes = figure.subplots()
    axes.barh(table["genre"], table["F1"], color=_BLUE, label=_describe(metrics["recipe"]))
    axes.plot(
        [everything[genre]["f1"] for genre in table["genre"]],
        table["genre"],
        "D",
        color=_ORANGE,
        label=_describe("predict_everything"),
    )
    axes.set(xlabel="F1 score on the test split", xlim=(0, 1))
    axes.legend(loc="lower right")
    return figure


def _draw_history(histories: Mapping[str, pd.DataFrame]) -> Figure:
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.subplots()
    for recipe, history in histories.items():
        axes.plot(history["epoch"], history["val_macro_f1"], marker=".", label=_describe(recipe))
    axes.set(xlabel="epoch", ylabel="macro-F1 on the validation split", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()
    return figure
