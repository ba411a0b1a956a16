import csv
import re
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pandas as pd
import pyarrow as pa
import pytest

from flows import cli
from tasks.evaluation.label_errors import write_label_errors
from tasks.evaluation.report import describe_data, list_genres, render_table
from tasks.inert import for_csv, for_markdown, for_terminal
from tasks.prediction.tables import make_schema, write_csv

FORMULA = '=HYPERLINK("http://evil/","Heat (1995)")'
MARKUP = "<img src=x> [Heat](http://evil/) ![x](y) `a` | *b* & https://evil/\x1b[31m\nnext"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (FORMULA, "'" + FORMULA),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\tx", "'\tx"),
        ("\rx", "'\rx"),
        ("Heat = (1995)", "Heat = (1995)"),
        ("", ""),
        (-1.5, -1.5),
        (None, None),
    ],
)
def test_for_csv(value: object, expected: object) -> None:
    assert for_csv(value) == expected


def test_for_terminal() -> None:
    assert for_terminal("a\x1b[31mb\x07\x9b1m\r\u202ec") == "a\ufffd[31mb\ufffd\ufffd1m\ufffd\ufffdc"
    assert for_terminal("Amélie\t(2001)\nnext") == "Amélie\t(2001)\nnext"


@hypothesis.given(st.text(st.sampled_from("<>[]()!`*_|~&\\\n\r\t\x1b# ax:/.hpts")))
def test_for_markdown_is_one_line_without_markup(text: str) -> None:
    shown = for_markdown(text)
    assert not set(shown) & set("\n\r\x1b")
    for character in "<>[]`*_|~&!":
        # Each has an odd number of backslashes before it, so it is itself and nothing else.
        for position in (place for place, found in enumerate(shown) if found == character):
            before = shown[:position]
            assert (len(before) - len(before.rstrip("\\"))) % 2 == 1


def test_report() -> None:
    error = {"imdb_id": 1, "title": MARKUP, "genre": "Sci|Fi", "probability": 0.9}
    metrics: dict[str, Any] = {
        "label_errors": {"given": [error], "not_given": []},
        "catalog": {"dropped": {}, "doubtful": {f"spellings read as another: {MARKUP}": 1}},
    }
    text = describe_data(metrics)
    unescaped = re.sub(r"\\.", "", text)
    for markup in ("<", ">", "[", "]", "`a`", "*b", "http://", "https://", "\x1b"):
        assert markup not in unescaped
    assert "Sci\\|Fi" in text
    assert len(text.split("probability")[1].strip().splitlines()) == 3  # the end of the header, a rule, one row
    (row,) = render_table(list_genres({"genres": {"<b>": {"f1": 0.5, "support": 3}}})).splitlines()[2:]
    assert row.split()[1] == "\\<b\\>"


def test_labels(tmp_path: Path) -> None:
    numbers = {"confidences": [0.9, 0.1], "calibrated": [0.8, 0.05]}
    row = {"id": "@1", "image": "=1.jpg", "labels": ["-x", "y"], **numbers, "error": "+x"}
    write_csv(pa.Table.from_pylist([row], schema=make_schema()), tmp_path / "labels.csv")
    with (tmp_path / "labels.csv").open(encoding="utf-8", newline="") as file:
        (found,) = csv.DictReader(file)
    assert (found["id"], found["image"], found["labels"], found["error"]) == ("'@1", "'=1.jpg", "'-x|y", "'+x")
    assert (found["confidences"], found["calibrated"]) == ("0.9000|0.1000", "0.8000|0.0500")


def test_label_errors(tmp_path: Path) -> None:
    errors = pd.DataFrame({"imdb_id": [1], "title": [FORMULA], "genre": ["@x"], "given": [True], "probability": [0.5]})
    write_label_errors(errors, tmp_path / "errors.csv")
    with (tmp_path / "errors.csv").open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["title"], row["genre"], row["probability"]) == (f"'{FORMULA}", "'@x", "0.5000")


def test_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    cli._print("not the champion: [red]Drama[/red] :warning: [/x] \x1b[31m")
    cli._print_error("no model '\x1b]0;title\x07'")
    output, errors = capsys.readouterr()
    assert output == "not the champion: [red]Drama[/red] :warning: [/x] \ufffd[31m\n"
    assert errors == "poster-genres: no model '\ufffd]0;title\ufffd'\n"
