"""The report of a run, in Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from tasks.drift.report import render_drift
from tasks.evaluation.verdicts import describe_verdicts
from tasks.inert import for_markdown
from tasks.outputs.output import find_output_class

_NAMES = {
    "default": "default recipe",
    "fast": "fast recipe",
    "best": "best recipe",
    "seed": "seed recipe (the article's, soft-F1)",
    "seed_bce": "seed recipe with BCE (the article's)",
    "predict_everything": "every genre for every film",
}

_ABOUT_SCORES = """Macro-F1 is pooled over the whole test split; its interval, and that of the model's improvement, are
from 1,000 bootstrap resamples of the test films: the variation between test splits. The variation between trainings is
measured by `poster-genres compare`. "Mean over batches" is the article's metric, the mean of macro-F1 over batches of
256 films, for comparison with its figures (0.33 with soft-F1, 0.18 with BCE, on its own films)."""

_ABOUT_GENRES = """The threshold is on the calibrated probability: it was found on the validation split and folded into
the model, so that a genre is predicted where its confidence is over 0.5. Calibration error and Brier score show how
well calibrated the probabilities are; the raw ones of a head trained with soft-F1 are not."""

_ABOUT_OPERATING_POINTS = """The thresholds are in `operating_points.json`: for each genre the lowest one from which on
the calibrated probabilities of the validation films have this mean, of ten films or more. Recall counts the films of
all genres."""

_ABOUT_LABEL_ERRORS = """Labels that held-out predictions contradict most: wrong labels, wrong posters, or posters that
mislead. `label_errors.csv` has more of them."""

_ABOUT_RIVALS = """The present champion first, then earlier ones, each on the test films that neither it nor this model
has learned from, and on the genres that both have and enough of these films have. An equal model is worse than one of
them by more than the noise in 5% of the draws of test films (paired bootstrap)."""

_NUM_ERRORS = 10  # likely label errors of each kind

# With 20 films of 2.5 genres each the standard error of micro-F1 is some 0.07.
_MIN_FILMS_OF_DECADE = 20

_CHARTS = {
    "genres": "F1 score by genre",
    "history": "Validation macro-F1 by epoch",
    "thresholds": "F1 score on the validation split by threshold",
    "precision_recall": "Precision by recall of each genre",
    "calibration": "Share of films by probability",
}


def describe_recipe(recipe: str) -> str:
    """Returns a recipe's name in words; an altered recipe keeps its mark."""
    name, _, mark = recipe.partition(" ")
    return f"{_NAMES[name]} {mark}".strip()


def render_report(metrics: Mapping[str, Any], *, with_charts: bool) -> str:
    """Returns the report, with or without links to the charts beside it.

    Args:
        metrics: Metrics as `tasks.evaluation.task` writes them.
        with_charts: Whether `tasks.evaluation.charts` draws them beside it.
    """
    films, model = metrics["num_films"], metrics["model"]
    parts = [
        "# Film genres from posters\n",
        f"Trained on {films['train']:,} films, chosen on {films['validation']:,}, tested on {films['test']:,} "
        f"others. {_describe_rule(metrics)}\n",
        render_table(compare_recipes(metrics, in_full=True)),
        f"\n{_ABOUT_SCORES}\n",
        f"\n## By genre: the {describe_recipe(metrics['recipe'])}, on the test split\n",
        render_table(list_genres(model)),
        f"\n{_ABOUT_GENRES}",
        describe_decades(metrics["decades"]),
        describe_operating_points(metrics["operating_points"]),
    ]
    if rivals := metrics.get("rivals"):
        parts.insert(4, describe_rivals(rivals))
    if "verdicts" in metrics:
        parts.insert(4, describe_verdicts(metrics["verdicts"]))
    parts += [describe_outputs(metrics), describe_data(metrics)]
    if "drift" in metrics:
        parts.append(render_drift(metrics["drift"]))
    if with_charts:
        charts = {**_CHARTS, "outputs": "Learning curves of the outputs"} if len(metrics["heads"]) > 1 else _CHARTS
        parts += [f"\n![{text}]({name}.png)" for name, text in charts.items()]
    return "\n".join(parts) + "\n"


def describe_rivals(rivals: Sequence[Mapping[str, Any]]) -> str:
    """Returns the comparison with present and earlier champions: a section of the report."""
    table = render_table(tabulate_rivals(rivals))
    champion = rivals[0]
    lines = [f"\n## Against the champions\n\n{_ABOUT_RIVALS}\n\n{table}"]
    changed = {
        f"Genres of {champion['id']} that this model does not have": champion["lost_genres"],
        f"Genres that {champion['id']} does not have": champion["new_genres"],
    }
    lines += [f"\n{title}: {', '.join(map(for_markdown, genres))}." for title, genres in changed.items() if genres]
    for old, new in champion["renamed_genres"].items():
        lines.append(f"\n{for_markdown(old)} seems to be {for_markdown(new)} now.")
    return "\n".join(lines)


def tabulate_rivals(rivals: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Returns a row for each present or earlier champion: what was compared, both scores, and the noise."""
    return pd.DataFrame(
        {
            "model": rival["id"],
            "test films": rival["num_films"],
            "genres": len(rival["genres"]),
            "its macro-F1": rival["rival_macro_f1"],
            "of this model": rival["candidate_macro_f1"],
            "noise of the difference": rival["noise"],
        }
        for rival in rivals
    )


def _describe_rule(metrics: Mapping[str, Any]) -> str:
    rule, ranking = metrics["rule"], metrics["ranking"]
    limit = f" and at most {rule['top_k']} of them" if rule["top_k"] else ""
    by = {"calibrated": "calibrated probability", "confidences": "confidence"}
    first = ranking["first_genre_right"]
    return (
        f"The genres of a film are those whose confidence is over {metrics['threshold']}, at least the first{limit}, "
        f"by {by[rule['order']]}: {metrics['model']['labels_per_film']:.2f} a film. The first one is right for "
        f"{first['calibrated']:.1%} of the films by calibrated probability, for {first['confidences']:.1%} by "
        "confidence. All figures are of these decisions, which the exported model makes."
    )


def describe_operating_points(measured: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns what the thresholds for a wanted precision give on the test split: a section of the report."""
    rows = [
        {
            "wanted precision": f"{wanted} or more",
            "genres that reach it": figures["num_genres"],
            "precision": "none" if figures["precision"] is None else f"{figures['precision']:.3f}",
            "recall": figures["recall"],
            "films with a genre": f"{figures['films_with_genres']:.1%}",
        }
        for wanted, figures in measured.items()
    ]
    table = render_table(pd.DataFrame(rows))
    return f"\n## With --precision, on the test split\n\n{table}\n\n{_ABOUT_OPERATING_POINTS}"


def describe_outputs(metrics: Mapping[str, Any]) -> str:
    """Returns the scores of the outputs besides the genres and of the embedding: a section of the report."""
    lines = [find_output_class(name).describe(scores) for name, scores in metrics["outputs"].items()]
    embedding = metrics["embedding"]
    if precision := embedding["precision"]:
        lines.append(
            f"- **Similar posters**: of the {embedding['num_nearest']} training posters nearest to a test poster "
            f"{precision['model']:.1%} share a genre with it (mean of {embedding['num_queries']:,}); by the backbone's "
            f"features {precision['features']:.1%}, of random posters {precision['chance']:.1%}."
        )
    return "\n".join(["\n## Besides the genres, on the test split\n", *lines]) if lines else ""


def describe_data(metrics: Mapping[str, Any]) -> str:
    """Returns dropped rows, doubtful films and likely label errors: a section of the report."""
    lines = []
    if catalog := metrics.get("catalog"):
        titles = {
            "corrections": "Corrections of the catalog's genres",
            "dropped": "Rows dropped",
            "doubtful": "Films with doubtful genres",
        }
        for kind, title in titles.items():
            if kind in catalog:
                counts = catalog[kind].items()
                found = ", ".join(f"{for_markdown(what)}: {count:,}" for what, count in counts if count)
                lines.append(f"- {title}: {found or 'none'}.")
    if errors := metrics.get("label_errors"):
        lines.append(f"\n{_ABOUT_LABEL_ERRORS}")
        titles = {"not_given": "Probable, and not in the catalog", "given": "In the catalog, and improbable"}
        lines += [f"\n{titles[kind]}:\n\n{_list_errors(errors[kind])}" for kind in titles if errors[kind]]
    return "\n".join(["\n## The data\n", *lines]) if lines else ""


def _list_errors(errors: Sequence[Mapping[str, Any]]) -> str:
    return render_table(pd.DataFrame(errors[:_NUM_ERRORS]).rename(columns={"imdb_id": "imdbId"}))


def render_table(table: pd.DataFrame) -> str:
    """Returns a table as Markdown; texts in it, such as titles and genres, are no markup."""
    inert = table.map(lambda value: for_markdown(value) if isinstance(value, str) else value)
    return inert.to_markdown(index=False, floatfmt=".3f")


def compare_recipes(metrics: Mapping[str, Any], *, in_full: bool = False) -> pd.DataFrame:
    """Returns a row for the model and for each baseline, best macro-F1 first; in full, with intervals and more."""
    scored = {metrics["recipe"]: metrics["model"], **metrics["baselines"]}
    rows = []
    for name, scores in scored.items():
        row = {"recipe": describe_recipe(name), "macro-F1": scores["macro_f1"]}
        if in_full:
            row["95% interval"] = _describe_interval(scores["macro_f1_interval"])
            improvement = scores.get("improvement_interval")
            row["the model improves by"] = _describe_interval(improvement) if improvement else ""
        row["micro-F1"] = scores["micro_f1"]
        if in_full:
            row["mean over batches"] = scores["mean_batch_macro_f1"]
        rows.append(row)
    return pd.DataFrame(rows).sort_values("macro-F1", ascending=False, kind="stable", ignore_index=True)


def list_genres(scores: Mapping[str, Any]) -> pd.DataFrame:
    """Returns a row for each genre, best F1 score first."""
    rows = [{"genre": name, **genre_scores} for name, genre_scores in scores["genres"].items()]
    table = pd.DataFrame(rows).sort_values("f1", ascending=False, kind="stable", ignore_index=True)
    return table.rename(
        columns={
            "f1": "F1",
            "support": "films",
            "raw_calibration_error": "calibration error, raw",
            "calibration_error": "calibration error",
            "brier": "Brier score",
        }
    )


def list_decades(decades: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Returns a row for each decade that has enough films for its figure to say something, the earliest first."""
    rows = [
        {"decade": decade, "films": scores["num_films"], "micro-F1": scores["micro_f1"]}
        for decade, scores in decades.items()
        if scores["num_films"] >= _MIN_FILMS_OF_DECADE
    ]
    return pd.DataFrame(rows, columns=["decade", "films", "micro-F1"])


def describe_decades(decades: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns micro-F1 by decade: a section of the report; "" if no decade has enough films."""
    table = list_decades(decades)
    return f"\n## By decade\n\n{render_table(table)}" if len(table) else ""


def _describe_interval(ends: Sequence[float]) -> str:
    return f"{ends[0]:.3f} to {ends[1]:.3f}"
