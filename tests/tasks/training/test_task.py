import random
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.dataset.task import INDEX, Dataset
from tasks.features.backbone import Backbone, tap_network
from tasks.features.cache import append_features
from tasks.features.cutting import build_tail
from tasks.settings import HeadSettings, TrainingSettings
from tasks.training.task import fine_tune_head, train_head

SETTINGS = TrainingSettings(epochs=2, hidden_units=8, batch_size=8, fine_tune=2, fine_tune_learning_rate=1e-5)
NUM_FILMS = 48


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    films = [
        {
            "imdb_id": number,
            "title": "T",
            "year": 1985 + number,
            "score": 6.0,
            "sha256": str(number),
            "split": ("train", "train", "validation", "test")[number % 4],
            "targets": [number % 2, number // 2 % 2],
        }
        for number in range(NUM_FILMS)
    ]
    pq.write_table(pa.Table.from_pylist(films, schema=INDEX), tmp_path / "films.parquet")
    return Dataset(tmp_path, ["a", "b"], {}, "fingerprint")


@pytest.mark.backbone
def test_tuning_again_gives_the_same_and_other_taps_another(
    dataset: Dataset, backbone: Backbone, tmp_path: Path
) -> None:
    rows = np.random.default_rng(0).normal(size=(NUM_FILMS, 7 * 7 * 160 + 576)).astype(np.float32)
    hashes = [str(number) for number in range(NUM_FILMS)]
    append_features(tmp_path / "rows" / "part-00000.parquet", hashes, rows)
    append_features(tmp_path / "features" / "part-00000.parquet", hashes, np.asarray(build_tail(backbone)(rows)))
    heads = HeadSettings(decade=0.1)
    trained = train_head.fn(dataset, tmp_path / "features", tmp_path / "training", SETTINGS, 0, heads)
    assert trained.settings.fine_tune == 0
    assert trained.decades == [1980, 1990, 2000, 2010, 2020, 2030]
    tuned = []
    for number in (1, 2):
        random.seed(number)  # from which a dropout layer without a seed would draw its own
        folder = tmp_path / f"tuned-{number}"
        tuned.append(fine_tune_head.fn(dataset, tmp_path / "rows", folder, trained, backbone, SETTINGS, 0))
    first, second = tuned
    assert first.folder.name == second.folder.name
    assert first.backbone_path.read_bytes() == second.backbone_path.read_bytes()
    weights = [keras.saving.load_model(head.head_path).get_weights() for head in tuned]
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)
    assert (first.settings, first.heads, first.decades) == (SETTINGS, heads, trained.decades)
    assert first.epochs_run == trained.epochs_run + 2
    assert not list((tmp_path / "rows").glob("gathered-*"))

    taps = backbone.taps[::-1]
    other_order = replace(backbone, taps=taps, tapped=tap_network(backbone.network, taps))
    another = fine_tune_head.fn(dataset, tmp_path / "rows", tmp_path / "tuned-1", trained, other_order, SETTINGS, 0)
    assert another.folder.name != first.folder.name


def test_what_tuning_alone_reads_does_not_change_the_head() -> None:
    assert SETTINGS.without_tuning == TrainingSettings(epochs=2, hidden_units=8, batch_size=8)
    assert SETTINGS.without_tuning.without_tuning == SETTINGS.without_tuning
