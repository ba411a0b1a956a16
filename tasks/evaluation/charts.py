"""The charts of the reports: of each a PNG for report.md, and an SVG for report.html."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.calibration import calibration_curve
from sklearn.metrics import precision_recall_curve

from tasks.evaluation.report import describe_recipe, list_genres
from tasks.model_folder import SVG_FOLDER
from tasks.outputs.output import Output
from tasks.training.thresholds import trace_f1

# The two colours, from Okabe and Ito (2008), are distinct for everyone.
_BLUE, _ORANGE = "#0072B2", "#E69F00"

# Names of genres are the catalog's: a "$" in one is no formula.
matplotlib.rcParams["text.parse_math"] = False

_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))

_COLUMNS = 4  # of small charts, one for each genre


def draw_charts(folder: Path, metrics: Mapping[str, Any], histories: Mapping[str, pd.DataFrame]) -> None:
    """Draws `genres` and `history` into `folder`.

    Args:
        folder: Folder that exists.
        metrics: Metrics as `tasks.evaluation.task` writes them.
        histories: Histories by recipe: a row an epoch, with `epoch` and `val_macro_f1`.
    """
    _save(_draw_genres(metrics), folder, "genres", dpi=120)
    _save(_draw_history(histories), folder, "history", dpi=120)


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
    axes.legend(loc="lower right", frameon=False)
    return figure


def _draw_history(histories: Mapping[str, pd.DataFrame]) -> Figure:
    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axes = figure.subplots()
    for recipe, history in histories.items():
        axes.plot(history["epoch"], history["val_macro_f1"], marker=".", label=describe_recipe(recipe))
    axes.set(xlabel="epoch", ylabel="macro-F1 at a raw 0.5, validation split", ylim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure


def draw_outputs(folder: Path, history: pd.DataFrame, outputs: Sequence[Output]) -> None:
    """Draws `outputs` into `folder`: the learning curve of each output of the head, of both splits.

    Args:
        folder: Folder that exists.
        history: A row an epoch, as `tasks.training.fitting` returns it.
        outputs: Outputs of the head.
    """
    figure = Figure(figsize=(1 + 3 * len(outputs), 3), layout="constrained")
    charts = figure.subplots(1, len(outputs), squeeze=False).ravel()
    for axes, output in zip(charts, outputs, strict=True):
        metric, title = output.curve
        axes.plot(history["epoch"], history[metric], color=_ORANGE, label="training split, with dropout")
        axes.plot(history["epoch"], history[f"val_{metric}"], color=_BLUE, label="validation split")
        axes.set(title=title, xlabel="epoch")
        axes.grid(alpha=0.3)
    charts[0].legend(fontsize=8, frameon=False)
    _save(figure, folder, "outputs", dpi=100)


def draw_thresholds(
    folder: Path,
    genre_targets: NDArray[np.uint8],
    probabilities: NDArray[np.float32],
    thresholds: Mapping[str, float],
) -> None:
    """Draws `thresholds` into `folder`: the F1 score of each genre by threshold, and the chosen threshold.

    Args:
        folder: Folder that exists.
        genre_targets: Targets of the validation split, 0 or 1, shape `(num_films, num_genres)`.
        probabilities: Calibrated probabilities, same shape.
        thresholds: Thresholds on the probabilities by genre, in the order of the columns.
    """
    figure, charts = _lay_out(list(thresholds), "threshold on the calibrated probability", "F1 score, validation")
    for column, (threshold, axes) in enumerate(zip(thresholds.values(), charts, strict=True)):
        if genre_targets[:, column].any():
            axes.plot(*trace_f1(genre_targets[:, column], probabilities[:, column]), color=_BLUE)
        axes.axvline(threshold, color=_ORANGE, label="folded into 0.5")
    charts[0].legend(fontsize=8, frameon=False)
    _save(figure, folder, "thresholds", dpi=100)


def draw_calibration(
    folder: Path,
    genre_targets: NDArray[np.uint8],
    probabilities: Mapping[str, NDArray[np.float32]],
    genres: Sequence[str],
) -> None:
    """Draws `calibration` into `folder`: the share of films of a genre, by its probability, in tenths.

    Args:
        folder: Folder that exists.
        genre_targets: Targets, 0 or 1, shape `(num_films, num_genres)`.
        probabilities: Probabilities by name of the curve, same shape each.
        genres: Names of the genres, in the order of the columns.
    """
    figure, charts = _lay_out(genres, "probability", "share of films of the genre")
    for column, axes in enumerate(charts):
        axes.plot([0, 1], [0, 1], ":", color="grey")
        for (name, values), color in zip(probabilities.items(), (_ORANGE, _BLUE), strict=False):
            shares, means = calibration_curve(genre_targets[:, column], values[:, column], pos_label=1, n_bins=10)
            axes.plot(means, shares, marker=".", color=color, label=name)
    charts[0].legend(fontsize=8, frameon=False)
    _save(figure, folder, "calibration", dpi=100)


def draw_precision_recall(
    folder: Path, genre_targets: NDArray[np.uint8], probabilities: NDArray[np.float32], genres: Sequence[str]
) -> None:
    """Draws `precision_recall` into `folder`: precision by recall of each genre, beside its share of the films.

    Args:
        folder: Folder that exists.
        genre_targets: Targets, 0 or 1, shape `(num_films, num_genres)`.
        probabilities: Calibrated probabilities, same shape.
        genres: Names of the genres, in the order of the columns.
    """
    figure, charts = _lay_out(genres, "recall, test split", "precision")
    for column, axes in enumerate(charts):
        axes.axhline(genre_targets[:, column].mean(), color=_ORANGE, label="every film predicted")
        if genre_targets[:, column].any():
            precision, recall, _ = precision_recall_curve(genre_targets[:, column], probabilities[:, column])
            axes.plot(recall, precision, color=_BLUE)
    charts[0].legend(fontsize=8, frameon=False)
    _save(figure, folder, "precision_recall", dpi=100)


def _save(figure: Figure, folder: Path, name: str, dpi: int) -> None:
    figure.savefig(folder / f"{name}.png", dpi=dpi)
    (folder / SVG_FOLDER).mkdir(exist_ok=True)
    # Texts stay texts; without metadata, such as a date, and with a fixed salt equal charts are equal files.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(folder / SVG_FOLDER / f"{name}.svg", transparent=True, metadata=_NO_METADATA)


def _lay_out(genres: Sequence[str], x: str, y: str) -> tuple[Figure, list[Axes]]:
    """Returns a figure with a small chart for each genre, both axes from 0 to 1."""
    num_rows = -(-len(genres) // _COLUMNS)
    figure = Figure(figsize=(9, 0.5 + 1.9 * num_rows), layout="constrained")
    charts = figure.subplots(num_rows, _COLUMNS, sharex=True, sharey=True, squeeze=False).ravel().tolist()
    for genre, axes in zip(genres, charts, strict=False):
        axes.set(title=genre, xlim=(0, 1), ylim=(0, 1))
    for axes in charts[len(genres) :]:
        axes.remove()
    figure.supxlabel(x)
    figure.supylabel(y)
    return figure, charts[: len(genres)]
