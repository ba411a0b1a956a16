"""The charts of the report."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from tasks.evaluation.report import describe_recipe, list_genres

# The two colours, from Okabe and Ito (2008), are told apart by everyone.
_BLUE, _ORANGE = "#0072B2", "#E69F00"


def draw_charts(folder: Path, metrics: Mapping[str, Any], histories: Mapping[str, pd.DataFrame]) -> None:
    """Draws `genres.png` and `history.png` into `folder`.

    Args:
        folder: exists.
        metrics: as `tasks.evaluation.task` writes them.
        histories: by recipe, a row an epoch, with `epoch` and `val_macro_f1`.
    """
    _draw_genres(metrics).savefig(folder / "genres.png", dpi=120)
    _draw_history(histories).savefig(folder / "history.png", dpi=120)


def _draw_genres(metrics: Mapping[str, Any]) -> Figure:
    table = list_genres(metrics["model"]).iloc[::-1]
    everything = metrics["baselines"]["predict_everything"]["genres"]
    figure = Figure(figsize=(7, 1 + 0.32 * len(table)), layout="constrained")
    axes = figure.subplots()
    axes.barh(table["genre"], table["F1"], color=_BLUE, label=describe_recipe(metrics["recipe"]))
    axes.plot(
        [everything[genre]["f1"] for genre in table["genre"]],
        table["genre"],
        "D",
        color=_ORANGE,
        label=describe_recipe("predict_everything"),
    )
    axes.set(xlabel="F1 score on the test split", xlim=(0, 1))
    axes.legend(loc="lower right")
    return figure


def _draw_history(histories: Mapping[str, pd.DataFrame]) -> Figure:
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.subplots()
    for recipe, history in histories.items():
        axes.plot(history["epoch"], history["val_macro_f1"], marker=".", label=describe_recipe(recipe))
    axes.set(xlabel="epoch", ylabel="macro-F1 on the validation split", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend()
    return figure
