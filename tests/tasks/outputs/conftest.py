from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from tasks.outputs.output import OutputContext
from tasks.settings import HeadSettings, TrainingSettings


@dataclass(frozen=True)
class Films:
    """The films of a split, without features."""

    films: pd.DataFrame
    genre_targets: NDArray[np.uint8]


MakeFilms = Callable[[list[int], list[float]], Films]


@pytest.fixture(scope="session")
def make_films() -> MakeFilms:
    """Makes films of two genres with these years and scores."""
    return _make_films


def _make_films(years: list[int], scores: list[float]) -> Films:
    films = pd.DataFrame({"year": years, "score": np.array(scores, np.float32)})
    return Films(films, np.ones((len(films), 2), np.uint8))


@pytest.fixture
def films() -> Films:
    """Five films, of which one has no year and two have no score."""
    return _make_films([1994, 0, 2003, 1929, 1990], [7.5, 0, 0, 4.5, 6.0])


@pytest.fixture
def context(films: Films) -> OutputContext:
    heads = HeadSettings(decade=0.1, score=0.2, embedding=0.3, embedding_size=4)
    return OutputContext(["a", "b"], films, TrainingSettings(), heads)
