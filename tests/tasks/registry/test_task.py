import json
import logging
import platform
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from metrics import make_metrics

from tasks import versions
from tasks.dataset.task import Dataset
from tasks.evaluation.task import Evaluation
from tasks.export.task import Export
from tasks.fingerprints import Inputs
from tasks.model_folder import ModelFolder
from tasks.registry.gate import Check, Verdict
from tasks.registry.models import promote, read_champion_id
from tasks.registry.task import Candidate, find_current_model, list_inputs, publish_model, push, record_verdict
from tasks.registry.verdicts import count_verdicts
from tasks.settings import CatalogSettings, PosterSettings, RegistrySettings, Settings, TrainingSettings

DATASET = Dataset(Path("shards"), ["Comedy", "Drama"], {"train": 9, "validation": 1, "test": 1}, "0123")


SETTINGS = Settings()


def make_inputs(settings: Settings = SETTINGS, dataset: Dataset = DATASET, backbone: str = "wheel") -> Inputs:
    return list_inputs(dataset, backbone, settings)


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        (make_inputs(Settings(seed=1)), "settings.seed 0 -> 1"),
        (make_inputs(Settings(training=TrainingSettings(epochs=5))), "settings.training.epochs 30 -> 5"),
        (make_inputs(dataset=Dataset(Path("shards"), [], {}, "4567")), 'dataset "0123" -> "4567"'),
        (make_inputs(backbone="hub"), 'backbone "wheel" -> "hub"'),
    ],
)
def test_whatever_decides_the_model_is_an_input(changed: Inputs, name: str) -> None:
    assert changed.fingerprint != make_inputs().fingerprint
    assert changed.describe_change(make_inputs().values) == name


def test_what_does_not_decide_the_model_is_not_an_input() -> None:
    elsewhere = Settings(
        data_dir=Path("x"),
        wait_seconds=9,
        posters=PosterSettings(connections=8),
        registry=RegistrySettings(publish_to="s3://models", max_macro_f1_drop=0.5),  # a known model is judged again
    )
    assert make_inputs(elsewhere).fingerprint == make_inputs().fingerprint


def add_model(artifacts_dir: Path, model_id: str, description: dict[str, object]) -> ModelFolder:
    model = ModelFolder(artifacts_dir / "models" / model_id)
    model.path.mkdir(parents=True)
    model.write_manifest({"id": model_id, "format": versions.MODEL, **description})
    return model


def test_the_newest_model_of_equal_inputs_is_current(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert find_current_model(tmp_path, make_inputs()) is None
    assert not caplog.messages
    for model_id in ("m1", "m2"):
        add_model(tmp_path, model_id, make_inputs().as_description())
    newest = add_model(tmp_path, "m3", make_inputs(Settings(seed=1)).as_description())
    found = find_current_model(tmp_path, make_inputs())
    assert found is not None
    assert found.id == "m2"
    assert find_current_model(tmp_path, make_inputs(Settings(seed=1))) == newest
    assert find_current_model(tmp_path, make_inputs(Settings(seed=2))) is None
    assert caplog.messages == [
        "registry: up to date, the inputs of m2 have not changed",
        "registry: up to date, the inputs of m3 have not changed",
        "registry: a new model is made, changed since m3: settings.seed 1 -> 2",
    ]


def test_a_model_of_version_0_1_is_not_current(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    add_model(tmp_path, "m1", {"made_of": make_inputs().fingerprint})
    assert find_current_model(tmp_path, make_inputs()) is None
    assert caplog.messages == ["registry: a new model is made, m1 was published by an earlier version"]


@pytest.mark.parametrize("content", ["", "{}", '{"id": "m2", "files": {}, "inputs": 3}'])
def test_a_model_that_can_not_be_read_stops_no_run(tmp_path: Path, content: str) -> None:
    model = add_model(tmp_path, "m1", make_inputs().as_description())
    (add_model(tmp_path, "m2", {}).path / "manifest.json").write_text(content)
    assert find_current_model(tmp_path, make_inputs()) == model
    assert find_current_model(tmp_path, make_inputs(Settings(seed=1))) is None


def test_a_champion_that_was_not_judged_stays_here_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    target = str(tmp_path / "target")
    push.fn(tmp_path / "none", target)
    for machine in ("first", "second"):
        add_model(tmp_path / machine, machine, {})
        promote(tmp_path / machine, machine, "by hand")
        push.fn(tmp_path / machine, target)
    push.fn(tmp_path / "first", target)
    lines = [record for record in caplog.records if record.name == "tasks.registry.task"]
    assert [record.levelname for record in lines] == ["INFO", "WARNING", "INFO"]
    assert lines[0].message == f"registry: no champion yet to push to {target}"
    assert lines[1].message.startswith("registry: not pushed: second was not compared with first, the champion of")
    assert lines[2].message == f"registry: {target} has the champion already"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", artifacts_dir=tmp_path / "artifacts")


def make_verdict(champion_id: str | None, *, passed: bool) -> Verdict:
    return Verdict((Check("leakage", passed, "none"),), circumstances={"champion": champion_id})


def make_candidate(tmp_path: Path, champion_id: str | None, *, passed: bool) -> Candidate:
    """A candidate that was compared with a champion, its files in folders of the stages."""
    stages = {name: tmp_path / name for name in ("shards", "evaluation", "export")}
    for folder in stages.values():
        folder.mkdir(exist_ok=True)
    pq.write_table(pa.table({"imdb_id": [1], "split": ["test"]}), stages["shards"] / "films.parquet")
    (stages["evaluation"] / "report.md").write_text("# Report\n")
    (stages["export"] / "classifier.keras").write_bytes(b"graph")
    (stages["export"] / "export.json").write_text("{}")
    (stages["export"] / "checksums.json").write_text("{}")
    metrics = {**make_metrics(), "recipe": "seed"}
    return Candidate(
        inputs=make_inputs(),
        dataset=Dataset(stages["shards"], ["Comedy", "Drama"], {}, "0123"),
        features="mobilenet",
        backbone={"source": "wheel", "fingerprint": "4567"},
        evaluation=Evaluation(stages["evaluation"], metrics),
        export=Export(stages["export"], ["genres"], {"posters": 64}),
        verdict=make_verdict(champion_id, passed=passed),
        catalog={"catalog_sha256": "89ab", "corrections_sha256": None},
    )


def test_a_candidate_that_passed_is_published_whole_and_champion(tmp_path: Path, settings: Settings) -> None:
    model = publish_model.fn(make_candidate(tmp_path, None, passed=True), settings)
    assert model.path.parent == settings.artifacts_dir / "models"
    assert read_champion_id(settings.artifacts_dir) == model.id
    manifest = model.verify()
    assert set(manifest["files"]) == {
        "MODEL_CARD.md",
        "classifier.keras",
        "films.parquet",
        "labels.json",
        "report.md",
        "settings.json",
        "versions.json",
    }
    assert (manifest["id"], manifest["format"], manifest["recipe"], manifest["macro_f1"]) == (model.id, 1, "seed", 0.46)
    assert (
        (manifest["genres"], manifest["features"])
        == (model.genres, model.features)
        == (["Comedy", "Drama"], "mobilenet")
    )
    assert manifest["gate"]["made_champion"]
    assert f"name: {model.id}\n" in model.card_path.read_text("utf-8")
    assert count_verdicts(settings.artifacts_dir) == {1: 1}
    assert manifest["provenance"]["catalog_sha256"] == "89ab"
    assert manifest["provenance"]["corrections_sha256"] is None
    assert manifest["inputs_fingerprint"] == make_inputs().fingerprint
    assert Settings.model_validate(json.loads(model.settings_path.read_text())) == settings
    assert find_current_model(settings.artifacts_dir, make_inputs()) == model
    versions_of = json.loads(model.versions_path.read_text())
    assert (versions_of["python"], versions_of["keras"]) == (platform.python_version(), version("keras"))


def test_the_signature_of_an_address_is_not_published(tmp_path: Path, settings: Settings) -> None:
    signed = settings.model_copy(update={"catalog": CatalogSettings(source="https://host/a.csv?signature=secret")})
    model = publish_model.fn(make_candidate(tmp_path, None, passed=True), signed)
    assert "secret" not in model.settings_path.read_text()
    assert Settings.model_validate(json.loads(model.settings_path.read_text())).catalog.source.startswith(
        "https://host/a"
    )


def test_a_candidate_that_did_not_pass_is_published_only(tmp_path: Path, settings: Settings) -> None:
    model = publish_model.fn(make_candidate(tmp_path, None, passed=False), settings)
    assert model.is_published
    assert model.gate_reasons == "leakage: none"
    assert read_champion_id(settings.artifacts_dir) is None


@pytest.mark.parametrize("compared_with", [None, "m1"])
def test_a_champion_that_it_was_not_compared_with_stays(
    tmp_path: Path, settings: Settings, compared_with: str | None
) -> None:
    for model_id in ("m1", "m2"):
        add_model(settings.artifacts_dir, model_id, {})
    promote(settings.artifacts_dir, "m2", "by hand")
    model = publish_model.fn(make_candidate(tmp_path, compared_with, passed=True), settings)
    assert read_champion_id(settings.artifacts_dir) == "m2"
    assert model.gate_reasons == (
        f"compared with {compared_with}, but the champion is now m2: the next run judges it again"
    )
    assert model.read_manifest()["gate"]["made_champion"] is False
    promote(settings.artifacts_dir, model.id, "by hand")


def test_the_champion_that_it_was_compared_with_is_followed(tmp_path: Path, settings: Settings) -> None:
    add_model(settings.artifacts_dir, "m1", {})
    promote(settings.artifacts_dir, "m1", "by hand")
    model = publish_model.fn(make_candidate(tmp_path, "m1", passed=True), settings)
    assert read_champion_id(settings.artifacts_dir) == model.id


def test_a_new_verdict_is_recorded(tmp_path: Path, settings: Settings) -> None:
    """The model's files stay as they are; it becomes champion if it passed now."""
    model = publish_model.fn(make_candidate(tmp_path, None, passed=False), settings)
    files = model.verify()["files"]
    record_verdict.fn(model, make_verdict(None, passed=False), settings.artifacts_dir)
    assert read_champion_id(settings.artifacts_dir) is None
    record_verdict.fn(model, make_verdict(None, passed=True), settings.artifacts_dir)
    assert read_champion_id(settings.artifacts_dir) == model.id
    manifest = model.verify()
    assert manifest["files"] == files
    assert manifest["gate"]["made_champion"]
    assert manifest["gate"]["circumstances"] == {"champion": None}


def test_a_new_verdict_beside_another_champion_than_the_present_one(tmp_path: Path, settings: Settings) -> None:
    add_model(settings.artifacts_dir, "m1", {})
    model = publish_model.fn(make_candidate(tmp_path, None, passed=False), settings)
    promote(settings.artifacts_dir, "m1", "by hand")
    record_verdict.fn(model, make_verdict("m0", passed=True), settings.artifacts_dir)
    assert read_champion_id(settings.artifacts_dir) == "m1"
    assert "but the champion is now m1" in model.read_manifest()["gate"]["reasons"]
