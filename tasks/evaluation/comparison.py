"""Recipes over several seeds, each with its own split: mean and spread of each score, and differences between them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tasks.evaluation.resampling import find_bounds, resample_f1

_SCORES = {
    "validation_macro_f1": "validation macro-F1",
    "macro_f1": "test macro-F1",
    "micro_f1": "test micro-F1",
    "average_precision": "test average precision",
    "calibration_error": "test calibration error",
    "mean_batch_macro_f1": "test, mean over batches",
}


@dataclass(frozen=True)
class Scored:
    """A recipe with one seed, on the test films of that seed.

    Attributes:
        recipe: Name of the recipe.
        seed: Seed of the split and of the training.
        scores: The scores of the tables and others, by name.
        imdb_ids: Test films, shape `(num_films,)`.
        genre_targets: Their targets, 0 or 1, shape `(num_films, num_genres)`.
        decisions: Predictions, same shape.
    """

    recipe: str
    seed: int
    scores: dict[str, Any]
    imdb_ids: NDArray[np.int64]
    genre_targets: NDArray[np.uint8]
    decisions: NDArray[np.bool_]

    def as_row(self) -> dict[str, Any]:
        """Returns what `comparison.json` has."""
        return {"recipe": self.recipe, "seed": self.seed, **self.scores}


def summarise(scored: Sequence[Scored]) -> pd.DataFrame:
    """Returns a row a recipe: mean and standard deviation over the seeds of each score, as text.

    Args:
        scored: Each recipe with the same seeds.
    """
    by_seed = {title: _pivot(scored, name) for name, title in _SCORES.items()}
    return pd.DataFrame(
        {"recipe": recipe, **{title: _describe(scores[recipe]) for title, scores in by_seed.items()}}
        for recipe in _list_recipes(scored)
    )


def summarise_differences(scored: Sequence[Scored]) -> pd.DataFrame:
    """Returns how much the recipe of each row improves test macro-F1 on that of each column, paired by seed, as text.

    Mean and standard deviation over the seeds. If the test films of all seeds are the same, the 95% interval of the
    mean, too, by the percentile bootstrap over the films (Efron 1979): how far the films decide on it.

    Args:
        scored: Each recipe with the same seeds.
    """
    recipes, macro_f1, resampled = _list_recipes(scored), _pivot(scored, "macro_f1"), _resample(scored)

    def describe_difference(recipe: str, other: str) -> str:
        if recipe == other:
            return ""
        described = _describe(macro_f1[recipe] - macro_f1[other])
        if not resampled:
            return described
        lower, upper = find_bounds(resampled[recipe] - resampled[other])
        return f"{described} ({lower:.3f} to {upper:.3f})"

    return pd.DataFrame(
        {"less that of": recipe, **{other: describe_difference(recipe, other) for other in recipes}}
        for recipe in recipes
    )


def _list_recipes(scored: Sequence[Scored]) -> list[str]:
    return list(dict.fromkeys(each.recipe for each in scored))


def _pivot(scored: Sequence[Scored], name: str) -> pd.DataFrame:
    """Returns a score with a row a seed and a column a recipe."""
    return pd.DataFrame([each.as_row() for each in scored]).pivot(index="seed", columns="recipe", values=name)


def _resample(scored: Sequence[Scored]) -> dict[str, NDArray[np.float64]]:
    """Returns macro-F1 of each recipe, the mean over the seeds, in resamples of the test films; {} if these differ."""
    if not all(np.array_equal(each.imdb_ids, scored[0].imdb_ids) for each in scored):
        return {}
    resampled = resample_f1([(each.genre_targets, each.decisions) for each in scored])
    macro_f1: dict[str, list[NDArray[np.float64]]] = {}
    for each, by_genre in zip(scored, resampled, strict=True):
        macro_f1.setdefault(each.recipe, []).append(by_genre.mean(axis=1))
    return {recipe: np.mean(seeds, axis=0) for recipe, seeds in macro_f1.items()}


def _describe(values: pd.Series) -> str:
    spread = f" ± {values.std():.3f}" if len(values) > 1 else ""
    return f"{values.mean():.3f}{spread}"
