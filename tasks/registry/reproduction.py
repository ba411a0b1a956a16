"""A model that was made again beside the published one: stage by stage, whether they are equal, and if not, where."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tasks.features.cache import iterate_features, list_files
from tasks.features.matrix import FeatureViews


@dataclass(frozen=True)
class Comparison:
    """The comparison of one stage's results.

    Attributes:
        stage: Name of the stage.
        equal: Whether they are equal to the byte; None: there is nothing to compare with.
        found: What was compared, or where they first differ.
    """

    stage: str
    equal: bool | None
    found: str


def _iterate_images(folder: Path) -> Iterator[tuple[str, NDArray[np.float16]]]:
    for path in list_files(folder):
        for hashes, features in iterate_features(path):
            yield from zip(hashes, features, strict=True)


@dataclass(frozen=True)
class Weights:
    """The weights of a head.

    Attributes:
        names: Name of each, such as `hidden/kernel`.
        values: Their values.
    """

    names: Sequence[str]
    values: Sequence[NDArray[Any]]

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        return [value.shape for value in self.values]


def compare_features(
    films: pd.DataFrame, made: Mapping[str, FeatureViews], kept_folder: Path, made_folder: Path
) -> Comparison:
    """Compares the features that were computed again with those that an earlier run kept.

    Args:
        films: Films of the data set, with `imdb_id`, `sha256` of the image and `split`.
        made: Features of the films of each split, in their order, of which the whole posters are compared.
        kept_folder: Folder of the kept features; it need not exist.
        made_folder: Folder of those that were computed again; its name tells network, taps and preprocessing.
    """
    stage = "features"
    if kept_folder.name != made_folder.name:
        return Comparison(stage, False, f"they are those of {made_folder.name}, expected {kept_folder.name}")
    located = films.assign(row=films.groupby("split").cumcount(), film=range(len(films)))
    located = located.drop_duplicates("sha256").set_index("sha256")
    places = dict(zip(located.index, zip(located["split"], located["row"], strict=True), strict=True))
    differences: dict[str, float] = {}
    num_compared = 0
    for sha256, vector in _iterate_images(kept_folder):
        if sha256 in places:
            split, row = places[sha256]
            (again,) = made[split].read(row, row + 1)
            num_compared += 1
            if difference := _largest_difference(again, vector):
                differences[sha256] = difference
    if not num_compared:
        return Comparison(stage, None, f"{len(places):,} images, none of whose features were kept")
    if not differences:
        return Comparison(stage, True, f"{num_compared:,} of {len(places):,} images compared")
    first = located.loc[list(differences)].sort_values("film").iloc[0]
    return Comparison(
        stage,
        False,
        f"{len(differences):,} of {num_compared:,} images, first {first.name} of film {first['imdb_id']}; the largest "
        f"difference is {max(differences.values()):.2g}",
    )


def compare_weights(made: Weights, published: Weights) -> Comparison:
    """Compares the weights of two heads, in the order of the layers."""
    stage = "weights"
    shapes, expected = made.shapes, published.shapes
    for name, shape, expected_shape in zip(made.names, shapes, expected, strict=False):
        if shape != expected_shape:
            return Comparison(stage, False, f"first {name}, of shape {shape}, expected {expected_shape}")
    if len(shapes) != len(expected):
        return Comparison(stage, False, f"{len(shapes)} arrays, expected {len(expected)}")
    differences = [_largest_difference(*pair) for pair in zip(made.values, published.values, strict=True)]
    for name, difference in zip(made.names, differences, strict=True):
        if difference:
            others = f"; the largest of all is {max(differences):.2g}" if max(differences) > difference else ""
            return Comparison(stage, False, f"first {name}, the largest difference is {difference:.2g}{others}")
    return Comparison(stage, True, f"{sum(value.size for value in made.values):,} values in {len(shapes)} arrays")


def compare_predictions(
    made: Mapping[str, NDArray[np.float32]], published: Mapping[str, NDArray[np.float32]], imdb_ids: Sequence[int]
) -> Comparison:
    """Compares the predictions of two heads for the test films.

    Args:
        made: Predictions by output, a row a film.
        published: The same of the published head.
        imdb_ids: Ids of the films.
    """
    stage = "predictions"
    for name in sorted(made.keys() | published.keys()):
        shapes = [outputs[name].shape if name in outputs else None for outputs in (made, published)]
        if shapes[0] != shapes[1]:
            return Comparison(stage, False, f"{name} has the shape {shapes[0]}, expected {shapes[1]}")
    by_film = {name: _differences(made[name], published[name]).max(axis=1) for name in made}
    largest = {name: float(differences.max(initial=0)) for name, differences in by_film.items()}
    if not any(largest.values()):
        return Comparison(stage, True, f"{len(imdb_ids):,} test films")
    name = max(largest, key=lambda name: largest[name])
    film = imdb_ids[int(by_film[name].argmax())]
    return Comparison(
        stage, False, f"{len(imdb_ids):,} test films, the largest difference is {largest[name]:.2g}: {name} of {film}"
    )


# Figures that another run of the same has, too.
_NOT_COMPARED = frozenset({"training_seconds"})


def compare_figures(made: Mapping[str, Any], published: Mapping[str, Any]) -> Comparison:
    """Compares the figures that both evaluations have, in their order."""
    stage = "figures"
    expected = dict(_flatten(published))
    shared = [(name, value) for name, value in _flatten(made) if name in expected]
    for name, value in shared:
        if value != expected[name]:
            return Comparison(stage, False, f"first {name}: {value:.6g}, expected {expected[name]:.6g}")
    return Comparison(stage, True if shared else None, f"{len(shared)} figures of the test split")


def _flatten(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Yields the numbers in nested dicts and lists, with dotted names."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key not in _NOT_COMPARED:
                yield from _flatten(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _flatten(inner, f"{name}.{index}")
    elif isinstance(value, int | float):
        yield name, value


def _differences(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.float64]:
    """Returns the absolute differences; of a value that only one of them has as a number, infinity."""
    differences = np.abs(one.astype(np.float64) - other.astype(np.float64))
    both = np.isnan(one) & np.isnan(other)
    return np.where(both, 0.0, np.where(np.isnan(differences), np.inf, differences))


def _largest_difference(one: NDArray[Any], other: NDArray[Any]) -> float:
    return float(_differences(one, other).max(initial=0))
