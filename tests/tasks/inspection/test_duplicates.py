import pandas as pd

from tasks.inspection.duplicates import SharedPoster, find_shared_posters


def test_posters_of_several_films_those_that_cross_splits_first() -> None:
    films = pd.DataFrame(
        [
            (9, "Nine", "a", "train"),
            (1, "One", "a", "train"),
            (2, "Two", "b", "test"),
            (5, "Five", "a", "train"),
            (3, "Three", "c", "test"),
            (4, "Four", "c", "train"),
            (6, "Six", "0", "train"),
            (7, "Seven", "0", "train"),
            (8, "Eight", "d", "train"),
        ],
        columns=["imdb_id", "title", "sha256", "split"],
    )
    assert find_shared_posters(films) == [
        SharedPoster("c", ["Three", "Four"], ["test", "train"]),
        SharedPoster("a", ["One", "Five", "Nine"], ["train"]),
        SharedPoster("0", ["Six", "Seven"], ["train"]),
    ]
    assert find_shared_posters(films.drop_duplicates("sha256")) == []
