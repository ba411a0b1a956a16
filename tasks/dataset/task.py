"""The dataset stage."""

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks import versions
from tasks.atomic import atomic_file, atomic_folder
from tasks.dataset.shards import FEATURES, assign_shards, fingerprint_films, keep_shards
from tasks.dataset.splits import SPLITS, split_films
from tasks.dataset.vocabulary import choose_vocabulary, count_genres, encode_genres
from tasks.errors import DatasetError
from tasks.hashing import hash_file
from tasks.posters import ledger
from tasks.settings import DatasetSettings

logger = logging.getLogger(__name__)

# A row a film of the data set.
INDEX = pa.schema(
    [
        pa.field("imdb_id", pa.int64(), nullable=False),
        pa.field("title", pa.string(), nullable=False),
        pa.field("year", pa.int16(), nullable=False),  # 0 where the title has none
        pa.field("score", pa.float32(), nullable=False),  # IMDB's, from 1 to 10; 0 where there is none
        pa.field("sha256", pa.string(), nullable=False),  # of the picture
        pa.field("split", pa.string(), nullable=False),
        pa.field("targets", pa.list_(pa.uint8()), nullable=False),  # 0 or 1 for each genre of the vocabulary
    ]
)


@dataclass(frozen=True)
class Dataset:
    """A data set on disk.

    Attributes:
        folder: has the shards, `dataset.json`, and `films.parquet` (schema `INDEX`), which training joins with the
            features.
        vocabulary: the genres, in the order of the targets.
        num_films: by split.
        fingerprint: of the films, posters and settings it was made of.
        shard_names: Names of the TFRecord files; none if it was written without them.
    """

    folder: Path
    vocabulary: list[str]
    num_films: dict[str, int]
    fingerprint: str
    shard_names: tuple[str, ...] = ()

    @property
    def films_path(self) -> Path:
        return self.folder / "films.parquet"


@task(name="write dataset", cache_policy=NO_CACHE)
def write_dataset(
    films_path: Path,
    posters_dir: Path,
    splits_dir: Path,
    folder: Path,
    settings: DatasetSettings,
    seed: int,
    *,
    with_shards: bool = True,
) -> Dataset:
    """Makes the data set of all films whose poster was downloaded; leaves it alone if it is there already.

    Films that were split before keep their split, which `splits_dir` has for each seed and fractions. Shards whose
    films did not change are kept as they are. Without shards there is all that training on features needs.

    Raises:
        DatasetError: if fewer than two genres, or too few posters, are left.
    """
    films = _join(films_path, posters_dir)
    if films.empty:
        raise DatasetError("not one poster was downloaded: expected some to make a data set of")
    genre_counts = count_genres(films["genres"].tolist())
    vocabulary = choose_vocabulary(genre_counts, settings.min_posters_per_genre)
    targets = encode_genres(films["genres"].tolist(), vocabulary)
    without_label = targets.sum(axis=1) == 0
    if settings.films_with_only_rare_genres == "drop":
        films, targets = films.loc[~without_label].reset_index(drop=True), targets[~without_label]
    films["targets"] = list(targets)
    films["split"] = _split(films, targets, splits_dir, settings, seed)
    shards = assign_shards(films, settings.shard_bytes) if with_shards else {}
    made_of = {name: fingerprint_films(of_shard, vocabulary) for name, of_shard in shards.items()}
    old = _read_description(folder)
    description = {
        "version": versions.RECORDS,
        "fingerprint": fingerprint_films(films, vocabulary),
        "seed": seed,
        "settings": settings.model_dump(mode="json"),
        "vocabulary": vocabulary,
        "dropped_genres": {name: count for name, count in genre_counts.items() if name not in vocabulary},
        "num_films_without_label": int(without_label.sum()),
        "num_films": {split: int((films["split"] == split).sum()) for split in SPLITS},
        "num_films_by_genre": _count_by_genre(films, vocabulary),
        "features": {name: {"dtype": dtype, "shape": shape} for name, (dtype, shape) in FEATURES.items()},
    }
    if old and old == {**description, "shards": old["shards"]} and made_of == _read_made_of(old):
        logger.info("dataset: unchanged, %s", old["num_films"])
        return read_dataset(folder)
    with atomic_folder(folder) as partial:
        kept = keep_shards(folder, partial, old.get("shards", {}), made_of)
        if missing := {name: of_shard for name, of_shard in shards.items() if name not in kept}:
            _write_shards(partial, missing, posters_dir)
        _write_index(films, partial / "films.parquet")
        description["shards"] = {
            name: kept.get(name) or {"sha256": hash_file(partial / name), "made_of": made_of[name]} for name in shards
        }
        (partial / "dataset.json").write_text(json.dumps(description, indent=2, ensure_ascii=False) + "\n", "utf-8")
    _log(description, len(kept))
    return read_dataset(folder)


def _log(description: dict[str, Any], num_kept: int) -> None:
    logger.info(
        "dataset: %s films, %d genres (%s); shards: %d written, %d kept; dropped genres: %s; %d films with only rare "
        "genres: %s",
        description["num_films"],
        len(description["vocabulary"]),
        ", ".join(description["vocabulary"]),
        len(description["shards"]) - num_kept,
        num_kept,
        description["dropped_genres"] or "none",
        description["num_films_without_label"],
        description["settings"]["films_with_only_rare_genres"],
    )


def _join(films_path: Path, posters_dir: Path) -> pd.DataFrame:
    """Returns the films with a poster, in the order of the parts and of the ids in them."""
    films = pq.read_table(films_path, columns=["imdb_id", "title", "year", "score", "genres"]).to_pandas()
    posters = ledger.read_ledger(posters_dir).select(["imdb_id", "status", "sha256", "num_bytes", "format"]).to_pandas()
    posters = posters[posters["status"] == ledger.OK].drop(columns="status")
    joined: pd.DataFrame = posters.merge(films, on="imdb_id")
    joined["year"] = joined["year"].fillna(0).astype(int)
    joined["score"] = joined["score"].fillna(0)
    return joined


def _split(
    films: pd.DataFrame, targets: NDArray[np.uint8], splits_dir: Path, settings: DatasetSettings, seed: int
) -> NDArray[np.str_]:
    """Splits the films, and writes down what is new for the runs to come."""
    path = splits_dir / f"seed-{seed}-{settings.validation_fraction:g}-{settings.test_fraction:g}.parquet"
    columns = ["imdb_id", "sha256", "split"]
    known = pd.read_parquet(path) if path.exists() else pd.DataFrame(columns=columns)
    splits = split_films(films, targets, known, settings.validation_fraction, settings.test_fraction, seed)
    present = films.assign(split=splits)[columns]
    # A film that is gone keeps its split, should it come back.
    gone = known[~known["imdb_id"].isin(present["imdb_id"])]
    assigned = pd.concat([gone, present] if len(gone) else [present]).sort_values("imdb_id", ignore_index=True)
    if not assigned.equals(known):
        with atomic_file(path) as partial:
            assigned.to_parquet(partial)
        if len(known):
            logger.info("split: %d films keep theirs, %d are new", len(known), len(assigned) - len(known))
    return splits


def _write_shards(folder: Path, shards: Mapping[str, pd.DataFrame], posters_dir: Path) -> None:
    # TensorFlow takes seconds to import, and is not needed where nothing changed.
    from tasks.dataset.records import write_records

    films = pd.concat([of_shard.assign(shard=name) for name, of_shard in shards.items()])
    # A dict a film only while it is written: of all at once they take more memory than the rest of the stage.
    columns = {str(name): films[name].tolist() for name in films}
    row_of = {imdb_id: row for row, imdb_id in enumerate(columns["imdb_id"])}

    def join() -> Iterator[dict[str, Any]]:
        for imdb_id, content in ledger.iterate_posters(posters_dir, row_of.keys()):
            yield {**{name: values[row_of[imdb_id]] for name, values in columns.items()}, "content": content}

    write_records(folder, join(), shards)


def _write_index(films: pd.DataFrame, path: Path) -> None:
    columns = {name: films[name].tolist() for name in INDEX.names}
    pq.write_table(pa.table(columns, schema=INDEX), path)


def _count_by_genre(films: pd.DataFrame, vocabulary: list[str]) -> dict[str, dict[str, int]]:
    targets = pd.DataFrame(films["targets"].tolist(), columns=vocabulary, index=films.index)
    counts = targets.groupby(films["split"]).sum()
    return {genre: {split: int(cast("int", counts.loc[split, genre])) for split in SPLITS} for genre in vocabulary}


def _read_description(folder: Path) -> dict[str, Any]:
    """Returns what `dataset.json` says; nothing, if there is none of this version."""
    path = folder / "dataset.json"
    description = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return description if description.get("version") == versions.RECORDS else {}


def _read_made_of(description: Mapping[str, Any]) -> dict[str, str]:
    return {name: about["made_of"] for name, about in description["shards"].items()}


def read_dataset(folder: Path) -> Dataset:
    """Returns the data set that `write_dataset` wrote to `folder`."""
    description = _read_description(folder)
    return Dataset(
        folder=folder,
        vocabulary=description["vocabulary"],
        num_films=description["num_films"],
        fingerprint=description["fingerprint"],
        shard_names=tuple(description["shards"]),
    )
