from hypothesis import given
from hypothesis import strategies as st

from tasks.catalog.genres import (
    IMDB_GENRES,
    count_doubts,
    find_disagreements,
    find_unknown_genres,
    split_genres,
    unify_spellings,
)


def test_genres_are_stripped_and_unique() -> None:
    assert split_genres("Action| Drama |Action||Sci-Fi") == ["Action", "Drama", "Sci-Fi"]


def test_canonical_names_are_imdb_s_or_the_commonest_spelling() -> None:
    counts = {"SCI FI": 900, "Film Noir": 1, "krimi": 5, "Krimi": 7, "K-rimi": 1, "Drama": 3, "--": 1, "...": 1}
    assert unify_spellings(counts) == {
        "SCI FI": "Sci-Fi",
        "Film Noir": "Film-Noir",
        "krimi": "Krimi",
        "Krimi": "Krimi",
        "K-rimi": "Krimi",
        "Drama": "Drama",
        "--": "--",
        "...": "...",
    }
    assert unify_spellings({"b": 2, "B": 2}) == {"b": "B", "B": "B"}


@given(st.dictionaries(st.text(min_size=1, max_size=6), st.integers(0, 9), max_size=8))
def test_canonical_names_are_canonical(counts: dict[str, int]) -> None:
    canonical_names = unify_spellings(counts)
    assert set(canonical_names) == set(counts)
    assert set(canonical_names.values()) <= {*counts, *IMDB_GENRES}
    assert all(unify_spellings({name: 0, **counts})[name] == name for name in canonical_names.values())


def test_doubts_match_hand_computed_counts() -> None:
    num_films = {"Drama": 10, "Drama|scifi": 2, "Drama|Sci-Fi|War|Western": 3, "Krimi |Drama": 4}
    canonical_names = unify_spellings({"Drama": 19, "scifi": 2, "Sci-Fi": 3, "War": 3, "Western": 3, "Krimi": 4})
    assert count_doubts(num_films, canonical_names) == {
        "more than three genres": 3,
        "spaces around genres": 4,
        "spellings read as another": {"scifi as Sci-Fi": 2},
        "genres unknown to IMDB": {"Krimi": 4},
    }


def test_each_film_whose_rows_disagree_counts_once() -> None:
    rows = [(1, ["Drama"]), (2, ["War"]), (1, ["Drama", "War"]), (1, ["Comedy"]), (2, ["War"])]
    assert find_disagreements(rows) == {
        "films": 1,
        "examples": [{"imdb_id": 1, "kept": ["Drama"], "other": ["Drama", "War"]}],
    }
    assert find_disagreements([]) == {"films": 0, "examples": []}


def test_unknown_genres_and_similar_known_ones() -> None:
    genres = ["Adlt", "adult", "TALK SHOW", "Krimis", "krimi", "Nonsense", "Documentry", "Sports"]
    assert find_unknown_genres(genres, ["Krimi"]) == {
        "Adlt": "Adult",
        "Documentry": "Documentary",
        "Krimis": "Krimi",
        "Nonsense": None,
        "Sports": "Sport",
    }
    assert find_unknown_genres(IMDB_GENRES, []) == {}
