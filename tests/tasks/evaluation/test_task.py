"""A head of known weights is evaluated; its figures are computed once more, by other means."""

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.special import expit
from sklearn.metrics import brier_score_loss, f1_score, label_ranking_average_precision_score
from small_dataset import NUM_FEATURES, write_small_dataset, write_small_features

from tasks import versions
from tasks.dataset.task import Dataset
from tasks.evaluation.label_errors import find_label_errors
from tasks.evaluation.neighbours import score_embedding
from tasks.evaluation.predictions import PREDICTIONS
from tasks.evaluation.report import render_report
from tasks.evaluation.rivals import Rivals, compare_again
from tasks.evaluation.scores import find_interval, measure_calibration
from tasks.evaluation.task import Evaluation, EvaluationContext, TrainedHeads, evaluate
from tasks.fingerprints import Inputs
from tasks.model_folder import SVG_FOLDER, ModelFolder
from tasks.outputs.calibration import Calibration
from tasks.outputs.decade import DecadeOutput
from tasks.outputs.decisions import DecisionRule
from tasks.outputs.embedding import EmbeddingOutput
from tasks.outputs.genres import GenresOutput
from tasks.outputs.output import Output
from tasks.settings import TrainingSettings
from tasks.training.examples import Examples, read_examples
from tasks.training.head import build_head, fold_calibration
from tasks.training.operating_points import find_operating_points
from tasks.training.task import TrainedHead

NUM_FILMS = 96
SETTINGS = TrainingSettings(recipe="fast", epochs=6, hidden_units=8, learning_rate=3e-3)
CATALOG = {"dropped": {"no id": 2, "no genre": 0}, "doubtful": {"no year": 0}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evaluated")


@pytest.fixture(scope="module")
def dataset(folder: Path) -> Dataset:
    return write_small_dataset(folder / "shards", NUM_FILMS)


def write_head(folder: Path, features_folder: Path, settings: TrainingSettings, *others: Output) -> TrainedHead:
    """Writes a head whose weights are not trained but set: two hidden units average the features of a genre each."""
    folder.mkdir()
    genres = GenresOutput(["a", "b"])
    outputs = [genres, *others]
    head = build_head(outputs, settings, NUM_FEATURES, None, seed=0)
    hidden, logits = head.get_layer("hidden"), head.get_layer("logits")
    kernel = np.zeros((NUM_FEATURES, settings.hidden_units), np.float32)
    for genre in range(2):
        kernel[genre * 200 : (genre + 1) * 200, genre] = 1 / 200
    hidden.set_weights([kernel, np.full(settings.hidden_units, -2.0, np.float32)])
    # Without a genre its features average 1.5, with it 4.5. The second genre is predicted too often.
    raw_kernel = np.zeros((settings.hidden_units, 2), np.float32)
    raw_kernel[0, 0], raw_kernel[1, 1] = settings.learning_rate * 1000, 1.0
    logits.set_weights([raw_kernel, np.array([-1.2, 0.2], np.float32)])
    calibration = Calibration(*(np.array(values, np.float32) for values in ([0.8, 1.2], [0.1, -0.4], [-0.3, 0.5])))
    fold_calibration(head, calibration)
    head.save(folder / "head.keras")
    curves = {name: [0.2, 0.4] for output in outputs for name in (output.curve[0], f"val_{output.curve[0]}")}
    pd.DataFrame({"epoch": [1, 2], **curves}).to_csv(folder / "history.csv", index=False)
    calibrated = [
        output.with_calibration(calibration) if isinstance(output, GenresOutput) else output for output in outputs
    ]
    return TrainedHead(folder, features_folder, settings, 1, calibrated, 1, settings.epochs, 0.3, 4.5)


@pytest.fixture(scope="module")
def heads(dataset: Dataset, folder: Path) -> TrainedHeads:
    features = write_small_features(dataset, folder / "features", NUM_FILMS, strength=3)
    baseline = TrainingSettings(recipe="seed_bce", epochs=2, hidden_units=4, learning_rate=1e-5)
    others = [DecadeOutput([1980, 1990, 2000, 2010, 2020, 2030]), EmbeddingOutput(16, 2, 0.1)]
    (folder / "folds").mkdir()
    probabilities = np.random.default_rng(5).random((48, 2), np.float32)
    np.save(folder / "folds" / "probabilities.npy", probabilities)
    return TrainedHeads(
        model=write_head(folder / "default-1", features, SETTINGS, *others),
        baselines=[write_head(folder / "seed_bce-1", features, baseline)],
        cross_fitted_path=folder / "folds" / "probabilities.npy",
    )


@pytest.fixture(scope="module")
def context(dataset: Dataset) -> EvaluationContext:
    # Of the first test film two verdicts were given before.
    return EvaluationContext(top_k=1, earlier_verdicts={12: 2}, catalog_counts=CATALOG)


@pytest.fixture(scope="module")
def evaluated(dataset: Dataset, heads: TrainedHeads, context: EvaluationContext, folder: Path) -> Evaluation:
    return evaluate.fn(dataset, heads, context, folder / "evaluation")


def read(dataset: Dataset, heads: TrainedHeads, split: str) -> tuple[Examples, NDArray[Any], NDArray[Any]]:
    """Returns the films of a split, and the model's confidences and calibrated probabilities, by the head itself."""
    examples = read_examples(dataset, heads.model.features_folder, split)
    logits = read_logits(heads, examples)
    return examples, expit(logits), expit(logits + heads.model.calibration.thresholds)


def read_logits(heads: TrainedHeads, examples: Examples) -> NDArray[Any]:
    head = keras.saving.load_model(heads.model.head_path)
    features = examples.features.read().astype(np.float32)[:, : head.input.shape[1]]
    return np.asarray(keras.Model(head.input, head.get_layer("logits").output)(features))


def choose_one(confidences: NDArray[Any], ranking: NDArray[Any]) -> NDArray[np.bool_]:
    """Returns the best genre of those over 0.5, or of all where none is over it."""
    above = confidences > 0.5
    first = np.where(above | ~above.any(axis=1, keepdims=True), ranking, -1).argmax(axis=1)
    return np.eye(confidences.shape[1], dtype=bool)[first]


def test_figures_are_of_the_served_decisions(dataset: Dataset, heads: TrainedHeads, evaluated: Evaluation) -> None:
    metrics = evaluated.metrics
    films, confidences, calibrated = read(dataset, heads, "validation")
    ranking = {
        "confidences": label_ranking_average_precision_score(films.genre_targets, confidences),
        "calibrated": label_ranking_average_precision_score(films.genre_targets, calibrated),
    }
    order = metrics["rule"]["order"]
    assert ranking[order] == max(ranking.values())
    assert metrics["rule"] == {"order": order, "top_k": 1}
    points = find_operating_points(films.genre_targets, calibrated.astype(np.float32), dataset.genres)
    written = json.loads((evaluated.folder / "operating_points.json").read_text("utf-8"))
    assert (written["split"], written["min_films"]) == ("validation", 10)
    for genre, by_precision in points.items():
        for wanted, point in by_precision.items():
            assert written["genres"][genre][wanted] == (point and pytest.approx(point, rel=1e-4))

    films, confidences, calibrated = read(dataset, heads, "test")
    by_order = {"confidences": confidences, "calibrated": calibrated}
    decisions = choose_one(confidences, by_order[order])
    model, targets = metrics["model"], films.genre_targets
    assert model["macro_f1"] == pytest.approx(f1_score(targets, decisions, average="macro"))
    assert 0.5 < model["macro_f1"] < 1
    assert model["macro_f1_interval"] == find_interval(targets, decisions)
    assert model["labels_per_film"] == 1
    first_right = {
        name: (choose_one(confidences, scores) & (targets == 1)).any(axis=1).mean() for name, scores in by_order.items()
    }
    assert metrics["ranking"]["first_genre_right"] == pytest.approx(first_right)
    assert {name: metrics["ranking"][name] for name in ranking} == pytest.approx(ranking, abs=1e-6)
    unfolded = heads.model.calibration.unfold(read_logits(heads, films))
    raw = measure_calibration(targets, expit(unfolded), dataset.genres)
    for column, (genre, threshold) in enumerate(zip("ab", heads.model.calibration.thresholds, strict=True)):
        figures = model["genres"][genre]
        assert figures["threshold"] == pytest.approx(expit(threshold))
        assert figures["brier"] == pytest.approx(brier_score_loss(targets[:, column], calibrated[:, column]), rel=1e-4)
        assert figures["raw_calibration_error"] == pytest.approx(raw[genre]["calibration_error"], rel=1e-3)
        assert figures["support"] == targets[:, column].sum()
    trained = heads.model
    assert (model["best_epoch"], model["epochs_run"]) == (trained.best_epoch, 6)
    assert (model["validation_macro_f1"], model["training_seconds"]) == (trained.validation_macro_f1, trained.seconds)
    assert (metrics["recipe"], metrics["threshold"], metrics["vocabulary"]) == (trained.settings.name, 0.5, ["a", "b"])
    assert metrics["num_films"] == {"train": 48, "validation": 24, "test": 24}
    assert metrics["heads"] == ["genres", "decade", "embedding"]
    assert list(metrics["outputs"]) == ["decade"]
    assert metrics["embedding"]["num_queries"] == 18  # a quarter of the films has no genre
    assert metrics["embedding"]["precision"]["model"] > metrics["embedding"]["precision"]["chance"]
    assert metrics["catalog"] == CATALOG
    assert metrics["verdicts"]["films_by_verdicts"] == {"1": 23, "3": 1}
    assert not metrics.keys() & {"rivals", "drift"}


def test_films_without_genres_are_no_queries(dataset: Dataset, heads: TrainedHeads) -> None:
    train, test = (read_examples(dataset, heads.model.features_folder, split) for split in ("train", "test"))
    without = replace(test, genre_targets=np.zeros_like(test.genre_targets))
    assert score_embedding(heads.model, train, without) == {"num_queries": 0, "num_nearest": 10, "precision": {}}


def test_baselines_decide_by_the_rule_of_the_model(
    dataset: Dataset, heads: TrainedHeads, evaluated: Evaluation
) -> None:
    (films, confidences, calibrated), order = read(dataset, heads, "test"), evaluated.metrics["rule"]["order"]
    own = choose_one(confidences, calibrated if order == "calibrated" else confidences)
    baselines = evaluated.metrics["baselines"]
    assert list(baselines) == [heads.baselines[0].settings.name, "predict_everything"]
    _, others, others_calibrated = read(dataset, replace(heads, model=heads.baselines[0]), "test")
    decisions = [
        choose_one(others, others_calibrated if order == "calibrated" else others),
        np.ones_like(own),
    ]
    for scores, chosen in zip(baselines.values(), decisions, strict=True):
        assert scores["macro_f1"] == pytest.approx(f1_score(films.genre_targets, chosen, average="macro"))
        assert scores["improvement_interval"] == find_interval(films.genre_targets, own, chosen)
    assert next(iter(baselines.values()))["epochs_run"] == 2
    assert "epochs_run" not in baselines["predict_everything"]


def test_likely_label_errors_are_of_all_splits(dataset: Dataset, heads: TrainedHeads, evaluated: Evaluation) -> None:
    assert heads.cross_fitted_path is not None
    parts, probabilities = [], [np.load(heads.cross_fitted_path)]
    for split in ("train", "validation", "test"):
        films, _, calibrated = read(dataset, heads, split)
        titles = [f"Film {imdb_id}" for imdb_id in films.films["imdb_id"]]
        parts.append(films.films[["imdb_id"]].assign(title=titles, targets=list(films.genre_targets)))
        probabilities += [calibrated] if split != "train" else []
    expected = find_label_errors(pd.concat(parts), np.concatenate(probabilities).astype(np.float32), ["a", "b"], 200)
    written = pd.read_csv(evaluated.folder / "label_errors.csv")
    key = ["imdb_id", "genre", "given"]
    assert written[key].to_numpy().tolist() == expected[key].to_numpy().tolist()
    np.testing.assert_allclose(written["probability"], expected["probability"], atol=1e-4)
    assert written["title"].tolist() == [f"Film {imdb_id}" for imdb_id in written["imdb_id"]]
    shown = evaluated.metrics["label_errors"]
    assert (len(shown["given"]), len(shown["not_given"])) == (30, 30)
    assert [error["imdb_id"] for error in shown["given"]] == expected[expected["given"]]["imdb_id"].tolist()[:30]


def test_what_is_written(evaluated: Evaluation) -> None:
    pictures = {"genres", "history", "outputs", "calibration", "thresholds", "precision_recall"}
    assert {path.name for path in evaluated.folder.iterdir()} == {
        "metrics.json",
        "report.md",
        "operating_points.json",
        "label_errors.csv",
        "predictions.parquet",
        "checksums.json",
        SVG_FOLDER,
        *(f"{name}.png" for name in pictures),
    }
    for name in pictures:
        with Image.open(evaluated.folder / f"{name}.png") as picture:
            assert min(picture.size) >= 190, name
            assert len(picture.convert("RGB").getcolors(1 << 20)) > 20, name  # not one colour
    charts = {path.name: path.read_text("utf-8") for path in (evaluated.folder / SVG_FOLDER).iterdir()}
    assert charts.keys() == {f"{name}.svg" for name in pictures}
    assert all("<path" in chart and "<text" in chart for chart in charts.values())
    assert json.loads((evaluated.folder / "metrics.json").read_text("utf-8")) == evaluated.metrics
    report = (evaluated.folder / "report.md").read_text("utf-8")
    assert report == render_report(evaluated.metrics, with_charts=True)


def test_predictions_are_those_of_the_figures(dataset: Dataset, heads: TrainedHeads, evaluated: Evaluation) -> None:
    films, confidences, calibrated = read(dataset, heads, "test")
    table = pq.read_table(evaluated.folder / "predictions.parquet")
    assert table.schema.equals(PREDICTIONS)
    assert table["imdb_id"].to_pylist() == films.films["imdb_id"].tolist()
    assert table["targets"].to_pylist() == films.genre_targets.tolist()
    np.testing.assert_allclose(table["probabilities"].to_pylist(), calibrated, rtol=1e-5)
    order = evaluated.metrics["rule"]["order"]
    decisions = choose_one(confidences, calibrated if order == "calibrated" else confidences)
    assert table["predicted"].to_pylist() == decisions.astype(int).tolist()


def test_nothing_is_done_twice(
    dataset: Dataset,
    heads: TrainedHeads,
    context: EvaluationContext,
    evaluated: Evaluation,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert evaluated.metrics["inputs"] == {
        "version": versions.EVALUATION,
        "heads": [heads.model.folder.name, heads.baselines[0].folder.name],
        "dataset": "fingerprint",
        "rivals": None,
        "min_films_per_genre": None,
        "catalog": CATALOG,
        "verdicts": evaluated.metrics["inputs"]["verdicts"],
        "drift": None,
        "recipe": None,
        "top_k": 1,
        "cross_fitted": heads.cross_fitted_path and heads.cross_fitted_path.parent.name,
    }
    assert evaluated.metrics["inputs_fingerprint"] == Inputs(evaluated.metrics["inputs"]).fingerprint
    caplog.set_level(logging.INFO)
    copied = tmp_path / "evaluation"
    shutil.copytree(evaluated.folder, copied)
    before = (copied / "metrics.json").stat().st_mtime_ns
    assert evaluate.fn(dataset, heads, context, copied).metrics == evaluated.metrics
    assert (copied / "metrics.json").stat().st_mtime_ns == before
    (message,) = [record.getMessage() for record in caplog.records if record.name == "tasks.evaluation.task"]
    assert message == f"evaluation: {heads.model.folder.name} is up to date"
    again = evaluate.fn(dataset, heads, replace(context, earlier_verdicts={}), copied)
    assert again.metrics["inputs"]["verdicts"] != evaluated.metrics["inputs"]["verdicts"]
    assert again.metrics["model"] == evaluated.metrics["model"]


def test_a_head_alone(dataset: Dataset, heads: TrainedHeads, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    alone = evaluate.fn(dataset, TrainedHeads(heads.baselines[0]), EvaluationContext(), folder / "alone")
    assert list(alone.metrics["baselines"]) == ["predict_everything"]
    assert not alone.metrics.keys() & {"label_errors", "catalog", "rivals", "drift"}
    assert alone.metrics["rule"]["top_k"] is None
    assert not {path.name for path in alone.folder.iterdir()} & {"label_errors.csv", "outputs.png"}
    scores = alone.metrics["model"]
    low, high = scores["macro_f1_interval"]
    assert caplog.messages[-1] == (
        f"evaluation: macro-F1 {scores['macro_f1']:.3f} (95% interval {low:.3f} to {high:.3f}) on 24 test films; "
        f"predict_everything {alone.metrics['baselines']['predict_everything']['macro_f1']:.3f}"
    )


def test_a_published_model_is_compared_again(
    dataset: Dataset, heads: TrainedHeads, evaluated: Evaluation, tmp_path: Path
) -> None:
    """It is compared with the baseline: both by the decisions that they serve."""
    models = []
    for name, trained in (("model", heads.model), ("baseline", heads.baselines[0])):
        model = ModelFolder(tmp_path / name)
        model.path.mkdir()
        shutil.copy(trained.head_path, model.head_path)
        shutil.copy(dataset.films_path, model.films_path)
        model.labels_path.write_text(json.dumps(dataset.genres))
        rule = DecisionRule.from_config(evaluated.metrics["rule"])
        output = GenresOutput(dataset.genres).with_calibration(trained.calibration).with_rule(rule)
        model.decision_path.write_text(json.dumps(output.get_config()))
        model.write_manifest({"id": name, "features": heads.model.features_folder.name})
        models.append(model)
    rivals = Rivals(models[1:], 1, tmp_path / "no posters")
    (comparison,) = compare_again(models[0], rivals, dataset, heads.model.features_folder)
    assert (comparison["id"], comparison["num_films"], comparison["genres"]) == ("baseline", 24, ["a", "b"])
    baseline = next(iter(evaluated.metrics["baselines"].values()))
    assert comparison["candidate_macro_f1"] == pytest.approx(evaluated.metrics["model"]["macro_f1"])
    assert comparison["rival_macro_f1"] == pytest.approx(baseline["macro_f1"])
