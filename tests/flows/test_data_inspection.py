import re
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from called import call_main
from PIL import Image

pytestmark = pytest.mark.backbone


@pytest.fixture
def data_dir(small_run, tmp_path: Path) -> Path:
    """The folders of the small run that are looked at, to be changed."""
    for name in ("catalog", "posters", "shards"):
        shutil.copytree(small_run.data_dir / name, tmp_path / "data" / name)
    return tmp_path / "data"


def inspect(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[object, str, str]:
    return call_main(capsys, "inspect", "data", *arguments)


def test_counts_and_contact_sheet(
    small_run, data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, shown, errors = inspect(capsys, "--set", f"data_dir={data_dir}")
    assert (code, errors) == (0, "")
    for genre in small_run.run.metrics["vocabulary"]:
        assert f"│ {genre}" in shown
    # 240 films of the sample, of which four posters are missing; the data set has the rest.
    assert re.search(r"downloaded +│ +236 │ 98.3%", shown)
    assert re.search(r"films of the catalog +│ +240 │", shown)
    assert re.search(r"all films +│ +236 │ 80.1% │ +9.7% │ 10.2% │", shown)
    assert re.search(r"posters in several splits +│ 0 ", shown)
    path = data_dir / "inspection" / "contact-sheet.png"
    assert f"contact sheet   {path}\n" in shown
    # Again, elsewhere: the same picture.
    assert inspect(capsys, "--set", f"data_dir={data_dir}", "--to", tmp_path / "there")[0] == 0
    assert (tmp_path / "there" / "contact-sheet.png").read_bytes() == path.read_bytes()
    with Image.open(path) as sheet:
        assert sheet.height == 8 + 188 * len(small_run.run.metrics["vocabulary"])


def test_without_thumbnails_there_is_no_contact_sheet(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assignments = ("--set", f"data_dir={data_dir}", "--set", "evaluation.thumbnails=false")
    code, shown, _ = inspect(capsys, *assignments)
    assert code == 0
    assert shown.endswith("contact sheet   none: evaluation.thumbnails is false\n")
    assert not (data_dir / "inspection").exists()


def test_posters_that_cross_splits_are_an_error(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    films = pq.read_table(data_dir / "shards" / "films.parquet")
    rows = films.to_pylist()
    one, other = (next(row for row in rows if row["split"] == split) for split in ("train", "test"))
    other["sha256"] = one["sha256"]
    pq.write_table(pa.Table.from_pylist(rows, schema=films.schema), data_dir / "shards" / "films.parquet")
    code, shown, errors = inspect(capsys, "--set", f"data_dir={data_dir}", "--set", "evaluation.thumbnails=false")
    assert code == 1
    assert re.search(r"posters in several splits +│ 1 ", shown)
    assert "posters are in several splits" in errors


def test_without_a_data_set_the_posters_are_counted(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(data_dir / "shards")
    code, shown, _ = inspect(capsys, "--set", f"data_dir={data_dir}")
    assert code == 0
    assert "downloaded" in shown
    assert "none: there is no data set yet" in shown


def test_damaged_posters_are_said_in_one_line(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (data_dir / "posters").glob("*.parquet"):
        content = bytearray(path.read_bytes())
        content[len(content) // 3 : len(content) // 3 + 4000] = bytes(4000)
        path.write_bytes(content)
    code, _, errors = inspect(capsys, "--set", f"data_dir={data_dir}")
    assert code == 1
    assert "run again to download the rest" in errors


def test_a_folder_without_data_stays_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, shown, errors = inspect(capsys, "--set", f"data_dir={tmp_path / 'none'}")
    assert (code, shown) == (2, "")
    assert errors.startswith(f"poster-genres: no folder {tmp_path / 'none'}: expected the data_dir of earlier runs")
    assert list(tmp_path.iterdir()) == []
    code, _, errors = inspect(capsys, "--set", f"data_dir={tmp_path}")
    assert (code, errors.count("\n")) == (2, 1)
    assert f"no catalog in {tmp_path}" in errors
