"""The gate: whether a candidate may become champion, and the reasons."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tasks import versions
from tasks.model_folder import ModelFolder
from tasks.posters.task import PosterCounts
from tasks.settings import RegistrySettings

# The pipeline's features are stored as float16 (3 to 4 digits); the model computes them in float32.
_MAX_EXPORT_DIFFERENCE = 0.01
# The standard normal distribution's quantile at 95%.
_ONE_SIDED_95 = 1.645


@dataclass(frozen=True)
class Check:
    """One check: whether it was passed, and the finding.

    Attributes:
        name: Name, by which `registry.allow` allows to fail it.
        passed: Whether it was passed.
        found: The finding, in words.
        is_allowed: Whether the settings allow to fail it.
    """

    name: str
    passed: bool
    found: str
    is_allowed: bool = False

    @property
    def is_obstacle(self) -> bool:
        return not self.passed and not self.is_allowed

    def describe(self) -> str:
        """Returns name and finding, and whether the settings allow to fail it."""
        waived = not self.passed and self.is_allowed
        return f"{self.name}: {self.found}{' (allowed by registry.allow)' if waived else ''}"


@dataclass(frozen=True)
class Verdict:
    """All checks of a candidate. It may become champion if each is passed, or allowed to fail.

    Attributes:
        checks: The checks.
        comparisons: What the candidate was compared with: see `compare_with_rivals`.
        circumstances: What the verdict depends on besides the model: see `describe_circumstances`.
    """

    checks: tuple[Check, ...]
    comparisons: Sequence[Mapping[str, Any]] = ()
    circumstances: Mapping[str, Any] = field(default_factory=dict)

    @property
    def allowed(self) -> bool:
        return not any(check.is_obstacle for check in self.checks)

    @property
    def reasons(self) -> str:
        """The findings in one line: of the obstacles if there are any, otherwise of all checks."""
        chosen = self.checks if self.allowed else [check for check in self.checks if check.is_obstacle]
        return "; ".join(check.describe() for check in chosen)

    @property
    def rivals(self) -> list[str]:
        """Ids of the models that the candidate was compared with, on enough films."""
        return [str(comparison["id"]) for comparison in self.comparisons if comparison["is_judged"]]

    def as_dict(self) -> dict[str, Any]:
        """Returns it for a model's manifest."""
        return {
            "allowed": self.allowed,
            "reasons": self.reasons,
            "checks": [vars(check) for check in self.checks],
            "rivals": self.rivals,
            "comparisons": list(self.comparisons),
            "circumstances": dict(self.circumstances),
        }


@dataclass(frozen=True)
class Findings:
    """What is judged.

    Attributes:
        metrics: Metrics of the evaluation, with `rivals`, as `compare_with_rivals` returns them, the champion first.
        counts: Counts of the posters of this run.
        dataset_films_path: Path of the data set's `films.parquet`.
        export_difference: Largest difference between the exported model's predictions and the pipeline's: of
            confidences, or of scores in points.
        format_mismatch: Reason why the present champion could not be compared with; None if it was, or if there is
            none.
    """

    metrics: Mapping[str, Any]
    counts: PosterCounts
    dataset_films_path: Path
    export_difference: float
    format_mismatch: str | None = None


def describe_circumstances(
    champion: ModelFolder | None,
    rivals: Sequence[ModelFolder],
    counts: PosterCounts,
    settings: RegistrySettings,
    format_mismatch: str | None,
) -> dict[str, Any]:
    """Returns what a verdict depends on besides the model; a known model is judged again when it has changed.

    Args:
        champion: The present champion, None if there is none.
        rivals: The models that the candidate is compared with.
        counts: Counts of the posters of this run.
        settings: The bounds, and the checks that may fail.
        format_mismatch: As in `Findings`.
    """
    return {
        "version": versions.GATE,
        "champion": champion.id if champion else None,
        "rivals": [rival.id for rival in rivals],
        "enough_posters": counts.success_rate >= settings.min_success_rate,
        "settings": settings.model_inputs(),
        "format_mismatch": format_mismatch,
    }


def judge(findings: Findings, settings: RegistrySettings, circumstances: Mapping[str, Any]) -> Verdict:
    """Judges a candidate.

    Args:
        findings: What was found.
        settings: The bounds, and the checks that may fail.
        circumstances: As `describe_circumstances` returns them.
    """
    metrics = findings.metrics
    rivals = [
        {**rival, "is_judged": rival["num_films"] >= settings.min_films_to_judge} for rival in metrics.get("rivals", [])
    ]
    films = pq.read_table(findings.dataset_films_path, columns=["imdb_id", "sha256", "split"]).to_pandas()
    num_films = {"data_films": len(films), "test_films": int((films["split"] == "test").sum())}
    leaks = {
        what: int((films.groupby(column)["split"].nunique() > 1).sum())
        for what, column in (("films", "imdb_id"), ("images", "sha256"))
    }
    difference = findings.export_difference
    checks = [
        _compare_with_everything(metrics),
        *_compare_with_champion(rivals, num_films, settings, findings.format_mismatch),
        *_compare_with_rivals(rivals, settings),
        _find_collapsed_genres(metrics["model"]["genres"], settings.min_films_to_judge_genre),
        _check_downloads(findings.counts, settings.min_success_rate),
        Check(
            "leakage between splits",
            not any(leaks.values()),
            ", ".join(f"{count} {what} in two splits" for what, count in leaks.items()),
        ),
        Check(
            "exported predictions",
            difference <= _MAX_EXPORT_DIFFERENCE,
            f"differ from the pipeline's by {difference:.2g} (at most {_MAX_EXPORT_DIFFERENCE:g})",
        ),
    ]
    allowed = [replace(check, is_allowed=check.name in settings.allow) for check in checks]
    return Verdict(tuple(allowed), rivals, circumstances)


def _compare_with_everything(metrics: Mapping[str, Any]) -> Check:
    everything = metrics["baselines"]["predict_everything"]
    lower, upper = everything["improvement_interval"]
    return Check(
        "floor",
        lower > 0,
        f"macro-F1 {metrics['model']['macro_f1']:.3f} against {everything['macro_f1']:.3f} of every genre for every "
        f"film, better by {lower:.3f} to {upper:.3f} (must be over 0)",
    )


def _compare_with_champion(
    rivals: Sequence[Mapping[str, Any]],
    num_films: Mapping[str, int],
    settings: RegistrySettings,
    format_mismatch: str | None,
) -> list[Check]:
    """Returns the checks of what a candidate must not lose of the present champion."""
    if format_mismatch:
        return [Check("champion's format", False, f"not compared, {format_mismatch}: promote the candidate by hand")]
    if not rivals:
        return [Check("champions", True, "there is no champion yet")]
    champion = rivals[0]
    return [_check_genres(champion), *_check_films(champion, num_films, settings)]


def _check_genres(champion: Mapping[str, Any]) -> Check:
    lost, renamed = champion["lost_genres"], champion["renamed_genres"]
    named = [f"{genre} (now {renamed[genre]}?)" if genre in renamed else genre for genre in lost]
    found = f"without {', '.join(named)} of {champion['id']}" if lost else f"none of {champion['id']}"
    if champion["new_genres"]:
        found += f"; new are {', '.join(champion['new_genres'])}"
    return Check("lost genres", not lost, found)


def _check_films(champion: Mapping[str, Any], num_films: Mapping[str, int], settings: RegistrySettings) -> list[Check]:
    bounds = {
        "fewer films": ("data_films", settings.max_film_loss),
        "fewer test films": ("test_films", settings.max_test_film_loss),
    }
    return [
        Check(
            name,
            num_films[key] >= champion[key] * (1 - max_loss),
            f"{num_films[key]:,} after {champion[key]:,} of {champion['id']} (may be fewer by {max_loss:.0%})",
        )
        for name, (key, max_loss) in bounds.items()
    ]


def _compare_with_rivals(rivals: Sequence[Mapping[str, Any]], settings: RegistrySettings) -> list[Check]:
    """Returns the checks of macro-F1 against present and earlier champions."""
    if not rivals:
        return []
    champion = rivals[0]
    checks = [
        Check(
            "films to judge by",
            champion["is_judged"],
            f"{champion['num_films']:,} test films that {champion['id']} has not learned from "
            f"(at least {settings.min_films_to_judge:,})",
        )
    ]
    # An earlier champion may have learned from most of them, by another split: it does not count then.
    if judged := [_compare(rival, settings) for rival in rivals if rival["is_judged"]]:
        worse = [text for passed, text in judged if not passed]
        checks.append(Check("champions", not worse, ", ".join(worse or [text for _, text in judged])))
    return checks


def _compare(rival: Mapping[str, Any], settings: RegistrySettings) -> tuple[bool, str]:
    if not rival["genres"]:
        return False, f"nothing to compare with {rival['id']}: no genre of both models has enough test films"
    candidate, other = rival["candidate_macro_f1"], rival["rival_macro_f1"]
    margin = find_margin(rival["noise"], rival["standard_error"], settings)
    return candidate >= other - margin, (
        f"macro-F1 {candidate:.3f} against {other:.3f} of {rival['id']} on {rival['num_films']:,} test films and "
        f"{len(rival['genres'])} genres (may be lower by {margin:.3f})"
    )


def find_margin(noise: float, standard_error: float, settings: RegistrySettings) -> float:
    """Returns how far the candidate's macro-F1 may be under that of another model.

    That is as far as noise reaches, and as is tolerated in any case (two trainings differ even on infinitely many
    films); but never so far that a candidate which is truly worse by `max_true_drop` passes in more than 5% of the
    draws. With too few films for both, equal candidates are refused more often. The rates: docs/quality.md, measured by
    tests/benchmarks/gate.py.

    Args:
        noise: Fall of macro-F1 that an equal candidate exceeds in 5% of the draws.
        standard_error: Standard error of the difference of macro-F1.
        settings: The bounds.
    """
    widest = settings.max_true_drop - _ONE_SIDED_95 * standard_error
    return max(0.0, min(max(settings.max_macro_f1_drop, noise), widest))


def _find_collapsed_genres(genres: Mapping[str, Mapping[str, Any]], min_films: int) -> Check:
    judged = {name: scores for name, scores in genres.items() if scores["support"] >= min_films}
    collapsed = [name for name, scores in judged.items() if scores["f1"] == 0]
    found = f"no film correctly predicted as {', '.join(collapsed)}" if collapsed else f"none, of {len(judged)} checked"
    return Check("collapsed genres", not collapsed, found)


def _check_downloads(counts: PosterCounts, min_rate: float) -> Check:
    found = f"{counts.num_ok:,} of {counts.num_films:,}, {counts.success_rate:.1%} (at least {min_rate:.0%})"
    return Check("available posters", counts.success_rate >= min_rate, found)
