import csv
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from flows.label import label
from tasks.errors import RegistryError, SettingsError
from tasks.prediction.labelling import make_schema
from tasks.prediction.predictor import Prediction, Predictor
from tasks.sample.server import serve


def predict(folder: Path, images: Sequence[Path]) -> list[Prediction]:
    return Predictor.open(folder).predict([image.read_bytes() for image in images])


@pytest.mark.backbone
def test_predictions_are_those_of_the_saved_model(small_run) -> None:
    posters = small_run.posters[:20]
    folder = small_run.run.model.path
    signature = tf.saved_model.load(str(folder / "saved_model")).signatures["serving_default"]
    expected = signature(image_bytes=tf.constant([poster.read_bytes() for poster in posters]))
    predictions = predict(folder, posters)
    np.testing.assert_allclose(
        [prediction.confidences for prediction in predictions], expected["confidences"], atol=0.01
    )
    first = [labels[0].decode() for labels in expected["labels"].numpy()]
    assert [prediction.labels[0] for prediction in predictions] == first


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
    for name in ("labels.json", "settings.json"):
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
        (tmp_path / "posters.csv").write_text(f"imdbId,Poster\n{rows}")
        output_dir = tmp_path / "labels"
        # Twice: what an earlier run wrote is replaced.
        for _ in range(2):
            labelled = label(str(tmp_path / "posters.csv"), output_dir, "champion", small_run.artifacts_dir)
    assert (labelled.num_labelled, labelled.errors) == (3, {"no poster address": 1, "http 404": 1})
    table = pq.read_table(output_dir / "labels.parquet")
    assert table.schema.equals(make_schema())
    found = table.to_pylist()
    assert [(row["id"], row["image"]) for row in found] == [(str(number), image) for number, image in enumerate(images)]
    assert [row["error"] for row in found] == [None, None, "no poster address", "http 404", None]
    direct = predict(small_run.run.model.path, good)
    assert [row["labels"] for row in found if not row["error"]] == [prediction.labels for prediction in direct]
    with (output_dir / "labels.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["labels"] for line in lines] == ["|".join(row["labels"]) for row in found]
    assert [line["error"] for line in lines] == ["", "", "no poster address", "http 404", ""]
    assert [float(value) for value in lines[0]["confidences"].split("|")] == pytest.approx(
        direct[0].confidences, abs=1e-4
    )


@pytest.mark.backbone
def test_label_keeps_other_files(small_run, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(SettingsError, match="has other files"):
        label(str(small_run.posters[0]), tmp_path, "champion", small_run.artifacts_dir)
    with pytest.raises(RegistryError, match="no model 'none'"):
        label(str(small_run.posters[0]), tmp_path / "labels", "none", small_run.artifacts_dir)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
