"""The page: what was found in a run, arranged for the template."""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray

from tasks.dataset.task import Dataset
from tasks.drift.report import describe_drift, list_rows
from tasks.evaluation.report import compare_recipes, describe_recipe, list_decades, list_genres, tabulate_rivals
from tasks.evaluation.task import Evaluation
from tasks.inert import for_terminal
from tasks.model_folder import SVG_FOLDER, ModelFolder
from tasks.posters import ledger, segments
from tasks.report.posters import KINDS, choose_films, make_thumbnails
from tasks.settings import Settings

_NUM_CONFUSIONS = 15
_NUM_HOSTS = 10
_NUM_GENRES = 50

_CHARTS = {
    "precision_recall": "Precision and recall of each genre at every threshold, on the test split",
    "calibration": "Share of films of a genre, by its probability, on the test split",
    "thresholds": "F1 score of each genre by threshold, on the validation split",
    "history": "Macro-F1 on the validation split, by epoch",
    "outputs": "Learning curves of the outputs",
}


@dataclass(frozen=True)
class Report:
    """Everything the page shows but the verdict of the gate, which comes last.

    Attributes:
        content: Values of the template by name.
        seconds: Duration of each stage before the publication.
    """

    content: Mapping[str, Any]
    seconds: Mapping[str, float] = field(default_factory=dict)

    def render(self, manifest: Mapping[str, Any], champion_id: str | None, settings: Settings) -> str:
        """Returns the page.

        Args:
            manifest: The model's manifest; the list of its files is not needed.
            champion_id: Id of the champion after the publication; None: there is none.
            settings: Settings of the run.
        """
        environment = Environment(
            loader=PackageLoader("tasks.report", "."),
            autoescape=True,
            finalize=_make_inert,
            undefined=StrictUndefined,
            trim_blocks=True,
        )
        return environment.get_template("page.html.jinja").render(
            manifest=manifest,
            champion_id=champion_id,
            settings=json.dumps(settings.model_dump(mode="json"), indent=2, ensure_ascii=False),
            packages=manifest["inputs"]["packages"],
            seconds=self.seconds,
            **self.content,
        )


def collect_report(
    evaluation: Evaluation, dataset: Dataset, *, catalog_path: Path, posters_dir: Path, with_posters: bool
) -> Report:
    """Collects what the page shows.

    Args:
        evaluation: The evaluation.
        dataset: Data set of the model.
        catalog_path: The catalog's `films.parquet`.
        posters_dir: Folder of the poster parts.
        with_posters: Whether thumbnails of posters are in it, `evaluation.thumbnails`.
    """
    metrics, model = evaluation.metrics, ModelFolder(evaluation.folder)
    genres = metrics["vocabulary"]
    # Of the test films alone: a catalog may have millions.
    titles = pq.read_table(
        dataset.films_path, columns=["imdb_id", "title"], filters=[("split", "==", "test")]
    ).to_pandas()
    predictions = pq.read_table(model.predictions_path).to_pandas().merge(titles, on="imdb_id")
    films = choose_films(predictions, genres)
    errors = [
        {**error, "given": kind == "given"}
        for kind in ("not_given", "given")
        for error in metrics.get("label_errors", {}).get(kind, [])
    ]
    catalog = pq.read_table(catalog_path, columns=["imdb_id", "genres"])
    genres_of_film = _take_genres(catalog, {error["imdb_id"] for error in errors})
    shown = {film.imdb_id for film in films} | genres_of_film.keys()
    targets, predicted = (np.stack(predictions[name].tolist()) == 1 for name in ("targets", "predicted"))
    return Report(
        {
            "metrics": metrics,
            "recipe": describe_recipe(metrics["recipe"]),
            "comparison": _list_rows(compare_recipes(metrics, in_full=True)),
            "rivals": _compare_with_champion(metrics),
            "rival_rows": _list_rows(tabulate_rivals(metrics["rivals"])) if metrics.get("rivals") else [],
            "kinds": KINDS,
            "films": films,
            "label_errors": [{**error, "genres": genres_of_film[error["imdb_id"]]} for error in errors],
            "thumbnails": make_thumbnails(posters_dir, shown) if with_posters else {},
            "genres": _list_rows(list_genres(metrics["model"])),
            "decades": _list_rows(list_decades(metrics["decades"])),
            "confusions": find_confusions(targets, predicted, genres),
            "frequencies": _count_genres(catalog, genres),
            "drift": _describe_drift(metrics),
            "failures": count_failures(
                ledger.find_current(ledger.read_rows(segments.list_parts(posters_dir))), catalog["imdb_id"]
            ),
            "charts": {name: (title, chart) for name, title in _CHARTS.items() if (chart := _read_chart(model, name))},
        }
    )


def _compare_with_champion(metrics: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns the comparison with the champion before in numbers; None if there was none.

    `difference` is None where no genre or no film of both is left to compare.
    """
    if not metrics.get("rivals"):
        return None
    champion = metrics["rivals"][0]
    if champion["noise"] is None:
        return {**champion, "difference": None, "is_noise": True}
    difference = champion["candidate_macro_f1"] - champion["rival_macro_f1"]
    return {**champion, "difference": difference, "is_noise": abs(difference) <= champion["noise"]}


def _describe_drift(metrics: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns the comparison with the champion's films; None if there is none."""
    drift = metrics.get("drift")
    if not drift or drift["against"] is None:
        return None
    return {"summary": describe_drift(drift), "warnings": drift["warnings"], "rows": list_rows(drift)}


def _take_genres(catalog: pa.Table, imdb_ids: Collection[int]) -> dict[int, list[str]]:
    """Returns all genres of some films by imdbId, those that are not learned, too."""
    films = catalog.filter(pc.is_in(catalog["imdb_id"], pa.array(imdb_ids, pa.int64())))
    return dict(zip(films["imdb_id"].to_pylist(), films["genres"].to_pylist(), strict=True))


def _count_genres(catalog: pa.Table, learned: Sequence[str]) -> list[dict[str, Any]]:
    """Returns for the most frequent genres their number of films, and whether they are learned; most films first."""
    counts = pc.value_counts(pc.list_flatten(catalog["genres"])).to_pylist()
    counts.sort(key=lambda row: (-row["counts"], row["values"]))
    return [
        {"name": row["values"], "films": row["counts"], "is_learned": row["values"] in learned}
        for row in counts[:_NUM_GENRES]
    ]


def find_confusions(
    targets: NDArray[np.bool_], predicted: NDArray[np.bool_], genres: Sequence[str]
) -> list[dict[str, Any]]:
    """Returns which genres are taken for which: of the films of a genre that were missed, those wrongly called another.

    Args:
        targets: Whether a film has a genre, shape `(num_films, num_genres)`.
        predicted: Whether it is predicted, same shape.
        genres: Names of the genres, in the order of the columns.

    Returns:
        Rows of `genre`, `taken_for`, `num_films` and `share`, of the missed films of the genre; the most films first.
    """
    missed, wrong = targets & ~predicted, predicted & ~targets
    counts = missed.T.astype(int) @ wrong.astype(int)
    num_missed = missed.sum(axis=0)
    order = np.argsort(-counts, axis=None, kind="stable")[:_NUM_CONFUSIONS]
    return [
        {
            "genre": genres[row],
            "taken_for": genres[column],
            "num_films": int(counts[row, column]),
            "share": float(counts[row, column] / num_missed[row]),
        }
        for row, column in zip(*np.unravel_index(order, counts.shape), strict=True)
        if counts[row, column]
    ]


def count_failures(rows: pa.Table, imdb_ids: pa.ChunkedArray) -> list[dict[str, Any]]:
    """Returns the films without a poster by host and reason, the most first, and those of all other hosts together.

    Args:
        rows: Rows of the ledger, one a film.
        imdb_ids: The films of the catalog; the ledger has former ones, too.
    """
    rows = rows.filter(pc.equal(rows["status"], segments.FAILED))
    failed = rows.filter(pc.is_in(rows["imdb_id"], imdb_ids)).select(["url", "reason"]).to_pandas()
    if failed.empty:
        return []
    hosts = failed["url"].map(_find_host)
    hosts = hosts.where(hosts.isin(hosts.value_counts().index[:_NUM_HOSTS]), "other hosts")
    counts = failed.groupby([hosts.rename("host"), "reason"]).size().sort_values(ascending=False, kind="stable")
    return _list_rows(counts.rename("films").reset_index())


def _find_host(url: str) -> str | None:
    """Returns the host of an address without anything else of it; None if it has none."""
    try:
        return urlsplit(url).hostname
    except ValueError:  # a bracket that is not closed
        return None


def _list_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _read_chart(model: ModelFolder, name: str) -> Markup | None:
    """Returns a chart as part of a page: its colours follow the page's, its ids are its own. None: it was not drawn."""
    path = model.path / SVG_FOLDER / f"{name}.svg"
    if not path.exists():
        return None
    svg = path.read_text("utf-8")
    svg = svg[svg.index("<svg") :].replace("#000000", "currentColor")
    # Within tags alone: a text may be anything.
    svg = re.sub(r"<[^>]+>", lambda tag: re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", tag[0]), svg)
    head, bracket, rest = svg.partition(">")
    # The size is the page's to choose.
    return Markup(re.sub(r' (width|height)="[^"]*"', "", head) + bracket + rest)


def _make_inert(value: object) -> object:
    # Titles and genres are other people's; markup is the page's own.
    return for_terminal(value) if isinstance(value, str) and not isinstance(value, Markup) else value
