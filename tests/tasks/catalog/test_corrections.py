from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.catalog.corrections import Correction, Corrections, read_corrections
from tasks.catalog.reading import COLUMNS
from tasks.errors import CatalogError


def read(folder: Path, text: str) -> Corrections:
    (folder / "corrections.csv").write_text(text, "utf-8")
    return read_corrections(str(folder / "corrections.csv"), (), 1_000_000)


def correct(
    rows: pa.Table, corrections: Corrections, num_at_once: int = 2
) -> tuple[pa.Table, dict[str, int], list[int]]:
    """Returns the corrected rows, corrected some at a time, and what became of the corrections."""
    correction = Correction(corrections)
    pieces = [rows.slice(start, num_at_once) for start in range(0, rows.num_rows, num_at_once)]
    for _ in range(2):  # as in the two passes over a catalog
        corrected = pa.concat_tables(map(correction.apply, pieces))
    return corrected, *correction.count()


def make_rows(genres: list[tuple[str, str]]) -> pa.Table:
    texts = [(imdb_id, "link", "Title", "5", genre, "http://x/y.jpg") for imdb_id, genre in genres]
    return pa.table({name: [row[column] for row in texts] for column, name in enumerate(COLUMNS)})


def test_notes_and_other_columns_are_for_people(tmp_path: Path) -> None:
    corrections = read(tmp_path, 'imdbId,genres,note\n7,Drama|War,"live, not drawn"\n0012, Horror ,\n')
    assert corrections.genres == {7: "Drama|War", 12: " Horror "}
    assert len(corrections.sha256) == 64


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("tt7,Drama\n", "the imdbId 'tt7'; expected digits"),
        ("7,|\n", "film 7 has no genres; expected some, separated by |"),
        ("7,Drama\n8,Drama,War\n", "row 3 has another number of fields than the header; expected texts with commas"),
    ],
)
def test_rows_that_are_refused(tmp_path: Path, rows: str, message: str) -> None:
    with pytest.raises(CatalogError) as raised:
        read(tmp_path, f"imdbId,genres\n{rows}")
    assert str(raised.value).startswith(f"catalog.corrections: {message}")


def test_the_last_row_of_a_film_counts(tmp_path: Path) -> None:
    assert read(tmp_path, "imdbId,genres\n7,Drama\n8,War\n007,Comedy\n").genres == {7: "Comedy", 8: "War"}


def test_a_file_that_can_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"^catalog\.corrections: .*none\.csv can't be read: No such file"):
        read_corrections(str(tmp_path / "none.csv"), (), 1000)
    with pytest.raises(
        CatalogError, match=r"^catalog\.corrections: .* lacks the column genres: expected imdbId, genres"
    ):
        read(tmp_path, "imdbId,genre\n7,Drama\n")


def test_all_rows_of_a_film_are_replaced_and_films_counted() -> None:
    rows = make_rows([("1", "Drama"), (" 01 ", "War"), ("2", "Sci-Fi|War"), ("x", "Drama"), ("", ""), ("3", "Comedy")])
    corrections = Corrections({1: "Comedy", 2: "War| sci fi", 9: "Drama", 8: "War"}, "")
    corrected, counts, missing_ids = correct(rows, corrections)
    assert corrected["Genre"].to_pylist() == ["Comedy", "Comedy", "War| sci fi", "Drama", "", "Comedy"]
    assert corrected.drop_columns("Genre").equals(rows.drop_columns("Genre"))
    assert counts == {"films changed": 1, "genres as before": 1, "not in the catalog": 2}
    assert missing_ids == [8, 9]


def test_genres_must_be_of_imdb_or_the_catalog() -> None:
    rows = make_rows([("1", "Drama"), ("2", "Heimatfilm")])
    assert correct(rows, Corrections({1: "heimatfilm|Western"}, ""))[1]["films changed"] == 1
    with pytest.raises(CatalogError, match=r"film 2 has the genre 'Dramma'; expected 'Drama'\?$"):
        correct(rows, Corrections({1: "War", 2: "War|Dramma"}, ""))
    with pytest.raises(CatalogError, match=r"film 2 has the genre 'Krimskrams'; expected one of the catalog's$"):
        correct(rows, Corrections({2: "Krimskrams"}, ""))


_GENRES = st.lists(st.sampled_from(["Drama", "War", "Comedy"]), min_size=1, max_size=3).map("|".join)
_IDS = st.integers(0, 20)


@given(
    st.lists(st.tuples(_IDS.map(str), _GENRES), min_size=1, max_size=30), st.dictionaries(_IDS, _GENRES, max_size=10)
)
def test_every_correction_is_counted_once(catalog: list[tuple[str, str]], genres: dict[int, str]) -> None:
    corrected, counts, _ = correct(make_rows(catalog), Corrections(genres, ""))
    assert sum(counts.values()) == len(genres)
    assert corrected["Genre"].to_pylist() == [genres.get(int(imdb_id), genre) for imdb_id, genre in catalog]
    _, counts, _ = correct(corrected, Corrections(genres, ""))
    assert counts["films changed"] == 0
