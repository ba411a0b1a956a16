"""The dataset stage."""

import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.atomic import atomic_folder
from tasks.dataset.shards import FEATURES, count_shards, write_shards
from tasks.dataset.splits import SPLITS, split_images
from tasks.dataset.vocabulary import choose_vocabulary, count_genres, encode_genres
from tasks.errors import DatasetError
from tasks.hashing import hash_file
from tasks.posters import ledger
from tasks.settings import DatasetSettings

logger = logging.getLogger(__name__)

_FORMAT_VERSION = 1  # of the shards and the index; a change makes old ones be written anew


@dataclass(frozen=True)
class Dataset:
    """A data set on disk.

    Attributes:
        folder: has the shards, `dataset.json`, and `films.parquet`: one row a film, with `imdb_id`, `sha256`, `split`
            and `targets` (uint8, one a genre), the index that training joins with the features.
        vocabulary: the genres, in the order of the targets.
        num_films: by split.
        fingerprint: of the films, posters and settings it was made of.
    """

    folder: Path
    vocabulary: list[str]
    num_films: dict[str, int]
    fingerprint: str

    @property
    def films_path(self) -> Path:
        return self.folder / "films.parquet"


@task(name="write dataset", cache_policy=NO_CACHE, tags=["dataset"])
def write_dataset(films_path: Path, posters_dir: Path, folder: Path, settings: DatasetSettings, seed: int) -> Dataset:
    """Makes the data set of all films whose poster was downloaded; leaves it alone if it is there already.

    Raises:
        DatasetError: if fewer than two genres, or too few posters, are left.
    """
    films = _join(films_path, posters_dir)
    if films.empty:
        raise DatasetError("not one poster was downloaded: expected some to make a data set of")
    fingerprint = _fingerprint(films, settings, seed)
    existing = _read_if_made_of(folder, fingerprint)
    if existing:
        logger.info("dataset: unchanged, %s", existing.num_films)
        return existing
    genre_counts = count_genres(films["genres"].tolist())
    vocabulary = choose_vocabulary(genre_counts, settings.min_posters_per_genre)
    targets = encode_genres(films["genres"].tolist(), vocabulary)
    without_label = targets.sum(axis=1) == 0
    if settings.films_with_only_rare_genres == "drop":
        films, targets = films.loc[~without_label].reset_index(drop=True), targets[~without_label]
    films["targets"] = list(targets)
    films["split"] = split_images(
        films["sha256"].tolist(), targets, settings.validation_fraction, settings.test_fraction, seed
    )
    num_shards = {
        split: count_shards(int(films.loc[films["split"] == split, "num_bytes"].sum()), settings.shard_bytes)
        for split in SPLITS
    }
    with atomic_folder(folder) as partial:
        names = write_shards(partial, _with_posters(films, posters_dir), num_shards)
        _write_index(films, partial / "films.parquet")
        description = {
            "fingerprint": fingerprint,
            "seed": seed,
            "settings": settings.model_dump(mode="json"),
            "vocabulary": vocabulary,
            "dropped_genres": {name: count for name, count in genre_counts.items() if name not in vocabulary},
            "num_films_without_label": int(without_label.sum()),
            "num_films": {split: int((films["split"] == split).sum()) for split in SPLITS},
            "num_films_by_genre": _count_by_genre(films, vocabulary),
            "features": {name: {"dtype": dtype, "shape": shape} for name, (dtype, shape) in FEATURES.items()},
            "shards": {name: hash_file(partial / name) for name in names},
        }
        (partial / "dataset.json").write_text(json.dumps(description, indent=2, ensure_ascii=False) + "\n", "utf-8")
    _log(description)
    return _read(folder)


def _log(description: dict[str, Any]) -> None:
    logger.info(
        "dataset: %s films, %d genres (%s), %d shards; dropped genres: %s; %d films with only rare genres: %s",
        description["num_films"],
        len(description["vocabulary"]),
        ", ".join(description["vocabulary"]),
        len(description["shards"]),
        description["dropped_genres"] or "none",
        description["num_films_without_label"],
        description["settings"]["films_with_only_rare_genres"],
    )


def _join(films_path: Path, posters_dir: Path) -> pd.DataFrame:
    """Returns the films with a poster, in the order of the parts and of the ids in them."""
    films = pq.read_table(films_path, columns=["imdb_id", "title", "year", "genres"]).to_pandas()
    posters = ledger.read_ledger(posters_dir).select(["imdb_id", "status", "sha256", "num_bytes", "format"]).to_pandas()
    posters = posters[posters["status"] == ledger.OK].drop(columns="status")
    joined: pd.DataFrame = posters.merge(films, on="imdb_id")
    joined["year"] = joined["year"].fillna(0).astype(int)
    return joined


def _fingerprint(films: pd.DataFrame, settings: DatasetSettings, seed: int) -> str:
    digest = hashlib.sha256(json.dumps([_FORMAT_VERSION, settings.model_dump(mode="json"), seed]).encode())
    for film in zip(*(films[name] for name in ("imdb_id", "title", "year", "genres", "sha256")), strict=True):
        digest.update(repr([value.tolist() if isinstance(value, np.ndarray) else value for value in film]).encode())
    return digest.hexdigest()


def _with_posters(films: pd.DataFrame, posters_dir: Path) -> Iterator[dict[str, Any]]:
    """Yields the films with the bytes of their posters, a row group at a time."""
    by_id = films.set_index("imdb_id", drop=False)
    for path in ledger.part_paths(posters_dir):
        for batch in pq.ParquetFile(path).iter_batches(
            batch_size=ledger.ROWS_PER_GROUP, columns=["imdb_id", "content"]
        ):
            for poster in batch.to_pylist():
                if poster["imdb_id"] in by_id.index:
                    yield {**by_id.loc[poster["imdb_id"]].to_dict(), "content": poster["content"]}


def _write_index(films: pd.DataFrame, path: Path) -> None:
    targets = pa.array([row.tolist() for row in films["targets"]], pa.list_(pa.uint8()))
    index = pa.table({name: films[name].tolist() for name in ("imdb_id", "sha256", "split")})
    pq.write_table(index.append_column("targets", targets), path)


def _count_by_genre(films: pd.DataFrame, vocabulary: list[str]) -> dict[str, dict[str, int]]:
    targets = pd.DataFrame(films["targets"].tolist(), columns=vocabulary, index=films.index)
    counts = targets.groupby(films["split"]).sum()
    return {genre: {split: int(cast("int", counts.loc[split, genre])) for split in SPLITS} for genre in vocabulary}


def _read_if_made_of(folder: Path, fingerprint: str) -> Dataset | None:
    description = folder / "dataset.json"
    if not description.exists() or json.loads(description.read_text("utf-8"))["fingerprint"] != fingerprint:
        return None
    return _read(folder)


def _read(folder: Path) -> Dataset:
    description = json.loads((folder / "dataset.json").read_text("utf-8"))
    return Dataset(folder, description["vocabulary"], description["num_films"], description["fingerprint"])
