"""The films of a published model, compared with what is kept of them: catalog, posters and splits."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from tasks.checking import parquet_damage
from tasks.dataset.genres import choose_genres, count_genres, encode_genres
from tasks.dataset.known_splits import read_splits
from tasks.errors import ReproductionError
from tasks.posters import ledger, segments
from tasks.registry.reproduction import Comparison


@dataclass(frozen=True)
class KeptFilms:
    """Where the films are.

    Attributes:
        catalog_path: Path of the catalog's `films.parquet`, as the last run read it.
        same_catalog: Whether it is known to be the catalog that the model was made from.
        posters_dir: Folder of the poster parts.
        splits_path: Path of the assigned splits; it need not exist.
    """

    catalog_path: Path
    same_catalog: bool
    posters_dir: Path
    splits_path: Path


def read_model_films(path: Path) -> pd.DataFrame:
    """Returns the films of a model in their order: all columns of its `films.parquet`."""
    with parquet_damage(path):
        films: pd.DataFrame = pq.read_table(path).to_pandas()
    return films


def compare_films(films: pd.DataFrame, genres: list[str], kept: KeptFilms, min_posters_per_genre: int) -> Comparison:
    """Compares what decides the data set of a model: its films, their images, genres, targets and splits.

    Args:
        films: Films of the model.
        genres: Genres of the model, in the order of the targets.
        kept: Where they are now; the catalog may have more films by now.
        min_posters_per_genre: Minimum number of posters of a genre.

    Raises:
        ReproductionError: If films or posters are gone, or a later catalog has other genres for one of them.
    """
    found = _join(films, kept)
    stage = "data set"
    for column, expected in (("sha256_now", "sha256"), ("split_now", "split")):
        others = found[found[column].notna() & (found[column] != found[expected])]
        if len(others):
            first, what = others.iloc[0], "image" if expected == "sha256" else "split"
            return Comparison(
                stage,
                False,
                f"{len(others):,} films, first {first['imdb_id']}: its {what} is {first[column]}, expected "
                f"{first[expected]}",
            )
    film_genres = [list(names) for names in found["genres_now"]]
    if problem := _compare_genres(found, film_genres, genres, min_posters_per_genre):
        if not kept.same_catalog:
            raise ReproductionError(f"the catalog has changed since: {problem}; run again with the catalog of then")
        return Comparison(stage, False, problem)
    counts = ", ".join(f"{count:,} {split}" for split, count in films["split"].value_counts().items())
    return Comparison(stage, True, f"{len(films):,} films ({counts}), {len(genres)} genres")


def _join(films: pd.DataFrame, kept: KeptFilms) -> pd.DataFrame:
    """Returns the films with `genres_now`, `sha256_now` and `split_now`, None where there is no such file."""
    with parquet_damage(kept.catalog_path):
        catalog = pq.read_table(kept.catalog_path, columns=["imdb_id", "genres"]).to_pandas()
    posters = ledger.read_ledger(kept.posters_dir, ["imdb_id", "status", "sha256"]).to_pandas()
    posters = posters[posters["status"] == segments.OK].drop(columns="status")
    found = films.merge(catalog.rename(columns={"genres": "genres_now"}), on="imdb_id", how="left")
    found = found.merge(posters.rename(columns={"sha256": "sha256_now"}), on="imdb_id", how="left")
    for column, problem in (("genres_now", "are no longer in the catalog"), ("sha256_now", "have no poster any more")):
        gone = found[found[column].isna()]
        if len(gone):
            raise ReproductionError(
                f"{len(gone):,} of {len(films):,} films {problem}, {gone['imdb_id'].iloc[0]} first: expected "
                f"them in {kept.catalog_path} and {kept.posters_dir}"
            )
    if not kept.splits_path.exists():
        return found.assign(split_now=None)
    splits = read_splits(kept.splits_path)[["imdb_id", "split"]].drop_duplicates()  # a film may have had several images
    splits = splits.rename(columns={"split": "split_now"})
    return found.merge(splits, on="imdb_id", how="left")


def _compare_genres(
    found: pd.DataFrame, film_genres: list[list[str]], genres: list[str], min_posters_per_genre: int
) -> str:
    """Returns the first film whose targets are others, or the genres that are; empty if there are none."""
    targets = encode_genres(film_genres, genres)
    for row, expected in enumerate(found["targets"]):
        if targets[row].tolist() != expected.tolist():
            names = [genre for genre, target in zip(genres, expected, strict=True) if target]
            return (
                f"film {found['imdb_id'].iloc[row]} has the genres {', '.join(film_genres[row]) or 'none'}, expected "
                f"{', '.join(names) or 'none'}"
            )
    chosen = choose_genres(count_genres(film_genres), min_posters_per_genre)
    return "" if chosen == genres else f"the genres are {', '.join(chosen)}, expected {', '.join(genres)}"
