"""Figures of the data that earlier runs left in a `data_dir`: catalog, posters and data set."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from tasks.checking import DamagedFileError, parquet_damage
from tasks.dataset.description import read_description
from tasks.dataset.films import FILMS_FILE
from tasks.errors import DatasetError
from tasks.inspection.balance import GenreBalance, measure_balance
from tasks.inspection.duplicates import SharedPoster, find_shared_posters
from tasks.posters.ledger import read_ledger
from tasks.posters.segments import FAILED, OK
from tasks.workspace import Workspace


@dataclass(frozen=True)
class PosterFigures:
    """The posters of the films of the catalog.

    Attributes:
        num_films: Number of films in the catalog.
        num_downloaded: Number of films with a poster.
        failures: Number of films without one by the reason, the most frequent first.
        num_missing: Number of films whose poster was not requested yet.
        images: Of each downloaded poster `width` and `height` in pixels and `num_bytes`.
    """

    num_films: int
    num_downloaded: int
    failures: dict[str, int]
    num_missing: int
    images: pd.DataFrame


@dataclass(frozen=True)
class DatasetFigures:
    """The films of the data set.

    Attributes:
        films: The films, columns of `tasks.dataset.films.FILMS_SCHEMA`.
        genres: Genres, in the order of the targets.
        num_films: Number of films of each split.
        dropped_genres: Number of films of each genre that is too rare to be learned.
        num_films_without_genre: Number of films that have only such genres, whether they are in the data set or not.
        without_genre: What the setting `dataset.films_with_only_rare_genres` did with these.
        balance: The genres in the splits.
        shared_posters: The posters of more than one film.
    """

    films: pd.DataFrame
    genres: list[str]
    num_films: dict[str, int]
    dropped_genres: dict[str, int]
    num_films_without_genre: int
    without_genre: str
    balance: list[GenreBalance]
    shared_posters: list[SharedPoster]

    @property
    def num_crossing(self) -> int:
        """Number of posters that are in more than one split; other than 0 is a bug."""
        return sum(len(poster.splits) > 1 for poster in self.shared_posters)


def inspect_posters(workspace: Workspace) -> PosterFigures:
    """Counts the posters of the films of the catalog.

    Raises:
        DatasetError: There is no catalog of an earlier run, or it is damaged.
    """
    path = workspace.folder("catalog") / FILMS_FILE
    if not path.exists():
        raise DatasetError(
            f"no catalog in {workspace.data_dir}: expected the data_dir of earlier runs (--set data_dir=...)"
        )
    with _advised():
        with parquet_damage(path):
            films = pq.read_table(path, columns=["imdb_id"]).to_pandas()
        posters = read_ledger(workspace.folder("posters"))
    columns = ["imdb_id", "status", "reason", "num_bytes", "width", "height"]
    rows = films.merge(posters.select(columns).to_pandas(), on="imdb_id", how="left")
    downloaded = rows[rows["status"] == OK]
    failed = rows[rows["status"] == FAILED]
    return PosterFigures(
        num_films=len(films),
        num_downloaded=len(downloaded),
        failures={str(reason): int(count) for reason, count in failed["reason"].value_counts().items()},
        num_missing=int(rows["status"].isna().sum()),
        images=downloaded[["width", "height", "num_bytes"]].reset_index(drop=True),
    )


def inspect_dataset(folder: Path) -> DatasetFigures | None:
    """Returns the figures of a data set; None if there is none yet.

    Raises:
        DatasetError: A file of it is damaged.
    """
    description = read_description(folder)
    if not description:
        return None
    with _advised(), parquet_damage(folder / FILMS_FILE):
        films = pq.read_table(folder / FILMS_FILE).to_pandas()
    genres = description["vocabulary"]
    return DatasetFigures(
        films=films,
        genres=genres,
        num_films=description["num_films"],
        dropped_genres=description["dropped_genres"],
        num_films_without_genre=description["num_films_without_label"],
        without_genre=description["settings"].get("films_with_only_rare_genres", ""),
        balance=measure_balance(films, genres),
        shared_posters=find_shared_posters(films),
    )


@contextmanager
def _advised() -> Iterator[None]:
    try:
        yield
    except DamagedFileError as error:
        raise DatasetError(f"{error}: the next run writes it again (poster-genres run)") from error
