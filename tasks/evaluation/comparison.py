"""Recipes over several seeds, each with its own split: mean and spread of each score."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

_SCORES = {
    "validation_macro_f1": "validation macro-F1",
    "macro_f1": "test macro-F1",
    "micro_f1": "test micro-F1",
    "mean_batch_macro_f1": "test, mean over batches",
}


def summarise(scored: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Returns a row a recipe: mean and standard deviation over the seeds of each score.

    Args:
        scored: For each recipe and seed `recipe`, `seed`, `validation_macro_f1`, `macro_f1`, `micro_f1` and
            `mean_batch_macro_f1`; the same seeds for every recipe.

    Returns:
        Strings, in the order of the recipes; the last column is the improvement of the first recipe on each of the
        others, paired by seed.
    """
    table = pd.DataFrame(scored)
    recipes = list(dict.fromkeys(table["recipe"]))
    by_recipe = {recipe: table[table["recipe"] == recipe].set_index("seed") for recipe in recipes}
    rows = []
    for recipe in recipes:
        row = {"recipe": recipe}
        row |= {title: _describe(by_recipe[recipe][name]) for name, title in _SCORES.items()}
        improvement = by_recipe[recipes[0]]["macro_f1"] - by_recipe[recipe]["macro_f1"]
        row[f"{recipes[0]} improves by, test"] = _describe(improvement) if recipe != recipes[0] else ""
        rows.append(row)
    return pd.DataFrame(rows)


def _describe(values: pd.Series) -> str:
    spread = f" ± {values.std():.3f}" if len(values) > 1 else ""
    return f"{values.mean():.3f}{spread}"
