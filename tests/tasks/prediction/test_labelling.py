from pathlib import Path

import pytest

from tasks.errors import CatalogError, SettingsError
from tasks.prediction.labelling import list_posters
from tasks.prediction.tables import make_schema


def test_posters_of_a_csv_with_and_without_ids(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("Poster,imdbId,Title\nhttp://x/1.jpg,7,One\n,8,Two\n")
    assert list_posters(str(tmp_path / "a.csv")).to_pylist() == [
        {"id": "7", "image": "http://x/1.jpg", "error": None},
        {"id": "8", "image": "", "error": None},
    ]
    (tmp_path / "b.CSV").write_text("Title,Poster\nOne,p.jpg\n")
    assert list_posters(str(tmp_path / "b.CSV")).to_pylist() == [{"id": None, "image": "p.jpg", "error": None}]


def test_rows_with_a_wrong_number_of_fields_are_posters_with_an_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.csv").write_text("imdbId,Poster\n1,a.jpg\n2\n3,b.jpg\n4,c.jpg,x\n")
    assert list_posters(str(tmp_path / "a.csv")).to_pylist() == [
        {"id": "1", "image": "a.jpg", "error": None},
        {"id": "3", "image": "b.jpg", "error": None},
        {"id": None, "image": "", "error": "wrong number of fields"},
        {"id": None, "image": "", "error": "wrong number of fields"},
    ]
    assert "label: 2 rows have a wrong number of fields, the first: row 3, 5" in caplog.messages


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("Title,Image\nOne,p.jpg\n", CatalogError, "lacks the column Poster: expected Poster, found 'Title,Image'"),
        ("Poster\n\n", SettingsError, "names no poster"),
        ("", CatalogError, "is empty: expected a CSV file with the columns Poster"),
    ],
)
def test_csv_files_without_posters(tmp_path: Path, text: str, error: type[Exception], says: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(error, match=says):
        list_posters(str(tmp_path / "a.csv"))


def test_schema_has_every_output() -> None:
    assert make_schema().names == ["id", "image", "labels", "confidences", "calibrated", "decade", "score", "error"]
