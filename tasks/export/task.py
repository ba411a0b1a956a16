"""The export stage."""

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks import versions
from tasks.atomic import atomic_folder
from tasks.checking import write_checksums
from tasks.dataset.task import Dataset
from tasks.export.checking import compare_served, serve_in_clean_process
from tasks.export.classifier import Classifier, write_saved_model
from tasks.export.index import write_index
from tasks.export.lite import write_lite
from tasks.export.onnx_file import predict_onnx, write_onnx
from tasks.features.backbone import Backbone
from tasks.features.litert import LiteRTNetwork
from tasks.fingerprints import Inputs, find_current
from tasks.model_folder import ModelFolder
from tasks.outputs.decisions import DecisionRule
from tasks.outputs.output import Output, split_columns
from tasks.posters import ledger
from tasks.posters.images import parse_image
from tasks.settings import ExportSettings
from tasks.training.examples import read_examples
from tasks.training.head import predict_confidences
from tasks.training.novelty import fit_novelty
from tasks.training.ranking import choose_order_of_head
from tasks.training.task import TrainedHead

logger = logging.getLogger(__name__)

# Test posters that are compared: those of the SavedModel take TensorFlow's time.
_NUM_CHECKED = 64
_NUM_CHECKED_WITH_FILES = 256
_DESCRIPTION = "export.json"


@dataclass(frozen=True)
class Export:
    """An exported and checked model.

    Attributes:
        folder: Folder with `saved_model/`, the same as `classifier.keras`, `head.keras`, `decision.json` (see
            `ModelFolder.decision_path`), and if enabled `classifier.tflite` (see `tasks.export.lite`),
            `classifier.onnx` (see `tasks.export.onnx_file`) and `index.parquet` (see `tasks.export.index`).
        outputs: Names of the outputs, genres first.
        check: Number of test `posters` that were compared; the `largest_difference` between the SavedModel's
            predictions, in a clean process, and the pipeline's; under `ranking` the `order` of the genres and how well
            each order ranks the validation split (see `choose_order`); under `novelty` the `poster_size` (median width
            and height) and the share of the test posters whose novelty is over 1 (`test_share_over_bound`); and under
            `tflite` and `onnx` the results of `_check_columns`.
    """

    folder: Path
    outputs: list[str]
    check: dict[str, Any]

    @property
    def largest_difference(self) -> float:
        """The largest of all differences."""
        checks = [self.check, *(self.check[name] for name in ("tflite", "onnx") if name in self.check)]
        # NumPy's maximum: that of Python would hide a NaN.
        return float(np.max([check["largest_difference"] for check in checks]))


@task(name="export model", cache_policy=NO_CACHE)
def export_model(
    dataset: Dataset,
    posters_dir: Path,
    backbone: Backbone,
    trained: TrainedHead,
    folder: Path,
    settings: ExportSettings,
) -> Export:
    """Writes the whole model in each format, and compares its predictions for test posters with the pipeline's.

    Nothing is done if an export of the same inputs exists.

    Args:
        dataset: The films.
        posters_dir: Folder of the poster parts.
        backbone: The backbone.
        trained: The head.
        folder: Folder to write.
        settings: The formats.

    Raises:
        ExportError: The model fails in a clean process; nothing is left at `folder`.
    """
    inputs = _collect_inputs(backbone, trained, settings)
    if known := find_current(folder / _DESCRIPTION, inputs):
        logger.info("export: the model of %s is up to date", trained.folder.name)
        return Export(folder, known["outputs"], known["check"])
    head = keras.saving.load_model(trained.head_path)
    network = backbone.tapped if trained.settings.taps else backbone.network
    order, ranking = choose_order_of_head(dataset, trained, head)
    outputs = [output.with_rule(DecisionRule(order, settings.top_k)) for output in trained.outputs]
    train, validation, test = (
        read_examples(dataset, trained.features_folder, split, trained.num_views).take_features(head.input.shape[1])
        for split in ("train", "validation", "test")
    )
    novelty = fit_novelty(train.features, validation.features, backbone.num_last_features)
    classifier = Classifier(network, head, outputs, trained.num_views, novelty)
    posters = _read_posters(posters_dir, test.films["imdb_id"].tolist()[:_NUM_CHECKED_WITH_FILES])
    with atomic_folder(folder) as partial, ThreadPoolExecutor(1, "export") as other_thread:
        model = ModelFolder(partial)
        write_saved_model(classifier, model.saved_model_path)
        # Half of its time is imports: meanwhile the rest is written here.
        serving = other_thread.submit(serve_in_clean_process, model.saved_model_path, posters[:_NUM_CHECKED])
        classifier.build_keras_model().save(model.keras_path)
        shutil.copy2(trained.head_path, model.head_path)
        _write_json(model.decision_path, outputs[0].get_config())
        if settings.index:
            write_index(dataset, trained, head, model.index_path)
        predictions = predict_confidences(head, test.features, len(posters))
        expected = np.hstack([predictions[output.name] for output in outputs if output.column_names])
        checks = {}
        if settings.tflite:
            write_lite(classifier, model.lite_path)
            columns = LiteRTNetwork(model.lite_path.read_bytes()).predict_images(posters)
            checks["tflite"] = _check_columns(columns, expected, serving.result(), outputs)
        if settings.onnx:
            write_onnx(classifier, model.onnx_path)
            columns = predict_onnx(model.onnx_path, posters)
            checks["onnx"] = _check_columns(columns, expected, serving.result(), outputs)
        served = serving.result()
        num_served = len(served["labels"])
        check: dict[str, Any] = {
            "posters": num_served,
            "largest_difference": compare_served(served, expected[:num_served], outputs),
            "ranking": {"order": order, **ranking},
            "novelty": {
                "poster_size": _measure_posters(posters),
                "test_share_over_bound": float((novelty.measure(test.features) > 1).mean()) if novelty else None,
            },
            **checks,
        }
        description = {**inputs.as_description(), "outputs": trained.output_names, "check": check}
        _write_json(partial / _DESCRIPTION, description)
        write_checksums(partial)
    logger.info("export: predictions for test posters, SavedModel against pipeline and other files: %s", check)
    return Export(folder, trained.output_names, check)


def _collect_inputs(backbone: Backbone, trained: TrainedHead, settings: ExportSettings) -> Inputs:
    return Inputs(
        {
            "version": versions.EXPORT,
            "tensorflow": tf.__version__,
            "head": trained.folder.name,
            "backbone": backbone.fingerprint,
            "taps": list(backbone.taps),
            "image_size": list(backbone.image_size),
            "export": settings.model_dump(mode="json"),
        }
    )


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False) + "\n", "utf-8")


def _read_posters(posters_dir: Path, imdb_ids: Sequence[int]) -> list[bytes]:
    contents = dict(ledger.iterate_posters(posters_dir, set(imdb_ids)))
    return [contents[imdb_id] for imdb_id in imdb_ids]


def _measure_posters(posters: Sequence[bytes]) -> list[int]:
    """Returns the median width and height of posters, in pixels."""
    parsed = [parse_image(poster) for poster in posters]
    return np.median([(image.width, image.height) for image in parsed], axis=0).astype(int).tolist() if parsed else []


def _check_columns(
    columns: NDArray[np.float32],
    expected: NDArray[np.float32],
    served: Mapping[str, list[Any]],
    outputs: Sequence[Output],
) -> dict[str, Any]:
    """Compares a model file, whose images are decoded and resized without TensorFlow, with pipeline and SavedModel.

    Args:
        columns: Columns of the LiteRT or the ONNX model, shape `(num_posters, num_columns)`.
        expected: Columns of the pipeline, same shape.
        served: Predictions of the SavedModel for the first of the posters.
        outputs: The outputs, of which the genres are the first.

    Returns:
        `posters`; `differing_decisions`, the number of them with a genre that only one of model file and pipeline
        predicts; and on the first of them `top_1_agreement` and `largest_difference` with the SavedModel.
    """
    (genres, *_), num_served = outputs, len(served["labels"])
    found, wanted = (split_columns(outputs, values)[0] for values in (columns, expected))
    named, expected_names = ([set(row["labels"]) for row in genres.decode(values)] for values in (found, wanted))
    differing = sum(some != others for some, others in zip(named, expected_names, strict=True))
    first = [row["labels"][0] for row in genres.decode(found[:num_served])]
    agree = [row[0] == label for row, label in zip(served["labels"], first, strict=True)]
    return {
        "posters": len(columns),
        "differing_decisions": differing,
        "top_1_agreement": float(np.mean(agree)),
        "largest_difference": compare_served(served, columns[:num_served], outputs),
    }
