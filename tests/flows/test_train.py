import json
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pyarrow.parquet as pq
import pytest
import requests
import tensorflow as tf
from prefect.client.orchestration import get_client
from prefect.client.schemas.sorting import TaskRunSort

from flows.train import train
from tasks.errors import DownloadError
from tasks.registry.manifest import check_files
from tasks.sample.server import serve
from tasks.sample.site import make_site, write_catalog
from tasks.settings import CatalogSettings, EvaluationSettings, Settings

pytestmark = pytest.mark.backbone


def read_json(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def snapshot(*folders: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for folder in folders for path in folder.rglob("*") if path.is_file()}


def test_published_model_is_whole(small_run) -> None:
    folder = small_run.run.published.folder
    manifest = read_json(folder / "manifest.json")
    check_files(folder, manifest)
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == {
        "manifest.json",
        *manifest["files"],
    }
    assert {
        "saved_model/saved_model.pb",
        "classifier.keras",
        "metrics.json",
        "report.md",
        "genres.png",
        "history.png",
        "settings.json",
        "labels.json",
        "versions.json",
    } <= set(manifest["files"])
    assert read_json(small_run.artifacts_dir / "champion.json") == {"id": folder.name}
    assert Settings.model_validate(read_json(folder / "settings.json")).data_dir == small_run.data_dir
    assert manifest["export_check"]["posters"] > 0


def test_counts_of_the_sample(small_run) -> None:
    dropped = read_json(small_run.data_dir / "catalog" / "dropped.json")
    assert {reason: count for reason, count in dropped.items() if count} == {
        "no genre": 2,
        "no poster address": 2,
        "genre Adult": 2,
        "repeated id": 2,
    }
    dataset = read_json(small_run.data_dir / "shards" / "dataset.json")
    assert sum(dataset["num_films"].values()) == 236  # of 240, four addresses are dead
    assert set(dataset["dropped_genres"]) == {"Film-Noir", "Western"}


def test_it_learns_more_than_the_baselines(small_run) -> None:
    metrics = small_run.run.metrics
    assert metrics == read_json(small_run.run.published.folder / "metrics.json")
    assert set(metrics["baselines"]) == {"seed", "seed_bce", "predict_everything"}
    best_baseline = max(scores["macro_f1"] for scores in metrics["baselines"].values())
    # A margin, so that a head that learned no more than the baselines does not pass by luck.
    assert metrics["model"]["macro_f1"] > best_baseline + 0.05


def test_report_says_what_the_metrics_say(small_run) -> None:
    report = (small_run.run.published.folder / "report.md").read_text("utf-8")
    assert f"{small_run.run.metrics['model']['macro_f1']:.3f}" in report
    for genre in small_run.run.metrics["vocabulary"]:
        assert genre in report
    for chart in ("genres.png", "history.png"):
        assert chart in report
        assert (small_run.run.published.folder / chart).read_bytes().startswith(b"\x89PNG")


def test_signatures_agree_with_one_another_and_with_the_keras_file(small_run) -> None:
    folder = small_run.run.published.folder
    signatures = tf.saved_model.load(str(folder / "saved_model")).signatures
    poster = small_run.posters[3].read_bytes()
    pixels = tf.io.decode_jpeg(poster, channels=3)[None]
    answers = [
        signatures["serving_default"](image_bytes=tf.constant([poster])),
        signatures["serving_default"](image_bytes=tf.constant([tf.io.encode_png(pixels[0]).numpy()])),
        signatures["images"](images=tf.cast(pixels, tf.float32)),
        signatures["images"](images=pixels.numpy()),
        signatures["images"](images=pixels.numpy().astype(np.float64)),
        signatures["images_uint8"](images=pixels),
        keras.saving.load_model(folder / "classifier.keras")(tf.image.resize(pixels, (224, 224), antialias=True)),
    ]
    for answer in answers:
        assert answer["labels"].shape == answer["confidences"].shape == (1, 3)
        np.testing.assert_array_equal(answer["labels"], answers[0]["labels"])
        np.testing.assert_allclose(answer["confidences"], answers[0]["confidences"], atol=1e-5)
        assert (np.diff(answer["confidences"]) <= 0).all()
        assert set(answer["labels"].numpy()[0]) <= {genre.encode() for genre in small_run.run.metrics["vocabulary"]}


def test_server_has_named_tasks_and_artifacts(small_run) -> None:
    with get_client(sync_client=True) as client:
        tasks = {run.name.rsplit("-", 1)[0] for run in client.read_task_runs(limit=200, sort=TaskRunSort.NAME_ASC)}
        # Not the client's read_artifacts: Prefect 3.8's sends nulls that its own server refuses.
        found = requests.post(f"{client.api_url}artifacts/latest/filter", json={"limit": 100}, timeout=30)
    assert {"read catalog", "write dataset", "evaluate", "export model", "publish model"} <= tasks
    assert {"download posters part", "embed posters part"} <= tasks
    artifacts = {artifact["key"]: artifact["data"] for artifact in found.json()}
    assert f"{small_run.run.metrics['model']['macro_f1']:.3f}" in artifacts["report"]
    assert len(json.loads(artifacts["metrics"])) == 4
    assert small_run.run.published.id in artifacts["model"]
    rows = {(row["stage"], row["what"]): row["count"] for row in json.loads(artifacts["counts"])}
    assert (rows["posters", "failed: http 404"], rows["posters", "there"]) == (4, 236)


def test_second_run_does_nothing_twice(small_run) -> None:
    work = [small_run.data_dir / stage for stage in ("posters", "shards", "features", "training")]
    before = snapshot(*work)
    leftover = small_run.data_dir / ".shards.0123abcd.partial"
    leftover.mkdir()
    again = small_run.again()
    assert snapshot(*work) == before
    assert not leftover.exists()
    assert again.metrics == small_run.run.metrics
    assert again.published.id != small_run.run.published.id


def test_same_films_and_seed_give_the_same_bytes(small_run, tmp_path: Path) -> None:
    settings = Settings.model_validate(read_json(small_run.run.published.folder / "settings.json"))
    # Nothing but the posters is kept: everything behind them is made anew.
    changes = {
        "data_dir": tmp_path / "data",
        "artifacts_dir": tmp_path / "artifacts",
        "evaluation": EvaluationSettings(baselines=()),
    }
    shutil.copytree(small_run.data_dir / "posters", tmp_path / "data" / "posters")
    with serve(small_run.data_dir / "site", int(settings.catalog.source.split(":")[2].split("/")[0])):
        again = train(settings.model_copy(update=changes))
    for path in (small_run.data_dir / "shards").iterdir():
        assert path.read_bytes() == (tmp_path / "data" / "shards" / path.name).read_bytes(), path.name
    for path in (small_run.data_dir / "features").rglob("*.parquet"):
        made_again = pq.read_table(tmp_path / "data" / "features" / path.parent.name / path.name)
        assert pq.read_table(path).equals(made_again)
    assert again.metrics["model"]["genres"] == small_run.run.metrics["model"]["genres"]


def test_too_few_posters_stops_the_run_with_the_reasons(prefect_server: None, tmp_path: Path) -> None:
    site = tmp_path / "site"
    make_site(site, 60)
    for poster in list((site / "posters").iterdir())[:30]:
        poster.unlink()
    with serve(site) as base_url:
        source = write_catalog(site, base_url)
        settings = Settings(data_dir=tmp_path / "data", catalog=CatalogSettings(source=str(source)))
        with pytest.raises(DownloadError, match=r"only 29 of 60 posters.*\n +31  http 404"):
            train(settings)
    assert not (tmp_path / "data" / "shards").exists()
    assert not (tmp_path / "artifacts").exists()
