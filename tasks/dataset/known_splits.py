"""The splits that films and images were given, which are permanent: a file for each seed."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.atomic import atomic_file
from tasks.checking import DamagedFileError, parquet_damage
from tasks.dataset.splits import SPLITS
from tasks.settings import DatasetSettings

SPLIT_COLUMNS = ["imdb_id", "sha256", "split"]
_SCHEMA = pa.schema([("imdb_id", pa.int64()), ("sha256", pa.large_string()), ("split", pa.large_string())])


def name_splits_file(seed: int) -> str:
    """Returns the name of the file with the splits of a seed.

    The fractions are not part of the name: other fractions deal new films differently, and move none.
    """
    return f"seed-{seed}.parquet"


def name_earlier_splits_file(settings: DatasetSettings, seed: int) -> str:
    """Returns the name that version 0.1 gave the file: one for each seed and pair of fractions."""
    return f"seed-{seed}-{settings.validation_fraction:g}-{settings.test_fraction:g}.parquet"


def read_splits(path: Path) -> pd.DataFrame:
    """Returns the splits of a file that has the columns `SPLIT_COLUMNS`.

    Returns:
        `imdb_id`, `sha256` of an image, and `split`. A film has a row for each image that it was known with, all of
        the same split.

    Raises:
        DamagedFileError: If the file is missing or damaged.
    """
    if not path.is_file():
        raise DamagedFileError(path, "is missing")
    with parquet_damage(path):
        table = pq.read_table(path, columns=SPLIT_COLUMNS, page_checksum_verification=True)
        films: pd.DataFrame = table.to_pandas(ignore_metadata=True)  # pandas' own, which no checksum covers
    kinds = [str(column_type).removeprefix("large_") for column_type in table.schema.types]
    if kinds != ["int64", "string", "string"] or films.isna().any(axis=None) or not films["split"].isin(SPLITS).all():
        expected = f"expected {', '.join(SPLIT_COLUMNS)}, and the splits {', '.join(SPLITS)}"
        raise DamagedFileError(path, f"is damaged ({expected})")
    if films[["imdb_id", "split"]].drop_duplicates()["imdb_id"].duplicated().any():
        raise DamagedFileError(path, "is damaged (expected each film in one split)")
    return films


def merge_splits(known: pd.DataFrame, more: pd.DataFrame) -> pd.DataFrame:
    """Adds splits from another source; where the two differ about a film or an image, the known ones stay.

    Args:
        known: Splits with `SPLIT_COLUMNS`, each film and each image in one split, in the order of the result.
        more: Other splits with these columns, not necessarily so.

    Returns:
        The splits, each film and each image in one, in the order of the films and images.
    """
    numbers = _as_numbers(known, more)
    known_rows, rows = numbers[: len(known)], numbers[len(known) :]
    splits = {name: known_rows.drop_duplicates(name).set_index(name)["split"] for name in ("imdb_id", "sha256")}
    known_splits = [rows[name].map(splits[name]) for name in splits]
    is_new = [known_split.isna() for known_split in known_splits]
    agrees = [new | (known_split == rows["split"]) for new, known_split in zip(is_new, known_splits, strict=True)]
    # A film and an image that are both known have a row each.
    rows = rows[agrees[0] & agrees[1] & (is_new[0] | is_new[1])]
    if rows.empty:
        return known
    for name in splits:
        rows = rows[rows["split"] == rows.groupby(name)["split"].transform("first")]
    merged = pd.concat([known_rows, rows]).drop_duplicates().sort_values(["imdb_id", "sha256"]).index.to_numpy()
    both = (
        pd.concat([known[SPLIT_COLUMNS], more[SPLIT_COLUMNS]], ignore_index=True) if len(known) else more[SPLIT_COLUMNS]
    )
    return both.take(merged).reset_index(drop=True)


def _as_numbers(known: pd.DataFrame, more: pd.DataFrame) -> pd.DataFrame:
    """Returns the rows of both, with numbers in place of the texts; those of the hashes are in the order of these."""
    tables = [pa.Table.from_pandas(films[SPLIT_COLUMNS], _SCHEMA, preserve_index=False) for films in (known, more)]
    both = pa.concat_tables(tables)
    return pd.DataFrame(
        {
            "imdb_id": both["imdb_id"].to_numpy(),
            "sha256": pc.rank(both["sha256"], tiebreaker="dense").to_numpy(),
            "split": pc.index_in(both["split"], pa.array(SPLITS, pa.large_string())).to_numpy().astype(np.int8),
        }
    )


def write_known_splits(path: Path, films: pd.DataFrame, known: pd.DataFrame) -> None:
    """Adds the splits of the data set's films to a file for `read_splits`, if it lacks any.

    Args:
        path: Path of the file.
        films: All films of the data set, with their `split`.
        known: Content of the file. Films that the data set no longer has and images that its films no longer show keep
            their split, in case they return.
    """
    assigned = merge_splits(known, films)
    if assigned.equals(known):
        return
    with atomic_file(path) as partial:
        assigned.to_parquet(partial, write_page_checksum=True)
