"""The figure on test films that have given no verdict of the gate: those that selected a model flatter it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.evaluation.resampling import score_f1
from tasks.evaluation.scores import find_interval

# Macro-F1 of fewer films is noise: its 95% interval is some 0.08 wide at 300.
MIN_FILMS = 300


def fingerprint_verdicts(earlier: Mapping[int, int]) -> str:
    """Returns the sha256 of the numbers of verdicts by imdbId, hexadecimal."""
    return hashlib.sha256(json.dumps(sorted(earlier.items())).encode()).hexdigest()


def score_by_verdicts(
    imdb_ids: Sequence[int],
    earlier: Mapping[int, int],
    genre_targets: NDArray[np.uint8],
    decisions: NDArray[np.bool_],
) -> dict[str, Any]:
    """Scores the test films that have given no verdict before this model's; if they are few, the least used ones.

    Macro-F1 is that of the genres that some film of the group has, None under `MIN_FILMS` films.

    Args:
        imdb_ids: Ids of the test films.
        earlier: Verdicts that films have given before, by imdbId; films that are not in it have given none.
        genre_targets: Targets, 0 or 1, shape `(num_films, num_genres)`.
        decisions: Predictions, same shape.

    Returns:
        `largest` number of verdicts of a film, this model's included; `films_by_verdicts`, the number of films by
        number of verdicts; `fresh_films`, those of one verdict, with `fresh_macro_f1` and `fresh_macro_f1_interval`;
        `used_macro_f1` of the others, where the fresh ones have a figure; `least_used`, where they have none: `films`,
        `largest`, `macro_f1` and `macro_f1_interval` of the least used `MIN_FILMS` films, with all of the same number
        of verdicts; None if these are all films.
    """
    counts = np.array([earlier.get(film, 0) + 1 for film in imdb_ids], np.int64)
    numbers, num_films = np.unique(counts, return_counts=True)

    def score(rows: NDArray[np.bool_]) -> tuple[float, list[float]] | tuple[None, None]:
        if rows.sum() < MIN_FILMS:
            return None, None
        genres = genre_targets[rows].any(axis=0)
        targets, chosen = genre_targets[rows][:, genres], decisions[rows][:, genres]
        return float(score_f1((targets, chosen)).mean()), find_interval(targets, chosen)

    fresh = counts == 1
    fresh_macro_f1, fresh_interval = score(fresh)
    least_used = None
    enough = numbers[np.cumsum(num_films) >= MIN_FILMS]  # so many verdicts or fewer
    if fresh_macro_f1 is None and len(enough) > 1:
        rows = counts <= enough[0]
        macro_f1, interval = score(rows)
        films = int(rows.sum())
        least_used = {
            "films": films,
            "largest": int(enough[0]),
            "macro_f1": macro_f1,
            "macro_f1_interval": interval,
        }
    return {
        "largest": int(numbers.max(initial=0)),
        "films_by_verdicts": {str(number): int(films) for number, films in zip(numbers, num_films, strict=True)},
        "fresh_films": int(fresh.sum()),
        "fresh_macro_f1": fresh_macro_f1,
        "fresh_macro_f1_interval": fresh_interval,
        "used_macro_f1": None if fresh_macro_f1 is None else score(~fresh)[0],
        "least_used": least_used,
    }


def describe_verdicts(figures: Mapping[str, Any]) -> str:
    """Returns what `score_by_verdicts` found: a paragraph of the report."""
    if figures["largest"] <= 1:
        return "\nNo test film has given a verdict of the gate before this model's: nothing was selected on them."
    fresh = figures["fresh_films"]
    sentences = [
        "\nEach verdict of the gate selects a model on the test films, which makes the figures on them optimistic. "
        f"They have given up to {figures['largest']} verdicts, this model's included; {fresh:,} had given none before."
    ]
    if figures["fresh_macro_f1"] is not None:
        sentences.append(f"On these {_describe_score(figures['fresh_macro_f1'], figures['fresh_macro_f1_interval'])}")
        used = figures["used_macro_f1"]
        sentences.append(f"and {used:.3f} on the others." if used is not None else "and the others are too few.")
    elif least_used := figures["least_used"]:
        sentences.append(
            f"These are too few for a figure ({MIN_FILMS}). On the {least_used['films']:,} least used, with up to "
            f"{least_used['largest']}, {_describe_score(least_used['macro_f1'], least_used['macro_f1_interval'])}."
        )
    else:
        sentences.append(f"These are too few for a figure ({MIN_FILMS}).")
    return " ".join(sentences)


def _describe_score(macro_f1: float, interval: Sequence[float]) -> str:
    return f"macro-F1 is {macro_f1:.3f} (95% interval {interval[0]:.3f} to {interval[1]:.3f})"
