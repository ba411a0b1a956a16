from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.evaluation.label_errors import describe_label_errors, find_label_errors, write_label_errors

# Of four films all but the last are of the first genre, and only the second is of the second.
FILMS = pd.DataFrame(
    {
        "imdb_id": [1, 2, 3, 4],
        "title": ["One", "Two", "Three", "Four"],
        "targets": [np.array(targets, np.uint8) for targets in ([1, 0], [1, 1], [1, 0], [0, 0])],
    }
)
PROBABILITIES = np.array([[0.9, 0.3], [0.15, 0.1], [0.6, 0.8], [0.7, 0.2]], np.float32)


def test_worked_by_hand() -> None:
    errors = find_label_errors(FILMS, PROBABILITIES, ["Common", "Rare"], 3)
    # Given: 0.75 / 0.15 = 5, 0.25 / 0.1 = 2.5 and 0.75 / 0.6 = 1.25 are more surprising than 0.75 / 0.9.
    assert errors[errors["given"]][["imdb_id", "genre", "probability"]].to_numpy().tolist() == [
        [2, "Common", pytest.approx(0.15)],
        [2, "Rare", pytest.approx(0.1)],
        [3, "Common", pytest.approx(0.6)],
    ]
    assert errors[~errors["given"]][["title", "genre", "probability"]].to_numpy().tolist() == [
        ["Three", "Rare", pytest.approx(0.8)],
        ["Four", "Common", pytest.approx(0.7)],
        ["One", "Rare", pytest.approx(0.3)],
    ]


def test_the_first_of_each_kind_go_into_the_metrics() -> None:
    shown = describe_label_errors(find_label_errors(FILMS, PROBABILITIES, ["Common", "Rare"], 3), 1)
    assert shown == {
        "given": [{"imdb_id": 2, "title": "Two", "genre": "Common", "probability": pytest.approx(0.15)}],
        "not_given": [{"imdb_id": 3, "title": "Three", "genre": "Rare", "probability": pytest.approx(0.8)}],
    }


def test_the_table_has_no_formulas(tmp_path: Path) -> None:
    films = FILMS.assign(title=["=1+1", "Two", "Three", "Four"])
    write_label_errors(find_label_errors(films, PROBABILITIES, ["Common", "Rare"], 1), tmp_path / "errors.csv")
    assert (tmp_path / "errors.csv").read_text() == (
        "imdb_id,title,genre,given,probability\n2,Two,Common,True,0.1500\n3,Three,Rare,False,0.8000\n"
    )
    write_label_errors(find_label_errors(films, PROBABILITIES, ["Common", "Rare"], 99), tmp_path / "errors.csv")
    assert len((tmp_path / "errors.csv").read_text().splitlines()) == 1 + 8
    assert "\n1,'=1+1,Rare,False,0.3000\n" in (tmp_path / "errors.csv").read_text()
