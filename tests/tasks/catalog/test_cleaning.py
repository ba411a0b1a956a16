import json

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.catalog.cleaning import FILMS, CleanedRows, clean
from tasks.catalog.reading import COLUMNS

GOOD = {
    "imdbId": "114709",
    "Imdb Link": "http://www.imdb.com/title/tt114709",
    "Title": "Toy Story (1995)",
    "IMDB Score": "8.3",
    "Genre": "Animation|Adventure|Comedy",
    "Poster": "https://images.example/114709.jpg",
}


def table(*rows: dict[str, str]) -> pa.Table:
    return pa.Table.from_pylist(
        [{**GOOD, **row} for row in rows], schema=pa.schema([(name, pa.string()) for name in COLUMNS])
    )


def clean_rows(rows: pa.Table, excluded_genres: list[str], num_at_once: int = 2) -> tuple[pa.Table, CleanedRows]:
    """Returns the films, cleaned some rows at a time, and what else is known of them."""
    cleaned = clean(
        lambda: (rows.slice(start, num_at_once) for start in range(0, rows.num_rows, num_at_once)), excluded_genres
    )
    films = pa.concat_tables([FILMS.empty_table(), *cleaned.iterate_films()])
    assert films.num_rows == cleaned.num_films
    return films, cleaned


def test_a_good_row() -> None:
    films, cleaned = clean_rows(table({}), ["Adult"])
    assert films.schema == FILMS
    assert films.to_pylist() == [
        {
            "imdb_id": 114709,
            "title": "Toy Story (1995)",
            "year": 1995,
            "score": pytest.approx(8.3),
            "genres": ["Animation", "Adventure", "Comedy"],
            "poster_url": "https://images.example/114709.jpg",
        }
    ]
    assert set(cleaned.dropped.values()) == {0}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"imdbId": " "}, "no id"),
        ({"imdbId": "tt114709"}, "id not digits"),
        ({"imdbId": "9" * 19}, "id not digits"),
        ({"imdbId": "²"}, "id not digits"),
        ({"Genre": ""}, "no genre"),
        ({"Genre": " | "}, "no genre"),
        ({"Genre": "(no genres listed)"}, "no genre"),
        ({"Poster": ""}, "no poster address"),
        ({"Poster": "file:///etc/passwd"}, "poster address not http(s)"),
        ({"Genre": "Drama|Adult"}, "genre Adult"),
        ({"imdbId": "", "Genre": ""}, "no id"),
    ],
)
def test_dropped_for_the_first_reason_that_applies(row: dict[str, str], reason: str) -> None:
    films, cleaned = clean_rows(table(row, {}), ["Adult"])
    assert films["imdb_id"].to_pylist() == [114709]
    assert {name: count for name, count in cleaned.dropped.items() if count} == {reason: 1}


def test_first_usable_row_of_a_repeated_id_is_kept() -> None:
    films, cleaned = clean_rows(
        table({"Genre": ""}, {"Title": "first"}, {"Title": "second"}, {"imdbId": "0114709"}), []
    )
    assert films["title"].to_pylist() == ["first"]
    assert (cleaned.dropped["no genre"], cleaned.dropped["repeated id"]) == (1, 2)


@pytest.mark.parametrize(
    ("title", "year"),
    [
        ("Toy Story (1995)", 1995),
        ("2001: A Space Odyssey (1968)", 1968),
        ("Blade Runner 2049", None),
        ("(1999) the album", None),
        ("Twin Peaks (1990-1991)", 1990),
        ("Film (2004) ", 2004),
        ("Film (3004)", None),
    ],
)
def test_year_from_title(title: str, year: int | None) -> None:
    assert clean_rows(table({"Title": title}), [])[0]["year"].to_pylist() == [year]


@pytest.mark.parametrize(
    ("score", "number"), [("", None), ("n/a", None), (" 7 ", 7.0), ("72", None), ("inf", None), ("-1", None)]
)
def test_score(score: str, number: float | None) -> None:
    films, cleaned = clean_rows(table({"IMDB Score": score}), [])
    assert films["score"].to_pylist() == [number]
    assert cleaned.doubts["scores not from 1 to 10"] == (bool(score) and number is None)


def test_doubts_are_counted_for_the_kept_films() -> None:
    rows = table(
        {"imdbId": "1", "Genre": "Sci-Fi|Drama"},
        {"imdbId": "2", "Genre": "sci fi| Drama"},
        {"imdbId": "3", "Genre": "Drama|Comedy|War|Western|Slapstick"},
        {"imdbId": "3", "Genre": "Comedy|Drama|Western|War|Slapstick"},  # the same, in another order
        {"imdbId": "1", "Genre": "SciFi"},
        {"imdbId": "", "Genre": "Nonsense"},
        {"imdbId": "4", "Genre": "ADULT"},
    )
    films, cleaned = clean_rows(rows, ["Adult"])
    assert films["genres"].to_pylist() == [
        ["Sci-Fi", "Drama"],
        ["Sci-Fi", "Drama"],
        ["Drama", "Comedy", "War", "Western", "Slapstick"],
    ]
    assert cleaned.dropped["genre Adult"] == 1
    assert cleaned.doubts == {
        "more than three genres": 1,
        "spaces around genres": 1,
        "spellings read as another": {"sci fi as Sci-Fi": 1},
        "genres unknown to IMDB": {"Slapstick": 1},
        "scores not from 1 to 10": 0,
        "rows that disagree": {
            "films": 1,
            "examples": [{"imdb_id": 1, "kept": ["Sci-Fi", "Drama"], "other": ["Sci-Fi"]}],
        },
    }


def test_an_excluded_genre_is_excluded_in_any_spelling() -> None:
    films, cleaned = clean_rows(table({"Genre": "Talk Show"}, {"imdbId": "2"}), ["talk-show"])
    assert films["imdb_id"].to_pylist() == [2]
    assert cleaned.dropped["genre talk-show"] == 1


@settings(deadline=None)
@given(st.lists(st.fixed_dictionaries({name: st.text(max_size=12) for name in COLUMNS}), max_size=8))
def test_every_row_is_kept_or_counted(rows: list[dict[str, str]]) -> None:
    films, cleaned = clean_rows(pa.Table.from_pylist(rows, schema=table().schema), ["Adult"])
    assert films.num_rows + sum(cleaned.dropped.values()) == len(rows)


_ROWS = st.fixed_dictionaries(
    {
        "imdbId": st.sampled_from(["1", " 1", "2", "3", "x", ""]),
        "Genre": st.sampled_from(["Drama", "drama|War", "War| Drama", "Krimi", "krimi", "Adult", "", "|"]),
        "IMDB Score": st.sampled_from(["5.5", "", "n/a"]),
        "Title": st.text(max_size=3) | st.just("T (1999)"),
        "Poster": st.sampled_from(["http://x/1.jpg", "", "ftp://x"]),
    }
)


@settings(deadline=None)
@given(st.lists(_ROWS, max_size=12), st.integers(1, 5))
def test_rows_are_cleaned_alike_however_many_at_a_time(rows: list[dict[str, str]], num_at_once: int) -> None:
    whole_films, whole = clean_rows(table(*rows), ["Adult", "Krimi"], 100)
    films, cleaned = clean_rows(table(*rows), ["Adult", "Krimi"], num_at_once)
    assert films.equals(whole_films)
    assert json.dumps([cleaned.dropped, cleaned.doubts]) == json.dumps([whole.dropped, whole.doubts])
