"""The gate: whether a candidate may become champion, and the reasons."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tasks.posters.task import PosterCounts
from tasks.settings import RegistrySettings

# The pipeline's features are stored as float16 (3 to 4 digits); the model computes them in float32.
_MAX_EXPORT_DIFFERENCE = 0.01


@dataclass(frozen=True)
class Check:
    """One check: whether it was passed, and the finding."""

    name: str
    passed: bool
    found: str


@dataclass(frozen=True)
class Verdict:
    """All checks of a candidate. It may become champion if every one is passed."""

    checks: tuple[Check, ...]

    @property
    def allowed(self) -> bool:
        return all(check.passed for check in self.checks)

    @property
    def reasons(self) -> str:
        """The findings in one line: of the failed checks if any failed, otherwise of all."""
        chosen = self.checks if self.allowed else [check for check in self.checks if not check.passed]
        return "; ".join(f"{check.name}: {check.found}" for check in chosen)

    def as_dict(self) -> dict[str, Any]:
        """Returns it for a model's manifest."""
        return {"allowed": self.allowed, "checks": [vars(check) for check in self.checks]}


def judge(
    metrics: Mapping[str, Any],
    counts: PosterCounts,
    dataset_films_path: Path,
    export_difference: float,
    settings: RegistrySettings,
    format_mismatch: str | None = None,
) -> Verdict:
    """Judges a candidate.

    Args:
        metrics: Metrics of the evaluation, with the comparison under `champion`.
        counts: Counts of the posters of this run.
        dataset_films_path: Path of the data set's `films.parquet`.
        export_difference: Largest difference between the exported model's predictions and the pipeline's: of
            confidences, or of scores in points.
        settings: The bounds.
        format_mismatch: Reason why the present champion could not be compared with; None if it was, or if there is
            none.
    """
    return Verdict(
        (
            _compare_with_champion(metrics.get("champion"), settings.max_macro_f1_drop, format_mismatch),
            _find_collapsed_genres(metrics["model"]["genres"], settings.min_films_to_judge_genre),
            _check_downloads(counts, settings.min_success_rate),
            _check_leakage(dataset_films_path),
            Check(
                "exported predictions",
                export_difference <= _MAX_EXPORT_DIFFERENCE,
                f"differ from the pipeline's by {export_difference:.2g} (at most {_MAX_EXPORT_DIFFERENCE:g})",
            ),
        )
    )


def _compare_with_champion(comparison: Mapping[str, Any] | None, max_drop: float, format_mismatch: str | None) -> Check:
    name = "macro-F1 against the champion's"
    if format_mismatch:
        return Check(name, False, f"not compared, {format_mismatch}: promote the candidate by hand if it is better")
    if comparison is None:
        return Check(name, True, "there is no champion yet")
    if not comparison["genres"]:
        return Check(
            name,
            False,
            f"nothing to compare with {comparison['id']}: of {comparison['num_films']} test films that it has not "
            "learned from, no genre of both models has enough",
        )
    lost = f", without {', '.join(comparison['lost_genres'])}" if comparison["lost_genres"] else ""
    candidate, champion = comparison["candidate_macro_f1"], comparison["champion_macro_f1"]
    return Check(
        name,
        candidate >= champion - max_drop,
        f"{candidate:.3f} against {champion:.3f} of {comparison['id']}, on {comparison['num_films']:,} test films and "
        f"{len(comparison['genres'])} genres{lost} (may be lower by {max_drop:g})",
    )


def _find_collapsed_genres(genres: Mapping[str, Mapping[str, Any]], min_films: int) -> Check:
    judged = {name: scores for name, scores in genres.items() if scores["support"] >= min_films}
    collapsed = [name for name, scores in judged.items() if scores["f1"] == 0]
    found = f"no film correctly predicted as {', '.join(collapsed)}" if collapsed else f"none, of {len(judged)} checked"
    return Check("collapsed genres", not collapsed, found)


def _check_downloads(counts: PosterCounts, min_rate: float) -> Check:
    found = f"{counts.num_ok:,} of {counts.num_films:,}, {counts.success_rate:.1%} (at least {min_rate:.0%})"
    return Check("available posters", counts.success_rate >= min_rate, found)


def _check_leakage(dataset_films_path: Path) -> Check:
    films = pq.read_table(dataset_films_path, columns=["imdb_id", "sha256", "split"]).to_pandas()
    leaks = {
        what: int((films.groupby(column)["split"].nunique() > 1).sum())
        for what, column in (("films", "imdb_id"), ("images", "sha256"))
    }
    found = ", ".join(f"{count} {what} in two splits" for what, count in leaks.items())
    return Check("leakage between splits", not any(leaks.values()), found)
