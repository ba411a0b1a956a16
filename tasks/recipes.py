"""Recipes: sets of values for the settings of features, training and export that decide how good a model is.

`default` is the defaults of `tasks.settings`; each of the others is what differs from them. A setting that is given has
precedence over the recipe's.
"""

from collections.abc import Mapping
from typing import Any, Literal

RecipeName = Literal["default", "fast", "best", "seed", "seed_bce"]

# A fourth of the work of `default`: whole posters at the size that the backbone was trained on.
_FAST: dict[str, dict[str, Any]] = {
    "features": {
        "image_size": (224, 224),
        "views": 1,
        "taps": ("block_13_expand_relu", "block_16_expand_relu"),
    },
    "training": {
        "loss": "soft_f1",
        "epochs": 20,
        "num_heads": 1,
    },
    "export": {"views": 1},
}

# Three times the work of `default` for the training films, and as much for a prediction.
_BEST: dict[str, dict[str, Any]] = {
    "features": {"views": 6},
    "training": {"num_heads": 5},
}

# The article's head: raw features of the last layer, a constant rate, a threshold of 0.5.
_SEED: dict[str, dict[str, Any]] = {
    "features": _FAST["features"],
    "training": {
        "taps": False,
        "views": False,
        "hidden_units": 1024,
        "standardise": False,
        "dropout": 0.0,
        "loss": "soft_f1",
        "learning_rate": 1e-5,
        "schedule": "constant",
        "epochs": 30,
        "num_heads": 1,
        "thresholds": "none",
    },
    "export": {"views": 1},
}

RECIPES: dict[str, Mapping[str, Mapping[str, Any]]] = {
    "default": {},
    "fast": _FAST,
    "best": _BEST,
    "seed": _SEED,
    "seed_bce": {**_SEED, "training": {**_SEED["training"], "loss": "binary_crossentropy"}},
}

# The settings that some recipe changes, by group.
RECIPE_SETTINGS = {
    group: frozenset(name for recipe in RECIPES.values() for name in recipe.get(group, ()))
    for group in ("features", "training", "export")
}


def find_values(recipe: Any, group: str) -> Mapping[str, Any]:
    """Returns the values of a recipe for a group of settings; of an unknown recipe none, which validation refuses."""
    return RECIPES.get(recipe, {}).get(group, {}) if isinstance(recipe, str) else {}


def name_recipe(recipe: str, *, is_altered: bool) -> str:
    """Returns the name of a recipe, marked if a setting of it was altered."""
    return f"{recipe} (altered)" if is_altered else recipe
