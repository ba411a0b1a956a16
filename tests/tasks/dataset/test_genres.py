import pytest

from tasks.dataset.genres import choose_genres, count_genres, encode_genres
from tasks.errors import DatasetError

FILMS = [["Drama", "War"], ["Drama"], ["Comedy", "Drama"], ["Comedy"], []]


def test_counts_are_of_films() -> None:
    assert list(count_genres([*FILMS, ["War", "War"]]).items()) == [("Drama", 3), ("Comedy", 2), ("War", 2)]


def test_rare_genres_are_dropped_and_the_rest_sorted() -> None:
    assert choose_genres(count_genres(FILMS), 2) == ["Comedy", "Drama"]
    assert choose_genres(count_genres(FILMS), 1) == ["Comedy", "Drama", "War"]


def test_too_few_genres_is_an_error_that_suggests_a_value() -> None:
    with pytest.raises(DatasetError, match=r"1 genres have 3 posters or more.*Drama: 3, Comedy: 2.*--min-posters 2"):
        choose_genres(count_genres(FILMS), 3)
    assert len(choose_genres(count_genres(FILMS), 2)) == 2
    with pytest.raises(DatasetError, match="at least two genres"):
        choose_genres({"Drama": 5}, 1)


def test_targets() -> None:
    targets = encode_genres(FILMS, ["Comedy", "Drama"])
    assert targets.tolist() == [[0, 1], [0, 1], [1, 1], [1, 0], [0, 0]]
    assert targets.dtype == "uint8"
