import json
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from event_logs import read_embedding, read_values
from PIL import Image
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterKey,
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterId,
)
from prefect.client.schemas.sorting import ArtifactSort, FlowRunSort, TaskRunSort
from scipy.special import logit
from sklearn.metrics import f1_score

from flows.train import train
from tasks.errors import CatalogError, DownloadError, LockedError, RegistryError, SettingsError
from tasks.export import onnx_file
from tasks.export.checking import serve_in_clean_process
from tasks.features.preprocessing import prepare_posters, resize_pixels
from tasks.outputs.decisions import decide
from tasks.posters.ledger import iterate_posters
from tasks.posters.task import PartPlan, download
from tasks.posters.workers import open_pool
from tasks.prediction.images import process_images
from tasks.prediction.predictor import Predictor
from tasks.prediction.similarity import find_similar_posters
from tasks.progress import Progress
from tasks.registry.pulling import pull_model
from tasks.registry.pushing import push_champion
from tasks.sample.server import serve
from tasks.sample.site import make_site, write_catalog
from tasks.settings import (
    CatalogSettings,
    ExportSettings,
    PosterSettings,
    Settings,
    TrainingSettings,
)

pytestmark = pytest.mark.backbone


def read_json(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def read_films(data_dir: Path) -> dict[int, tuple[str, str]]:
    films = pq.read_table(data_dir / "shards" / "films.parquet").to_pylist()
    return {film["imdb_id"]: (film["sha256"], film["split"]) for film in films}


def read_catalog_films(data_dir: Path) -> list[dict[str, Any]]:
    return list(pq.read_table(data_dir / "catalog" / "films.parquet").to_pylist())


def snapshot(*folders: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for folder in folders for path in folder.rglob("*") if path.is_file()}


def test_published_model_is_whole(small_run) -> None:
    folder = small_run.run.model.path
    manifest = small_run.run.model.verify()
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == {
        "manifest.json",
        *manifest["files"],
    }
    assert {
        "saved_model/saved_model.pb",
        "classifier.keras",
        "classifier.tflite",
        "metrics.json",
        "MODEL_CARD.md",
        "report.html",
        "report.md",
        "precision_recall.png",
        "predictions.parquet",
        "genres.png",
        "history.png",
        "settings.json",
        "labels.json",
        "versions.json",
        "index.parquet",
        "label_errors.csv",
        "statistics.json",
        "decision.json",
        "operating_points.json",
        "saved_model/assets.extra/tf_serving_warmup_requests",
    } <= set(manifest["files"])
    assert read_json(small_run.artifacts_dir / "champion.json")["id"] == folder.name
    assert small_run.run.is_champion
    assert manifest["gate"]["allowed"]
    assert Settings.model_validate(read_json(folder / "settings.json")).data_dir == small_run.data_dir
    check = manifest["export_check"]
    assert check["posters"] > 0
    assert (check["tflite"]["top_1_agreement"], manifest["outputs"]) == (1.0, ["genres"])
    assert (check["tflite"]["posters"], check["tflite"]["differing_decisions"]) == (24, 0)
    assert 0 <= check["tflite"]["largest_difference"] < 1e-3
    assert 0 <= check["largest_difference"] < 1e-3
    with zipfile.ZipFile(folder / "classifier.tflite") as archive:
        assert archive.read("labels.txt").decode().splitlines() == manifest["genres"]


def test_counts_of_the_sample(small_run) -> None:
    accounts = read_json(small_run.data_dir / "catalog" / "dropped.json")
    dropped = accounts["dropped"]
    assert (accounts["rows"], accounts["films"]) == (248, 240)
    assert {reason: count for reason, count in dropped.items() if count} == {
        "no genre": 2,
        "no poster address": 2,
        "genre Adult": 2,
        "repeated id": 2,
    }
    dataset = read_json(small_run.data_dir / "shards" / "dataset.json")
    assert sum(dataset["num_films"].values()) == 236  # of 240, four addresses are dead
    assert set(dataset["dropped_genres"]) == {"Film-Noir", "Western"}


def test_the_model_is_better_than_the_baselines(small_run) -> None:
    metrics = small_run.run.metrics
    assert metrics == read_json(small_run.run.model.path / "metrics.json")
    assert set(metrics["baselines"]) == {"seed", "seed_bce", "predict_everything"}
    best_baseline = max(scores["macro_f1"] for scores in metrics["baselines"].values())
    # A margin, so that a head that learned no more than the baselines does not pass by luck.
    assert metrics["model"]["macro_f1"] > best_baseline + 0.05


def test_report_agrees_with_the_metrics(small_run) -> None:
    report = (small_run.run.model.path / "report.md").read_text("utf-8")
    assert f"{small_run.run.metrics['model']['macro_f1']:.3f}" in report
    for genre in small_run.run.metrics["vocabulary"]:
        assert genre in report
    assert "- Rows dropped: no genre: 2, no poster address: 2, genre Adult: 2, repeated id: 2." in report
    assert "- Films with doubtful genres: none." in report
    listed = pd.read_csv(small_run.run.model.path / "label_errors.csv")
    shown = small_run.run.metrics["label_errors"]["not_given"][0]
    assert f"{shown['imdb_id']} | {shown['title']}" in report
    assert listed[~listed["given"]].iloc[0][["imdb_id", "genre"]].tolist() == [shown["imdb_id"], shown["genre"]]
    for chart in ("genres.png", "history.png", "thresholds.png", "calibration.png"):
        assert chart in report
        assert (small_run.run.model.path / chart).read_bytes().startswith(b"\x89PNG")


def test_signatures_agree_with_one_another_and_with_the_keras_file(small_run, signatures) -> None:
    poster = small_run.posters[3].read_bytes()
    pixels = tf.io.decode_jpeg(poster, channels=3)[None]
    served = [
        signatures["serving_default"](image_bytes=tf.constant([poster])),
        signatures["serving_default"](image_bytes=tf.constant([tf.io.encode_png(pixels[0]).numpy()])),
        signatures["images"](images=tf.cast(pixels, tf.float32)),
        signatures["images"](images=pixels.numpy()),
        signatures["images"](images=pixels.numpy().astype(np.float64)),
        signatures["images_uint8"](images=pixels),
        keras.saving.load_model(small_run.run.model.path / "classifier.keras")(resize_pixels(pixels)),
    ]
    num_genres = len(small_run.run.metrics["vocabulary"])
    for outputs in served:
        assert outputs["labels"].shape == outputs["confidences"].shape == (1, num_genres)
        np.testing.assert_array_equal(outputs["labels"], served[0]["labels"])
        for name in ("confidences", "calibrated"):
            np.testing.assert_allclose(outputs[name], served[0][name], atol=1e-5)


def test_large_pixels_get_the_predictions_of_their_file(small_run, signatures) -> None:
    files = [poster.read_bytes() for poster in small_run.posters[:8]]
    differing = 0
    for size in [(448, 448), (690, 460), (900, 600), (1400, 1000)]:
        pixels = [tf.cast(tf.image.resize(tf.io.decode_jpeg(content), size), tf.uint8) for content in files]
        large = [tf.io.encode_jpeg(image).numpy() for image in pixels]
        of_files = signatures["serving_default"](image_bytes=tf.constant(large))
        of_pixels = signatures["images_uint8"](images=tf.stack([tf.io.decode_jpeg(content) for content in large]))
        equal = (of_files["labels"] == of_pixels["labels"]).numpy()
        differing += int((~equal).any(axis=1).sum())
        differences = np.abs(of_files["confidences"] - of_pixels["confidences"])
        assert differences[equal].max() < 0.05
    assert differing <= 2  # of 32: a genre near 0.5


def test_probabilities_are_of_all_genres_by_name(small_run, signatures) -> None:
    folder = small_run.run.model.path
    posters = tf.constant([poster.read_bytes() for poster in small_run.posters[:16]])
    every, best = signatures["probabilities"](image_bytes=posters), signatures["serving_default"](image_bytes=posters)
    assert every["genres"].numpy().astype(str).tolist() == [small_run.run.metrics["vocabulary"]] * 16
    rule = small_run.run.metrics["rule"]
    assert rule == read_json(folder / "decision.json")["rule"]
    assert rule["order"] == read_json(folder / "manifest.json")["export_check"]["ranking"]["order"]
    decisions = decide(every["confidences"].numpy(), every[rule["order"]].numpy(), rule["top_k"])
    for row, decided in enumerate(decisions):
        named = [label for label in best["labels"][row].numpy() if label]
        assert set(named) == set(every["genres"][row].numpy()[decided])
        columns = [every["genres"][row].numpy().tolist().index(label) for label in named]
        assert (np.diff(best[rule["order"]][row, : len(named)]) <= 0).all()
        for name in ("confidences", "calibrated"):
            np.testing.assert_allclose(best[name][row, : len(named)], every[name].numpy()[row, columns], atol=1e-6)


def test_the_figures_are_of_what_is_served(small_run, signatures) -> None:
    """Scores of the test films by the SavedModel's own labels."""
    folder, metrics = small_run.run.model.path, small_run.run.metrics
    films = [film for film in pq.read_table(folder / "films.parquet").to_pylist() if film["split"] == "test"]
    posters = dict(iterate_posters(small_run.data_dir / "posters", {film["imdb_id"] for film in films}))
    images = tf.constant([posters[film["imdb_id"]] for film in films])
    served = signatures["serving_default"](image_bytes=images)["labels"].numpy()
    decisions = np.array([[genre.encode() in row for genre in metrics["vocabulary"]] for row in served])
    targets = np.array([film["targets"] for film in films])
    macro_f1 = f1_score(targets, decisions, average="macro", zero_division=0)
    assert metrics["model"]["macro_f1"] == pytest.approx(macro_f1, abs=0.02)
    assert metrics["model"]["labels_per_film"] == pytest.approx(decisions.sum(axis=1).mean(), abs=0.1)
    pairs = zip(films, served[:, 0].astype(str), strict=True)
    first = [film["targets"][metrics["vocabulary"].index(label)] for film, label in pairs]
    right = metrics["ranking"]["first_genre_right"][metrics["rule"]["order"]]
    assert right == pytest.approx(np.mean(first), abs=0.05)


def test_confidences_are_over_one_half_where_calibrated_probabilities_are_over_their_thresholds(
    small_run, signatures
) -> None:
    outputs = signatures["probabilities"](
        image_bytes=tf.constant([poster.read_bytes() for poster in small_run.posters[:64]])
    )
    confidences, calibrated, raw = (outputs[name].numpy() for name in ("confidences", "calibrated", "probabilities"))
    genres = small_run.run.metrics["model"]["genres"]
    thresholds = np.array([genres[genre.decode()]["threshold"] for genre in outputs["genres"][0].numpy()])
    assert (thresholds != 0.5).any()
    np.testing.assert_array_equal(confidences > 0.5, calibrated > thresholds)
    # Between the two is the threshold, and no more.
    far_from_ends = np.abs(confidences - 0.5) < 0.49
    assert far_from_ends.any()
    between = (logit(calibrated) - logit(confidences) - logit(thresholds))[far_from_ends]
    np.testing.assert_allclose(between, 0, atol=1e-3)
    assert ((raw >= 0) & (raw <= 1)).all()
    assert not np.allclose(raw, calibrated, atol=0.01)


def test_server_has_named_tasks_and_artifacts(small_run) -> None:
    with get_client(sync_client=True) as client:
        # Other tests have runs in this server, too.
        of_models = ArtifactFilter(key=ArtifactFilterKey(any_=["model"]))
        run_ids = [
            artifact.flow_run_id
            for artifact in client.read_artifacts(artifact_filter=of_models, sort=ArtifactSort.CREATED_DESC, limit=200)
            if small_run.run.model.id in str(artifact.data)
        ]
        run_id = run_ids[-1]  # the first: one that is up to date links to the same model
        of_run = FlowRunFilter(id=FlowRunFilterId(any_=[run_id]))
        task_runs = client.read_task_runs(flow_run_filter=of_run, limit=200, sort=TaskRunSort.NAME_ASC)
        found = client.read_artifacts(flow_run_filter=of_run, limit=200)
    tasks = {run.name.rsplit("-", 1)[0] for run in task_runs}
    assert {"read catalog", "write dataset", "measure drift", "evaluate", "export model", "publish model"} <= tasks
    assert {"download posters part", "extract features movie-posters-train-00000-of"} <= tasks
    artifacts = {artifact.key: artifact.data for artifact in found}
    assert f"{small_run.run.metrics['model']['macro_f1']:.3f}" in artifacts["report"]
    assert len(json.loads(artifacts["metrics"])) == 4
    assert small_run.run.model.id in artifacts["model"]
    assert json.loads(artifacts["drift"]) == []
    rows = {(row["stage"], row["what"]): row["count"] for row in json.loads(artifacts["counts"])}
    assert (rows["posters", "failed: http 404"], rows["posters", "available"]) == (4, 236)


def test_a_published_model_has_tensorboard_logs(small_run) -> None:
    logs = small_run.data_dir / "tensorboard" / small_run.run.model.id
    genres = small_run.run.model.genres
    history = {f"f1/{genre}" for genre in genres}
    assert history <= read_values(logs / "train", "scalars").keys() & read_values(logs / "validation", "scalars").keys()
    scores = read_values(logs / "test", "scalars")
    last_epoch = small_run.run.metrics["model"]["best_epoch"]
    for genre, expected in small_run.run.metrics["model"]["genres"].items():
        ((epoch, value),) = scores[f"f1/{genre}"]
        assert (epoch, float(value)) == (last_epoch, pytest.approx(expected["f1"]))
    assert {f"{genre}/pr_curves" for genre in genres} >= read_values(logs / "test", "pr_curves").keys() != set()
    embedding = read_embedding(logs / "test")
    vectors = np.loadtxt(logs / "test" / embedding.tensor_path, delimiter="\t")
    assert vectors.shape == tuple(embedding.tensor_shape) == (24, TrainingSettings(recipe="fast").hidden_units)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
    with Image.open(logs / "test" / embedding.sprite.image_path) as sprite:
        assert sprite.size == (5 * embedding.sprite.single_image_dim[0], 5 * embedding.sprite.single_image_dim[1])
    assert "tracking" in small_run.run.seconds


def test_second_run_ends_with_the_same_model_and_writes_nothing(small_run) -> None:
    work = [
        small_run.data_dir / stage
        for stage in (*("posters", "splits", "shards", "features", "training", "evaluation", "export", "tensorboard"),)
    ]
    before = snapshot(*work, small_run.artifacts_dir)
    leftover, of_others = (small_run.data_dir / f".{name}.0123abcd.partial" for name in ("shards", "labels"))
    leftover.mkdir()
    of_others.mkdir()
    again = small_run.again()
    assert snapshot(*work, small_run.artifacts_dir) == before
    assert (leftover.exists(), of_others.exists()) == (False, True)
    of_others.rmdir()
    assert not again.is_new
    assert again.model == small_run.run.model
    assert set(again.seconds) == {"catalog", "posters", "dataset"}


def test_an_emptied_folder_takes_over_the_champion_of_the_store(small_run, tmp_path: Path) -> None:
    store, artifacts = str(tmp_path / "store"), tmp_path / "artifacts"
    push_champion(small_run.artifacts_dir, store)
    registry = small_run.settings.registry.model_copy(update={"publish_to": store})
    with serve(small_run.data_dir / "site", small_run.port):
        run = train(small_run.settings.model_copy(update={"artifacts_dir": artifacts, "registry": registry}))
    assert (run.model.id, run.is_new, run.is_champion) == (small_run.run.model.id, False, True)
    assert run.model.path == artifacts / "models" / run.model.id
    assert read_json(artifacts / "champion.json") == read_json(small_run.artifacts_dir / "champion.json")


def test_a_package_that_the_export_lacks_stops_a_run_at_once(small_run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_file, "_PACKAGES", ("no_such_package", "numpy"))
    settings = small_run.settings.model_copy(update={"export": ExportSettings(views=1, onnx=True)})
    before = snapshot(small_run.data_dir / "catalog", small_run.artifacts_dir)
    with pytest.raises(SettingsError, match=r"^export.onnx is true, and no_such_package can't be imported: install "):
        train(settings)
    assert snapshot(small_run.data_dir / "catalog", small_run.artifacts_dir) == before


def test_new_films_touch_only_their_own(small_run, grown_run, tmp_path: Path) -> None:
    run, folder = grown_run.run, grown_run.folder
    assert any("requested now: {'new': 3}" in path.read_text("utf-8") for path in (folder / "data" / "logs").iterdir())
    assert run.is_new
    assert (small_run.run.metrics["recipe"], run.metrics["recipe"]) == ("fast", "fast (altered)")
    before, after = read_films(small_run.data_dir), read_films(folder / "data")
    assert len(after) == len(before) + 3
    assert {imdb_id: after[imdb_id] for imdb_id in before} == before
    features = next((folder / "data" / "features").iterdir())
    assert sum(pq.read_metadata(path).num_rows for path in features.glob("features-*.parquet")) == len(
        {sha256 for sha256, _ in after.values()}
    )

    # The candidate was held against the champion, on films that neither has learned from.
    (comparison,) = run.metrics["rivals"]
    assert comparison["id"] == small_run.run.model.id
    held_out = [imdb_id for imdb_id, (_, split) in after.items() if split == "test"]
    assert comparison["num_films"] == len(held_out)
    assert set(comparison["genres"]) < set(run.metrics["vocabulary"])  # the others have less than five films there
    manifest = read_json(run.model.path / "manifest.json")
    checks = {check["name"]: check for check in manifest["gate"]["checks"]}
    assert set(checks) == {
        "floor",
        "lost genres",
        "fewer films",
        "fewer test films",
        "films to judge by",
        "collapsed genres",
        "available posters",
        "leakage between splits",
        "exported predictions",
    }
    # 24 films: too few to judge by, which the sample's settings allow.
    films = checks["films to judge by"]
    assert (films["passed"], films["is_allowed"]) == (False, True)
    assert manifest["gate"]["rivals"] == []
    assert manifest["gate"]["circumstances"]["rivals"] == [small_run.run.model.id]
    assert run.is_champion == manifest["gate"]["allowed"]
    champion = read_json(folder / "artifacts" / "champion.json")
    assert champion["id"] == (run.model.id if run.is_champion else small_run.run.model.id)

    # Three more films of the same kind are no drift.
    drift = run.metrics["drift"]
    assert (drift["against"], drift["warnings"]) == (small_run.run.model.id, [])
    assert {"films", "genre", "decade", "host", "failures of", "posters", "predicted"} <= {
        row["group"] for row in drift["figures"]
    }
    assert drift["not_compared"] == ["predictions by the new model: its recipe is another than the champion's"]
    assert f"Against {small_run.run.model.id}: no warning." in run.model.report_path.read_text("utf-8")

    # And the champion, whichever it is, is where it was to be pushed to.
    assert pull_model("champion", str(folder / "store"), tmp_path / "pulled").id == champion["id"]


@pytest.fixture(scope="module")
def served(grown_run) -> dict[str, list[Any]]:
    """What the model with all outputs says of the first four posters, in a clean process."""
    posters = sorted((grown_run.folder / "site" / "posters").iterdir())[:4]
    return serve_in_clean_process(grown_run.run.model.path / "saved_model", [path.read_bytes() for path in posters])


def test_a_model_of_all_outputs_served_by_name_in_a_clean_process(grown_run, served: dict[str, list[Any]]) -> None:
    folder = grown_run.run.model.path
    posters = [path.read_bytes() for path in sorted((grown_run.folder / "site" / "posters").iterdir())[:4]]
    assert set(served) == {"labels", "confidences", "calibrated", "decade", "decade_confidence", "score", "error"}
    decades = {f"{film['year'] // 10 * 10}s" for film in read_catalog_films(grown_run.folder / "data") if film["year"]}
    assert len(decades) > 1
    assert set(served["decade"]) <= decades
    assert all(0 < confidence <= 1 for confidence in served["decade_confidence"])
    assert all(1 <= score <= 10 for score in served["score"])

    signatures = tf.saved_model.load(str(folder / "saved_model")).signatures
    every = signatures["probabilities"](image_bytes=tf.constant(posters))
    best = every["decade_probabilities"].numpy().argmax(axis=1)
    decades = every["decades"].numpy().astype(str)
    assert [row[column] for row, column in zip(decades, best, strict=True)] == served["decade"]
    np.testing.assert_allclose(every["decade_probabilities"].numpy().sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(every["score"], served["score"], atol=1e-4)
    keras_outputs = keras.saving.load_model(folder / "classifier.keras")(prepare_posters(tf.constant(posters)))
    assert keras_outputs["decade"].numpy().astype(str).tolist() == served["decade"]
    np.testing.assert_allclose(keras_outputs["score"], served["score"], atol=1e-4)

    manifest = read_json(folder / "manifest.json")
    assert manifest["outputs"] == ["genres", "decade", "score", "embedding"]
    assert manifest["export_check"]["largest_difference"] < 1e-3
    assert "tflite" not in manifest["export_check"]
    assert "classifier.tflite" not in manifest["files"]


def test_the_report_has_every_output(grown_run) -> None:
    figures, report = grown_run.run.metrics, (grown_run.run.model.path / "report.md").read_text("utf-8")
    assert f"correct for {figures['outputs']['decade']['accuracy']:.1%} of" in report
    assert f"mean absolute error {figures['outputs']['score']['mean_absolute_error']:.2f} points" in report
    assert f"{figures['embedding']['precision']['model']:.1%} share a genre" in report
    assert "outputs.png" in report
    assert (grown_run.run.model.path / "outputs.png").read_bytes().startswith(b"\x89PNG")
    precision = figures["embedding"]["precision"]
    assert precision["model"] > precision["chance"] + 0.1


def test_without_a_lite_model_the_saved_model_predicts(grown_run, served: dict[str, list[Any]]) -> None:
    images = [str(path) for path in sorted((grown_run.folder / "site" / "posters").iterdir())[:4]]
    predict = Predictor.open(grown_run.run.model.path).predict
    results = list(process_images([images[0], "none.jpg", *images[1:]], predict, PosterSettings()))
    assert results.pop(1).error == "No such file or directory"
    predictions = [result.result for result in results if result.result]
    named = [[label for label in labels if label] for labels in served["labels"]]
    assert [prediction.labels for prediction in predictions] == named
    for prediction, calibrated in zip(predictions, served["calibrated"], strict=True):
        assert prediction.calibrated == pytest.approx(calibrated[: len(prediction.labels)], abs=1e-4)
    assert [prediction.others["decade"] for prediction in predictions] == served["decade"]
    scores = [prediction.others["score"] for prediction in predictions]
    np.testing.assert_allclose(scores, served["score"], atol=1e-4)


def test_the_most_similar_poster_of_a_training_poster_is_itself(small_run, grown_run) -> None:
    films = read_films(grown_run.folder / "data")
    (first, *_) = [imdb_id for imdb_id, (_, split) in films.items() if split == "train"]
    image = str(grown_run.folder / "site" / "posters" / f"{first}.jpg")
    for run in (small_run.run, grown_run.run):
        found, broken = find_similar_posters(run.model.path, [image, str(Path(__file__))], 5, PosterSettings())
        assert found.result is not None
        similarities = [film["similarity"] for film in found.result]
        assert similarities == sorted(similarities, reverse=True)
        assert (len(similarities), similarities[0]) == (5, pytest.approx(1, abs=2e-3))
        sha256 = films[first][0]
        assert films[found.result[0]["imdb_id"]][0] == sha256  # another film may have the same picture
        assert set(found.result[0]["genres"]) <= set(run.metrics["vocabulary"])
        assert broken.error == "not an image"
    index = pq.read_table(run.model.path / "index.parquet")
    assert set(index["imdb_id"].to_pylist()) == {imdb_id for imdb_id, (_, split) in films.items() if split == "train"}
    assert index.schema.field("embedding").type.list_size == 16


def test_a_model_without_an_index_is_named(small_run, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match=r"has no index.parquet: publish a model with export.index=true"):
        list(find_similar_posters(tmp_path, [str(small_run.posters[0])], 5, PosterSettings()))


def test_a_second_run_in_the_same_folder_stops_with_a_clear_message(
    prefect_server: None, tmp_path: Path, hold_lock
) -> None:
    with (
        hold_lock(tmp_path / "data", "another run") as holder,
        pytest.raises(LockedError, match=rf"data is in use by another run \(process {holder.pid} on"),
    ):
        train(Settings(data_dir=tmp_path / "data", catalog=CatalogSettings(source="none.csv")))
    # The lock of a killed process is gone with it: the run gets as far as its catalog.
    with pytest.raises(CatalogError, match=r"none\.csv"):
        train(Settings(data_dir=tmp_path / "data", catalog=CatalogSettings(source="none.csv")))


def test_a_failed_run_says_why_in_an_artifact(prefect_server: None, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", catalog=CatalogSettings(source="nowhere.csv"))
    with pytest.raises(CatalogError):
        train(settings)
    with get_client(sync_client=True) as client:
        run = client.read_flow_runs(sort=FlowRunSort.START_TIME_DESC, limit=1)[0]
        artifact = client.read_artifacts(
            artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["failure"])), sort=ArtifactSort.CREATED_DESC
        )[0]
    assert run.state is not None
    assert run.state.is_failed()
    assert artifact.flow_run_id == run.id
    assert "nowhere.csv can't be read" in str(artifact.data)
    (log,) = (tmp_path / "data" / "logs").iterdir()
    last = json.loads(log.read_text("utf-8").splitlines()[-1])
    assert last["level"] == "ERROR"
    assert last["message"].startswith("failed: CatalogError: nowhere.csv can't be read")


def test_a_part_that_fails_is_visible_in_the_server(prefect_server: None, tmp_path: Path) -> None:
    (tmp_path / "posters").write_text("a file where the folder should be")
    plan = PartPlan(3, 4, [{"imdb_id": 1, "poster_url": "http://["}], 1)

    @flow(name="a folder that can't be written")
    def download_one() -> None:
        with open_pool(1, Progress("posters", 1)):
            download(plan, tmp_path / "posters", PosterSettings())

    with pytest.raises(DownloadError, match=r"part-00003 of the posters could not be downloaded: .*posters"):
        download_one()
    with get_client(sync_client=True) as client:
        (run,) = client.read_task_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=[download_one.name])),
            limit=10,
            sort=TaskRunSort.NAME_ASC,
        )
        states = [state.name for state in client.read_task_run_states(run.id)]
    assert run.name == "download posters part-00003"
    assert states[-1] == "Failed"


def test_log_has_run_stage_and_part(small_run) -> None:
    lines = [
        json.loads(line)
        for path in (small_run.data_dir / "logs").glob("*.jsonl")
        for line in path.read_text("utf-8").splitlines()
    ]
    assert {"timestamp", "level", "logger", "run", "run_id", "stage", "part", "task", "message"} <= set(lines[0])
    stages = {line["stage"] for line in lines}
    assert {"catalog", "posters", "dataset", "features", "training", "evaluation", "export", "registry"} <= stages
    parts = {(line["stage"], line["part"]) for line in lines if line["part"]}
    assert parts == {
        *(("posters", f"part-{part:05d}") for part in range(4)),
        *(("features", f"movie-posters-{split}-00000-of-00001") for split in ("train", "validation", "test")),
    }
    assert len({line["run_id"] for line in lines}) == len({line["run"] for line in lines}) >= 1


def test_too_few_posters_stops_the_run_with_the_reasons(prefect_server: None, tmp_path: Path) -> None:
    site = tmp_path / "site"
    make_site(site, 60)
    for poster in list((site / "posters").iterdir())[:30]:
        poster.unlink()
    with serve(site) as base_url:
        source = write_catalog(site, base_url)
        settings = Settings(
            data_dir=tmp_path / "data",
            catalog=CatalogSettings(source=str(source)),
            posters=PosterSettings(allow_private_hosts=("127.0.0.1",)),
        )
        with pytest.raises(DownloadError, match=r"only 29 of 60 posters.*\n +31  http 404"):
            train(settings)
    assert not (tmp_path / "data" / "shards").exists()
    assert not (tmp_path / "artifacts").exists()
