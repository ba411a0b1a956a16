import pickle
from collections import Counter
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pytest
from ledger_rows import make_row, write_ledger
from PIL import Image

from tasks import work_report
from tasks.errors import SettingsError
from tasks.model_folder import ModelFolder
from tasks.posters import segments
from tasks.prediction.pieces import PiecePlan, count_reasons, plan_files, plan_parts, read_piece, write_piece
from tasks.prediction.predictor import Prediction, Predictor
from tasks.prediction.predictors import CountedPredictor, PredictorKey

KEY = PredictorKey(Path("/model"), "0123", None)


class SizePredictor(Predictor):
    """Names images by their number of bytes."""

    def predict(self, images: Sequence[bytes]) -> list[Prediction]:
        return [Prediction([str(len(image))], [1.0], [1.0]) for image in images]


PREDICTOR = SizePredictor(ModelFolder(Path("/model")))


def draw(size: int) -> bytes:
    content = BytesIO()
    Image.new("RGB", (size, size)).save(content, "PNG")
    return content.getvalue()


def plan_some(tmp_path: Path, num_parts: int = 2) -> list[PiecePlan]:
    """Returns the plans of the films 0 to 5 in a ledger, of which the last has no poster."""
    contents = [*(draw(50 + number) for number in range(5)), None]
    urls = [f"http://x/{number}.jpg" for number in range(6)]
    rows = [make_row(number, content, url) for number, (content, url) in enumerate(zip(contents, urls, strict=True))]
    write_ledger(tmp_path / "posters", rows, num_parts)
    # The order of the catalog is another than that of the ids.
    films = pa.table({"imdb_id": range(6), "poster_url": urls}).take(pa.array([5, 4, 3, 2, 1, 0]))
    return list(plan_parts(tmp_path / "posters", films, tmp_path / "pieces", KEY))


def test_a_piece_is_a_part_of_the_downloaded_posters(tmp_path: Path) -> None:
    plans = plan_some(tmp_path)
    images = [image for plan in plans for image in plan.source.images]
    assert sorted(images) == [f"http://x/{number}.jpg" for number in range(5)]
    assert sum(plan.size for plan in plans) == 5
    for plan in plans:
        # A worker gets a copy.
        copy = pickle.loads(pickle.dumps(plan))
        assert write_piece(copy, CountedPredictor(PREDICTOR)).reasons == {"": plan.size}
        rows = read_piece(plan.path)
        assert rows is not None
        sizes = [len(draw(50 + int(Path(image).stem))) for image in plan.source.images]
        assert [(row["image"], row["labels"]) for row in rows.to_pylist()] == [
            (image, [str(size)]) for image, size in zip(plan.source.images, sizes, strict=True)
        ]
    assert [plan.path for plan in plan_some(tmp_path)] == [plan.path for plan in plans]


def test_another_model_precision_or_image_is_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.png").write_bytes(draw(50))
    files = [str(tmp_path / "a.png"), ""]

    def name(files: Sequence[str], key: PredictorKey) -> str:
        (plan,) = plan_files(files, tmp_path / "pieces", key)
        return plan.path.name

    names = [
        name(files, KEY),
        name(files[:1], KEY),
        name(files, PredictorKey(Path("/model"), "4567", None)),
        name(files, PredictorKey(Path("/model"), "0123", 0.8)),
    ]
    (tmp_path / "a.png").write_bytes(draw(60))
    assert len({*names, name(files, KEY)}) == 5
    # The model's place, other processes, and what is new in the working directory change nothing.
    before = name(files, KEY)
    (tmp_path / "new").touch()
    assert name(files, PredictorKey(Path("/copy"), "0123", None, 4)) == before


def test_files_are_read_from_where_the_run_was_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.png").write_bytes(draw(50))
    files = ["a.png", "none.png", "", "\0"]
    (plan,) = plan_files(files, tmp_path / "pieces", KEY)
    (tmp_path / "worker").mkdir()
    monkeypatch.chdir("worker")
    expected = {"": 1, "No such file or directory": 1, "no poster address": 1, "no path": 1}
    assert write_piece(plan, CountedPredictor(PREDICTOR)).reasons == expected
    rows = read_piece(plan.path)
    assert rows is not None
    assert rows["image"].to_pylist() == files
    assert count_reasons(rows) == expected


def test_files_that_a_worker_does_not_have_are_one_line(tmp_path: Path) -> None:
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in files:
        path.write_bytes(draw(50))
    (plan,) = plan_files([str(path) for path in files], tmp_path / "pieces", KEY)
    files[0].unlink()
    missing = {"": 1, "No such file or directory": 1}
    assert write_piece(plan, CountedPredictor(PREDICTOR)).reasons == missing
    plan.path.unlink()
    files[1].unlink()
    with pytest.raises(SettingsError, match=r"the 2 local images from .*a.png on are gone, or not on the worker's"):
        write_piece(plan, CountedPredictor(PREDICTOR))
    assert not plan.path.exists()


def test_images_are_counted_as_they_are_done_or_by_the_run(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(draw(50))
    (plan,) = plan_files([str(tmp_path / "a.png"), ""], tmp_path / "pieces", KEY)
    counts: list[Counter[str]] = []
    counted = CountedPredictor(PREDICTOR, lambda reasons: counts.append(Counter(reasons)))
    assert write_piece(plan, counted).reasons == {}
    assert counts == [{"": 1}, {"no poster address": 1}]
    # A worker had written it before it died.
    assert write_piece(plan, CountedPredictor(Predictor(ModelFolder(tmp_path)))).reasons == {
        "": 1,
        "no poster address": 1,
    }


def test_posters_that_are_lost_meanwhile_are_to_be_downloaded_again(tmp_path: Path) -> None:
    (plan,) = plan_some(tmp_path, num_parts=1)
    (segment,) = (tmp_path / "posters").glob("*.parquet")
    segment.unlink()
    damage = write_piece(plan, CountedPredictor(PREDICTOR)).damage
    assert damage.endswith("has lost 5 posters of part 0: run again, to download them")
    assert not plan.path.exists()
    assert not segments.Part(tmp_path / "posters", 0, 1).segments()


def test_a_run_that_has_ended_gets_no_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (plan,) = plan_some(tmp_path, num_parts=1)
    monkeypatch.setattr(work_report, "_is_wanted", lambda: False)
    with pytest.raises(InterruptedError):
        write_piece(plan, CountedPredictor(PREDICTOR))
    assert not plan.path.exists()
