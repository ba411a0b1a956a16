from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.dataset.films import FILMS_SCHEMA, write_films
from tasks.model_folder import ModelFolder
from tasks.registry.verdicts import count_verdicts, write_model_films


def publish(artifacts_dir: Path, model_id: str, **splits: str) -> ModelFolder:
    """Publishes a model of the films 1, 2, 3 ... for a, b, c ..., after those that are there."""
    dataset_films_path = artifacts_dir / "dataset.parquet"
    films = [
        {
            "imdb_id": ord(name) - ord("a") + 1,
            "title": name,
            "year": 0,
            "score": 0.0,
            "sha256": name,
            "split": split,
            "targets": [1, 0],
        }
        for name, split in splits.items()
    ]
    write_films(pd.DataFrame(films), dataset_films_path)
    model = ModelFolder(artifacts_dir / "models" / model_id)
    model.path.mkdir(parents=True)
    write_model_films(dataset_films_path, model.films_path, count_verdicts(artifacts_dir))
    model.write_manifest({"id": model_id})
    return model


def read_counts(model: ModelFolder) -> list[int]:
    counts: list[int] = pq.read_table(model.films_path)["num_verdicts"].to_pylist()
    return counts


def test_each_model_adds_a_verdict_of_its_test_films(tmp_path: Path) -> None:
    assert count_verdicts(tmp_path) == {}
    first = publish(tmp_path, "m1", a="train", b="validation", c="test", d="test")
    assert read_counts(first) == [0, 0, 1, 1]
    # In an outage d is gone, and e has come.
    second = publish(tmp_path, "m2", a="train", c="test", e="test")
    assert read_counts(second) == [0, 2, 1]
    third = publish(tmp_path, "m3", b="validation", c="test", d="test", e="test", f="test")
    assert read_counts(third) == [0, 3, 2, 2, 1]
    assert count_verdicts(tmp_path) == {3: 3, 4: 2, 5: 2, 6: 1}


def test_the_films_are_those_of_the_data_set_with_one_column_more(tmp_path: Path) -> None:
    model = publish(tmp_path, "m1", a="train", c="test")
    table = pq.read_table(model.films_path)
    assert table.schema.equals(FILMS_SCHEMA.append(pa.field("num_verdicts", pa.int32(), nullable=False)))
    assert table.drop_columns("num_verdicts").equals(pq.read_table(tmp_path / "dataset.parquet"))


def test_test_films_of_version_0_1_have_given_one_verdict(tmp_path: Path) -> None:
    model = publish(tmp_path, "m1", a="train", c="test")
    pq.write_table(pq.read_table(model.films_path).drop_columns("num_verdicts"), model.films_path)
    model.write_manifest({"id": "m1"})
    assert count_verdicts(tmp_path) == {3: 1}
    assert read_counts(publish(tmp_path, "m2", a="train", c="test", d="test")) == [0, 2, 1]


def test_a_model_that_was_judged_again_counts_each_time(tmp_path: Path) -> None:
    model = publish(tmp_path, "m1", a="train", c="test")
    model.update_manifest({"gate": {"num_verdicts": 3}})
    assert count_verdicts(tmp_path) == {3: 3}
    assert read_counts(publish(tmp_path, "m2", c="test", d="test")) == [4, 1]
    assert count_verdicts(tmp_path) == {3: 4, 4: 1}


@pytest.mark.parametrize("name", ["films.parquet", "manifest.json"])
def test_a_model_that_can_not_be_read_counts_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    for model_id in ("m1", "m2"):
        model = publish(tmp_path, model_id, c="test")
    (model.path / name).write_bytes(b"{")
    assert count_verdicts(tmp_path) == {3: 1}
    (message,) = caplog.messages
    assert message.removeprefix("registry: ").startswith(("m2: its verdicts are not counted (", "m2 is left out: "))


def test_a_model_without_films_counts_nothing(tmp_path: Path) -> None:
    model = ModelFolder(tmp_path / "models" / "m1")
    model.path.mkdir(parents=True)
    model.write_manifest({"id": "m1"})
    assert count_verdicts(tmp_path) == {}
