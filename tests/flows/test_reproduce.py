"""A published model is made again, and compared with the published one."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.cli import main
from flows.reproduce import _locate, _read_settings, reproduce
from tasks.dataset.task import Dataset
from tasks.errors import ReproductionError
from tasks.features.image_size import NUM_FEATURES
from tasks.features.joining import join_features
from tasks.model_folder import ModelFolder
from tasks.settings import Settings
from tasks.training.head import HIDDEN

pytestmark = pytest.mark.backbone


@pytest.fixture
def model(small_run, tmp_path: Path) -> ModelFolder:
    """A copy of the model, to be changed."""
    return ModelFolder(Path(shutil.copytree(small_run.run.model.path, tmp_path / "model")))


def list_files(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def data_dir(small_run, tmp_path: Path) -> Path:
    """A copy of the data, to be changed."""
    return Path(shutil.copytree(small_run.data_dir, tmp_path / "data"))


@pytest.fixture
def kept_features(small_run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Features are copied, which takes less time than their extraction."""

    def copy(dataset: Dataset, films: pd.DataFrame, settings: Settings, scratch: Path) -> tuple[Path, int]:
        name = small_run.run.model.features
        folder = Path(shutil.copytree(small_run.data_dir / "features" / name, scratch / "features" / name))
        join_features(dataset, folder)
        return folder, NUM_FEATURES

    monkeypatch.setattr("flows.reproduce._extract_features", copy)


def change_catalog(data_dir: Path, change: Callable[[list[dict[str, Any]]], object]) -> None:
    path = data_dir / "catalog" / "films.parquet"
    catalog = pq.read_table(path)
    rows = catalog.to_pylist()
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows, catalog.schema), path)


def forget_catalog(data_dir: Path) -> None:
    (data_dir / "catalog" / "dropped.json").write_text('{"sha256": "0123"}')


def run_command(model: ModelFolder, data_dir: Path) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["reproduce", str(model.path), "--data", str(data_dir)])
    return int(ended.value.code or 0)


def read_lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Returns what was printed, but for a change of the tests' own checkout."""
    return [line for line in capsys.readouterr().out.splitlines() if not line.startswith("changed since: git")]


def test_equal_though_the_catalog_has_grown(
    small_run, model: ModelFolder, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change_catalog(data_dir, lambda rows: rows.insert(0, {**rows[0], "imdb_id": 1}))
    forget_catalog(data_dir)
    before = list_files(data_dir), list_files(model.path)
    assert run_command(model, data_dir) == 0
    films, *stages, last = [line.split(maxsplit=2) for line in read_lines(capsys)]
    assert films[:2] == ["data", "set"]
    assert films[2].startswith("equal     236 films (")
    assert [stage[:2] for stage in stages] == [
        [stage, "equal"] for stage in ("features", "weights", "predictions", "figures")
    ]
    assert stages[0][2] == "232 of 232 images compared"
    assert stages[2][2] == "24 test films"
    assert last[1:] == ["is", "reproduced: equal in everything that was compared"]
    # Nothing was written, and nothing is left.
    assert (list_files(data_dir), list_files(model.path)) == before
    assert not list(data_dir.glob(".reproduction*"))


def test_other_corrections_make_another_catalog(model: ModelFolder, data_dir: Path) -> None:
    path = data_dir / "catalog" / "dropped.json"
    read = json.loads(path.read_text("utf-8"))
    settings = Settings(data_dir=data_dir)
    assert _locate(model, settings).same_catalog
    path.write_text(json.dumps({**read, "corrections_sha256": "0123"}), "utf-8")
    assert not _locate(model, settings).same_catalog


def test_another_seed_gives_other_weights(model: ModelFolder, kept_features: None) -> None:
    settings = json.loads(model.settings_path.read_text("utf-8"))
    model.settings_path.write_text(json.dumps({**settings, "seed": 1}), "utf-8")
    found = reproduce(model)
    assert [comparison.equal for comparison in found.comparisons] == [True, True, False, False, False]
    assert found.comparisons[2].found.startswith("first hidden/kernel, the largest difference is ")
    assert "settings.json is not the file of the manifest" in found.circumstances


def test_an_altered_weight_is_named(model: ModelFolder, kept_features: None) -> None:
    head = keras.saving.load_model(model.head_path)
    bias = head.get_layer(HIDDEN).bias.numpy()
    head.get_layer(HIDDEN).bias.assign(bias + 0.5 * (np.arange(len(bias)) == 3))
    head.save(model.head_path)
    found = reproduce(model)
    # The figures are those of the head that was made again.
    assert [comparison.equal for comparison in found.comparisons] == [True, True, False, False, True]
    assert found.comparisons[2].found == "first hidden/bias, the largest difference is 0.5"
    assert "head.keras is not the file of the manifest" in found.circumstances
    model.head_path.write_bytes(b"PK")
    with pytest.raises(ReproductionError, match=r"head.keras can't be read"):
        reproduce(model)


def test_a_moved_film_is_a_difference(
    small_run, model: ModelFolder, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (path,) = (data_dir / "splits").iterdir()
    splits = pd.read_parquet(path)
    splits.loc[splits["split"] == "test", "split"] = "validation"
    splits.to_parquet(path)
    assert run_command(model, data_dir) == 1
    first, last = read_lines(capsys)
    assert re.fullmatch(r"data set +differs +24 films, first \d+: its split is validation, expected test", first)
    assert last == "model is not reproduced: the first difference is in the data set"


def test_what_is_gone_is_named(model: ModelFolder, data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change_catalog(data_dir, lambda rows: rows.pop(0))
    assert run_command(model, data_dir) == 2
    assert "1 of 236 films are no longer in the catalog, 100000 first" in capsys.readouterr().err
    with pytest.raises(ReproductionError, match="no catalog in nowhere: expected the data of earlier runs"):
        reproduce(model, Path("nowhere"))


def test_another_run_in_the_folder_is_no_difference(model: ModelFolder, data_dir: Path, hold_lock) -> None:
    with hold_lock(data_dir, "another run"):
        assert run_command(model, data_dir) == 2


def test_models_of_other_versions_are_refused(model: ModelFolder) -> None:
    settings = json.loads(model.settings_path.read_text("utf-8"))
    model.settings_path.write_text(json.dumps({**settings, "colour": "red"}), "utf-8")
    with pytest.raises(ReproductionError, match=r"settings.json is not of this version"):
        reproduce(model)
    manifest = model.read_manifest()
    del manifest["provenance"]
    model.manifest_path.write_text(json.dumps(manifest), "utf-8")
    with pytest.raises(ReproductionError, match="model was published by an earlier version"):
        reproduce(model)


def test_what_the_settings_of_an_earlier_version_lack_is_what_it_did(model: ModelFolder) -> None:
    settings = json.loads(model.settings_path.read_text("utf-8"))
    expected = Settings.model_validate(settings)
    assert expected.training.recipe == "fast"
    later = {"features": ["image_size", "views"], "export": ["views"], "training": ["views", "num_heads"]}
    for group, names in later.items():
        for name in names:
            del settings[group][name]
    settings["training"]["recipe"] = "default"
    model.settings_path.write_text(json.dumps(settings), "utf-8")
    assert _read_settings(model).features == expected.features
    assert _read_settings(model).export == expected.export
    assert _read_settings(model).training.model_copy(update={"recipe": "fast"}) == expected.training
