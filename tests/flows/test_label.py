import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from flows.label import label
from tasks.errors import LockedError, RegistryError, SettingsError
from tasks.locking import locked
from tasks.prediction import pieces
from tasks.prediction.labelling import Labelled
from tasks.prediction.predictor import Prediction, Predictor
from tasks.prediction.tables import make_schema
from tasks.progress import ProgressState, reporting_to
from tasks.sample.server import serve
from tasks.settings import PosterSettings

LOOPBACK = PosterSettings(allow_private_hosts=("127.0.0.1",))


def predict(folder: Path, images: Sequence[Path]) -> list[Prediction]:
    return Predictor.open(folder).predict([image.read_bytes() for image in images])


@pytest.mark.backbone
def test_predictions_are_those_of_the_saved_model(small_run, signatures) -> None:
    posters = small_run.posters[:20]
    expected = signatures["serving_default"](image_bytes=tf.constant([poster.read_bytes() for poster in posters]))
    predictions = predict(small_run.run.model.path, posters)
    for row, prediction in enumerate(predictions):
        named = [label.decode() for label in expected["labels"][row].numpy() if label]
        assert prediction.labels == named
        for name in ("confidences", "calibrated"):
            np.testing.assert_allclose(getattr(prediction, name), expected[name][row, : len(named)], atol=0.01)


@pytest.mark.backbone
def test_genres_for_a_precision_are_those_over_its_thresholds(small_run, signatures, tmp_path: Path) -> None:
    model, posters = small_run.run.model.path, small_run.posters[:20]
    files = [poster.read_bytes() for poster in posters]
    every = signatures["probabilities"](image_bytes=tf.constant(files))
    genres, probabilities = small_run.run.metrics["vocabulary"], every["calibrated"].numpy()
    described = json.loads((model / "operating_points.json").read_text("utf-8"))
    assert list(described["genres"]) == genres
    # So few films reach no precision; of these thresholds each is between two of the posters.
    thresholds = dict(zip(genres, np.median(probabilities, axis=0).tolist(), strict=True))
    for genre, by_precision in described["genres"].items():
        by_precision["0.8"] = None if genre == genres[0] else {"threshold": thresholds[genre]}
    folder = Path(shutil.copytree(model, tmp_path / "model"))
    (folder / "operating_points.json").write_text(json.dumps(described), "utf-8")
    predictions = Predictor.open(folder, 0.8).predict(files)
    for row, prediction in enumerate(predictions):
        over = {genre for genre, value in zip(genres, probabilities[row], strict=True) if value >= thresholds[genre]}
        assert set(prediction.labels) == over - {genres[0]}
    with pytest.raises(RegistryError, match=r"no thresholds for precision 0.85: expected 0.5, 0.6, 0.7, 0.8, 0.9"):
        Predictor.open(folder, 0.85)

    def label_first(precision: float | None) -> list[str]:
        label(str(posters[0]), tmp_path / "labels", str(folder), small_run.artifacts_dir, precision=precision)
        (row,) = pq.read_table(tmp_path / "labels" / "labels.parquet").to_pylist()
        return list(row["labels"])

    assert label_first(0.8) == predictions[0].labels
    # Without it the decision is another one, which is not taken from the first run's predictions.
    assert label_first(None) == predict(folder, posters[:1])[0].labels != predictions[0].labels


@pytest.mark.backbone
def test_a_prediction_does_not_depend_on_the_others_of_its_batch(small_run) -> None:
    together = predict(small_run.run.model.path, small_run.posters[:40])
    (alone,) = predict(small_run.run.model.path, small_run.posters[33:34])
    assert alone.labels == together[33].labels
    assert alone.confidences == pytest.approx(together[33].confidences, abs=1e-5)
    assert predict(small_run.run.model.path, []) == []


@pytest.mark.backbone
def test_predictions_need_neither_tensorflow_nor_prefect(small_run) -> None:
    folder, poster = small_run.run.model.path, small_run.posters[0]
    script = (
        "import sys\nfrom pathlib import Path\nfrom tasks.prediction.predictor import Predictor\n"
        f"(prediction,) = Predictor.open(Path({str(folder)!r})).predict([Path({str(poster)!r}).read_bytes()])\n"
        "print(prediction.labels[0], sorted({'tensorflow', 'keras', 'prefect', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == f"{predict(folder, [poster])[0].labels[0]} []\n"


@pytest.mark.backbone
def test_a_lite_model_without_column_names_has_genres_alone(small_run, tmp_path: Path) -> None:
    folder, poster = small_run.run.model.path, small_run.posters[0]
    for name in ("labels.json", "settings.json", "decision.json"):
        shutil.copy2(folder / name, tmp_path)
    lite = (folder / "classifier.tflite").read_bytes()
    (tmp_path / "classifier.tflite").write_bytes(lite[: lite.rindex(b"PK\x03\x04")])
    assert predict(tmp_path, [poster]) == predict(folder, [poster])


@pytest.mark.backbone
def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=r"has neither classifier.tflite nor saved_model: publish the model again"):
        Predictor.open(tmp_path)


@pytest.mark.backbone
@pytest.mark.real_posters
def test_real_posters_get_genre_names(small_run, real_posters: Path) -> None:
    images = sorted((real_posters / "posters").iterdir())[:8]
    for prediction in predict(small_run.run.model.path, images):
        assert set(prediction.labels) <= set(small_run.run.metrics["vocabulary"])
        assert all(0 <= confidence <= 1 for confidence in prediction.confidences)


@pytest.mark.backbone
def test_label_writes_a_row_for_every_row(small_run, tmp_path: Path) -> None:
    good = small_run.posters[:3]
    with serve(small_run.data_dir / "site") as base_url:
        images = [str(good[0]), f"{base_url}/posters/{good[1].name}", "", f"{base_url}/posters/none.jpg", str(good[2])]
        rows = "".join(f"{number},{image}\n" for number, image in enumerate(images))
        (tmp_path / "posters.csv").write_text(f"imdbId,Poster\nmalformed\n{rows}")
        output_dir = tmp_path / "labels"
        # Twice: what an earlier run wrote is replaced.
        for _ in range(2):
            source = str(tmp_path / "posters.csv")
            labelled = label(source, output_dir, "champion", small_run.artifacts_dir, LOOPBACK)
    assert (labelled.num_labelled, labelled.errors) == (
        3,
        {"no poster address": 1, "http 404": 1, "wrong number of fields": 1},
    )
    table = pq.read_table(output_dir / "labels.parquet")
    assert table.schema.equals(make_schema())
    *found, malformed = table.to_pylist()
    assert (malformed["id"], malformed["image"], malformed["error"]) == (None, "", "wrong number of fields")
    assert [(row["id"], row["image"]) for row in found] == [(str(number), image) for number, image in enumerate(images)]
    assert [row["error"] for row in found] == [None, None, "no poster address", "http 404", None]
    direct = predict(small_run.run.model.path, good)
    assert [row["labels"] for row in found if not row["error"]] == [prediction.labels for prediction in direct]
    with (output_dir / "labels.csv").open(newline="") as file:
        *lines, last = list(csv.DictReader(file))
    assert (last["labels"], last["error"]) == ("", "wrong number of fields")
    assert [line["labels"] for line in lines] == ["|".join(row["labels"]) for row in found]
    assert [line["error"] for line in lines] == ["", "", "no poster address", "http 404", ""]
    for name in ("confidences", "calibrated"):
        numbers = [float(value) for value in lines[0][name].split("|")]
        assert numbers == pytest.approx(getattr(direct[0], name), abs=1e-4)


@pytest.mark.backbone
def test_label_keeps_other_files(small_run, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(SettingsError, match="has other files"):
        label(str(small_run.posters[0]), tmp_path, "champion", small_run.artifacts_dir)
    with pytest.raises(RegistryError, match="no model 'none'"):
        label(str(small_run.posters[0]), tmp_path / "labels", "none", small_run.artifacts_dir)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.fixture
def addresses(small_run, tmp_path: Path) -> Iterator[Path]:
    """A catalog of thirty addresses of posters, and of one that is not there."""
    with serve(small_run.data_dir / "site") as base_url:
        images = [f"{base_url}/posters/{poster.name}" for poster in small_run.posters[:30]]
        rows = "".join(f"{number},{image}\n" for number, image in enumerate([*images, f"{base_url}/none.jpg"]))
        (tmp_path / "posters.csv").write_text(f"imdbId,Poster\n{rows}")
        yield tmp_path / "posters.csv"


@pytest.mark.backbone
def test_the_next_run_requests_and_predicts_only_what_is_new(
    small_run, addresses: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predicted: list[int] = []
    predict_all = Predictor.predict

    def count(predictor: Predictor, images: Sequence[bytes]) -> list[Prediction]:
        predicted.append(len(images))
        return predict_all(predictor, images)

    def label_all(settings: PosterSettings = LOOPBACK) -> Labelled:
        return label(str(addresses), tmp_path / "labels", "champion", small_run.artifacts_dir, settings)

    monkeypatch.setattr(Predictor, "predict", count)
    states: list[ProgressState] = []
    with reporting_to(states.append):
        assert label_all() == Labelled(tmp_path / "labels", 30, {"http 404": 1})
    assert sum(predicted) == 30
    last = [state for state in states if state.has_ended]
    assert [(state.stage, state.done, state.total) for state in last] == [("posters", 31, 31), ("prediction", 31, 31)]
    assert [state.failures for state in last] == [{"http 404": 1}] * 2
    # No host may be private now, so that any request would fail.
    before = (tmp_path / "labels" / "labels.csv").read_bytes()
    assert label_all(PosterSettings()) == Labelled(tmp_path / "labels", 30, {"http 404": 1})
    assert sum(predicted) == 30
    assert (tmp_path / "labels" / "labels.csv").read_bytes() == before

    with addresses.open("a") as file:
        file.write(f"99,{small_run.posters[40]}\n")
    assert label_all().num_labelled == 31
    assert sum(predicted) == 31


@pytest.mark.backbone
def test_a_label_run_that_fails_half_way_keeps_its_predictions(
    small_run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predicted: list[int] = []
    predict_all = Predictor.predict

    def fail_at_third(predictor: Predictor, images: Sequence[bytes]) -> list[Prediction]:
        predicted.append(len(images))
        if len(predicted) == 3:
            raise OSError(28, "No space left on device")
        return predict_all(predictor, images)

    monkeypatch.setattr(pieces, "_FILES_PER_PIECE", 10)
    monkeypatch.setattr(Predictor, "predict", fail_at_third)
    folder = tmp_path / "posters"
    folder.mkdir()
    for poster in small_run.posters[:35]:
        shutil.copy2(poster, folder)
    with pytest.raises(OSError, match="No space left"):
        label(str(folder), tmp_path / "labels", "champion", small_run.artifacts_dir)
    assert not (tmp_path / "labels" / "labels.parquet").exists()
    labelled = label(str(folder), tmp_path / "labels", "champion", small_run.artifacts_dir)
    assert labelled == Labelled(tmp_path / "labels", 35, {})
    assert predicted == [10, 10, 10, 10, 5]
    # A piece that is damaged is predicted again.
    piece = next((tmp_path / "labels" / "work" / "pieces").glob("files-00001-*"))
    piece.write_bytes(piece.read_bytes()[:-10])
    label(str(folder), tmp_path / "labels", "champion", small_run.artifacts_dir)
    assert predicted[5:] == [10]


@pytest.mark.backbone
def test_one_label_run_at_a_time_in_a_folder(small_run, tmp_path: Path) -> None:
    with (
        locked(tmp_path / "labels", "another label run"),
        pytest.raises(LockedError, match=r"labels is in use by another label run .*: wait until it is done"),
    ):
        label(str(small_run.posters[0]), tmp_path / "labels", "champion", small_run.artifacts_dir)


@pytest.mark.backbone
def test_a_catalog_from_an_address_can_not_name_files(small_run, tmp_path: Path) -> None:
    (tmp_path / "posters.csv").write_text(f"Poster\n{small_run.posters[0]}\n/no/such/file\n")
    with serve(tmp_path) as base_url:
        source = f"{base_url}/posters.csv"
        labelled = label(source, tmp_path / "labels", "champion", small_run.artifacts_dir, LOOPBACK)
    # The same error, whether it is there or not.
    assert labelled == Labelled(tmp_path / "labels", 0, {"address not http(s)": 2})


@pytest.mark.backbone
def test_a_damaged_poster_of_an_earlier_run_is_downloaded_again(small_run, addresses: Path, tmp_path: Path) -> None:
    arguments = (str(addresses), tmp_path / "labels", "champion", small_run.artifacts_dir, LOOPBACK)
    label(*arguments)
    before = (tmp_path / "labels" / "labels.csv").read_bytes()
    (segment,) = (tmp_path / "labels" / "work" / "posters").glob("*.parquet")
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 1
    segment.write_bytes(content)
    shutil.rmtree(tmp_path / "labels" / "work" / "pieces")
    assert label(*arguments).num_labelled == 30
    assert (tmp_path / "labels" / "labels.csv").read_bytes() == before
