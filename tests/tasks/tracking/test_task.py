"""The logs of a model of known films, features and posters."""

import io
import json
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from event_logs import read_embedding, read_values
from ledger_rows import make_row, write_ledger
from PIL import Image
from small_dataset import write_small_dataset, write_small_features

from tasks.dataset.task import Dataset
from tasks.evaluation.predictions import write_predictions
from tasks.model_folder import ModelFolder
from tasks.outputs.genres import GenresOutput
from tasks.settings import TrainingSettings
from tasks.tracking import projector
from tasks.tracking.task import write_logs
from tasks.training.embedding import embed_pieces, make_embed
from tasks.training.examples import read_examples
from tasks.training.fitting import write_tensorboard
from tasks.training.head import build_head
from tasks.training.task import TrainedHead

NUM_FILMS = 32
TEST_FILMS = [12, 13, 14, 15, 28, 29, 30, 31]


@dataclass(frozen=True)
class Work:
    folder: Path
    dataset: Dataset
    trained: TrainedHead
    model: ModelFolder

    def write_logs(self, *, with_posters: bool) -> Path:
        folder = self.folder / "tensorboard"
        return write_logs.fn(
            self.model, self.dataset, self.trained, self.folder / "posters", folder, with_posters=with_posters
        )


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    folder = tmp_path_factory.mktemp("tracked")
    dataset = write_small_dataset(folder / "shards", NUM_FILMS)
    features = write_small_features(dataset, folder / "features", NUM_FILMS)
    settings = TrainingSettings(hidden_units=8)
    output = GenresOutput(dataset.genres)
    head_folder = folder / "head"
    head = build_head([output], settings, read_examples(dataset, features, "test").features.num_columns, None, seed=0)
    write_tensorboard(pd.DataFrame({"epoch": [1], "f1/a": [0.5], "val_f1/a": [0.25]}), head_folder / "tensorboard")
    head.save(head_folder / "head.keras")
    trained = TrainedHead(head_folder, features, settings, 1, [output], 3, 3, 0.5, 1.0)
    model = ModelFolder(folder / "20260601-120000-0123ab")
    model.path.mkdir()
    scores = dict.fromkeys(("f1", "precision", "recall", "threshold", "calibration_error"), 0.5)
    metrics = {"macro_f1": 0.5, "micro_f1": 0.5, "genres": dict.fromkeys(dataset.genres, scores)}
    model.metrics_path.write_text(json.dumps({"vocabulary": dataset.genres, "model": metrics}))
    targets = np.array([[film % 2, film // 2 % 2] for film in TEST_FILMS], np.uint8)
    write_predictions(model.predictions_path, TEST_FILMS, targets, targets[:, ::-1] == 1, targets * np.float32(0.5))
    rows = []
    for film in range(NUM_FILMS):
        file = io.BytesIO()
        Image.new("RGB", (64, 96), (film * 8, 0, 0)).save(file, "PNG")
        rows.append(make_row(film, file.getvalue()))
    write_ledger(folder / "posters", rows)
    return Work(folder, dataset, trained, model)


def test_a_model_has_three_runs(work: Work) -> None:
    folder = work.write_logs(with_posters=True)
    assert folder == work.folder / "tensorboard" / work.model.id
    found = {split: read_values(folder / split, "scalars")["f1/a"] for split in ("train", "validation", "test")}
    steps_and_values = {split: [(step, float(value)) for step, value in values] for split, values in found.items()}
    assert steps_and_values == {"train": [(1, 0.5)], "validation": [(1, 0.25)], "test": [(3, 0.5)]}
    assert sorted(read_values(folder / "test", "pr_curves")) == ["a/pr_curves", "b/pr_curves"]
    assert [path.name for path in folder.parent.iterdir()] == [work.model.id]


def test_the_projector_shows_the_test_films(work: Work) -> None:
    folder = work.write_logs(with_posters=True) / "test"
    embedding = read_embedding(folder)
    test = read_examples(work.dataset, work.trained.features_folder, "test")
    expected = np.concatenate(
        list(embed_pieces(make_embed(keras.saving.load_model(work.trained.head_path)), test.features))
    )
    np.testing.assert_allclose(np.loadtxt(folder / embedding.tensor_path, delimiter="\t"), expected, atol=1e-4)
    films = pd.read_csv(folder / embedding.metadata_path, sep="\t", dtype=str, keep_default_na=False)
    assert films.to_dict("records")[:3] == [
        {"title": "Film 12", "year": "1997", "first genre": "", "genres": "", "predicted": ""},
        {"title": "Film 13", "year": "1998", "first genre": "a", "genres": "a", "predicted": "b"},
        {"title": "Film 14", "year": "1999", "first genre": "b", "genres": "b", "predicted": "a"},
    ]
    with Image.open(folder / embedding.sprite.image_path) as sprite:
        side = embedding.sprite.single_image_dim[0]
        reds = [sprite.getpixel((int((n % 3 + 0.5) * side), int((n // 3 + 0.5) * side)))[0] for n in range(8)]
    np.testing.assert_allclose(reds, [film * 8 for film in TEST_FILMS], atol=3)


def test_more_films_are_thinned_out_and_posters_can_be_left_out(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projector, "MAX_FILMS", 3)
    folder = work.write_logs(with_posters=False) / "test"
    embedding = read_embedding(folder)
    assert embedding.tensor_shape[0] == 3
    assert not embedding.HasField("sprite")
    films = pd.read_csv(folder / embedding.metadata_path, sep="\t")
    assert films["title"].tolist() == ["Film 12", "Film 15", "Film 31"]
    assert not (folder / "sprite.jpg").exists()


def test_nothing_is_left_of_logs_that_could_not_be_written(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    folder = work.write_logs(with_posters=False)
    before = sorted(folder.rglob("*"))
    monkeypatch.setattr(tf.summary, "scalar", fail)
    with pytest.raises(OSError, match="No space left"):
        work.write_logs(with_posters=True)
    assert sorted(folder.rglob("*")) == before
    assert [path.name for path in folder.parent.iterdir()] == [work.model.id]
