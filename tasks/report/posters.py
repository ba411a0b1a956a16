"""The posters of the report: which test films are shown, and their thumbnails."""

import base64
import io
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.features.pictures import make_thumbnail
from tasks.posters.ledger import iterate_posters

# All predicted genres are right, none is, or the model is least sure.
KINDS = ("right", "wrong", "unsure")

_PER_GENRE = 3
_WIDTH, _HEIGHT = 120, 180  # of a thumbnail, in pixels: some KB
_QUALITY = 70


@dataclass(frozen=True)
class ShownFilm:
    """A test film of the report.

    Attributes:
        imdb_id: Its id.
        title: Its title.
        kind: One of `KINDS`.
        genres: Its genres in the catalog, of those that were learned.
        predicted: Predicted genres with their calibrated probabilities, the most probable first.
    """

    imdb_id: int
    title: str
    kind: str
    genres: list[str]
    predicted: list[tuple[str, float]]


def choose_films(films: pd.DataFrame, genres: Sequence[str]) -> list[ShownFilm]:
    """Chooses test films: of each kind up to three with the same most probable genre, of those that are predicted.

    Surely right are the films whose predicted genres are all right, surely wrong those of which none is, each with the
    highest probabilities; unsure are those where the highest probability is the lowest.

    Args:
        films: Predictions of the test films, as `tasks.evaluation.predictions.write_predictions` writes them, and their
            `title`.
        genres: Names of the genres, in the order of the columns.
    """
    targets, predicted, probabilities = (
        np.stack(films[name].tolist()) for name in ("targets", "predicted", "probabilities")
    )
    of_predicted = np.where(predicted == 1, probabilities, -1)
    first = of_predicted.argmax(axis=1)
    order = np.argsort(-of_predicted.max(axis=1), kind="stable")
    num_right = ((targets == 1) & (predicted == 1)).sum(axis=1)
    by_kind = {
        "right": order[(num_right == predicted.sum(axis=1))[order]],
        "wrong": order[(num_right == 0)[order]],
        "unsure": order[::-1],
    }
    names = np.array(genres, object)
    shown = []
    for kind in KINDS:
        num_shown: Counter[str] = Counter()
        for row in by_kind[kind].tolist():
            num_shown[names[first[row]]] += 1
            if num_shown[names[first[row]]] > _PER_GENRE:
                continue
            ranked = [column for column in np.argsort(-probabilities[row], kind="stable") if predicted[row, column]]
            shown.append(
                ShownFilm(
                    imdb_id=int(films["imdb_id"].iloc[row]),
                    title=str(films["title"].iloc[row]),
                    kind=kind,
                    genres=names[targets[row] == 1].tolist(),
                    predicted=[(str(names[column]), float(probabilities[row, column])) for column in ranked],
                )
            )
    return shown


def make_thumbnails(posters_dir: Path, imdb_ids: Collection[int]) -> Mapping[int, str]:
    """Returns small JPEG images of the posters of some films as addresses of the scheme `data:`, by imdbId."""
    return {imdb_id: _make_thumbnail(content) for imdb_id, content in iterate_posters(posters_dir, imdb_ids)}


def _make_thumbnail(content: bytes) -> str:
    file = io.BytesIO()
    make_thumbnail(content, (_WIDTH, _HEIGHT)).save(file, "JPEG", quality=_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
