"""Recipes over several seeds, each with its own split: how much of a difference is luck."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

_FIGURES = {
    "validation_macro_f1": "validation macro-F1",
    "macro_f1": "test macro-F1",
    "micro_f1": "test micro-F1",
    "mean_batch_macro_f1": "test, mean over batches",
}


def summarise(scored: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Returns a row a recipe: the mean over the seeds and the standard deviation of each figure.

    Args:
        scored: for each recipe and seed `recipe`, `seed`, `validation_macro_f1`, `macro_f1`, `micro_f1` and
            `mean_batch_macro_f1`; the same seeds for every recipe.

    Returns:
        Strings, in the order of the recipes; how far the first is ahead of the others is of the same seeds, by pairs.
    """
    figures = pd.DataFrame(scored)
    recipes = list(dict.fromkeys(figures["recipe"]))
    of_recipe = {recipe: figures[figures["recipe"] == recipe].set_index("seed") for recipe in recipes}
    rows = []
    for recipe in recipes:
        row = {"recipe": recipe}
        row |= {title: _describe(of_recipe[recipe][name]) for name, title in _FIGURES.items()}
        ahead = of_recipe[recipes[0]]["macro_f1"] - of_recipe[recipe]["macro_f1"]
        row[f"{recipes[0]} ahead by, test"] = _describe(ahead) if recipe != recipes[0] else ""
        rows.append(row)
    return pd.DataFrame(rows)


def _describe(values: pd.Series) -> str:
    spread = f" ± {values.std():.3f}" if len(values) > 1 else ""
    return f"{values.mean():.3f}{spread}"
