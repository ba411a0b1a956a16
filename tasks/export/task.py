"""The export stage."""

import json
import logging
import shutil
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
from tasks.dataset.task import Dataset
from tasks.export.checking import answer_in_clean_process, compare_answers
from tasks.export.classifier import Classifier, write_saved_model
from tasks.export.edge import write_lite
from tasks.export.index import write_index
from tasks.features.backbone import Backbone
from tasks.features.litert import LiteRTNetwork
from tasks.posters import ledger
from tasks.settings import ExportSettings
from tasks.training.examples import read_examples
from tasks.training.head import run_head
from tasks.training.outputs import DECADE, GENRES, SCORE
from tasks.training.task import TrainedHead

logger = logging.getLogger(__name__)

_NUM_CHECKED = 64
_ABOUT = "export.json"


@dataclass(frozen=True)
class Export:
    """An exported and checked model.

    Attributes:
        folder: has `saved_model/`, the same as `classifier.keras`, `head.keras`, and if settings ask for them
            `classifier.tflite` (see `tasks.export.edge`) and `index.parquet` (see `tasks.export.index`).
        outputs: of the model, genres first.
        check: on how many test `posters` the answers were compared; the `largest_difference` of the SavedModel's, in a
            clean process, from the pipeline's; and under `tflite` that of the LiteRT model's from the SavedModel's,
            with their `top_1_agreement`.
    """

    folder: Path
    outputs: list[str]
    check: dict[str, Any]

    @property
    def largest_difference(self) -> float:
        """The largest of all of them."""
        of_lite = self.check.get("tflite", {}).get("largest_difference", 0.0)
        # NumPy's: that of Python would let a NaN pass.
        return float(np.maximum(self.check["largest_difference"], of_lite))


@task(name="export model", cache_policy=NO_CACHE)
def export_model(
    dataset: Dataset,
    posters_dir: Path,
    backbone: Backbone,
    trained: TrainedHead,
    folder: Path,
    settings: ExportSettings,
) -> Export:
    """Writes the whole model in each format, and compares its answers on test posters with the pipeline's.

    Leaves it alone if the same was exported before.

    Raises:
        ExportError: if the model can't be used in a clean process; nothing is left at `folder`.
    """
    made_of = [
        versions.EXPORT,
        tf.__version__,
        trained.folder.name,
        backbone.fingerprint,
        list(backbone.taps),
        settings.model_dump(mode="json"),
    ]
    known = _read_if_made_of(folder, made_of)
    if known:
        logger.info("export: the model of %s is there already", trained.folder.name)
        return known
    shutil.rmtree(folder, ignore_errors=True)
    head = keras.saving.load_model(trained.head_path)
    network = backbone.tapped if trained.settings.taps else backbone.network
    classifier = Classifier(network, head, dataset.genres, trained.decades, settings.top_k)
    test = read_examples(dataset, trained.features_folder, "test")
    checked = test.imdb_ids[:_NUM_CHECKED]
    contents = dict(ledger.iterate_posters(posters_dir, set(checked)))
    posters = [contents[imdb_id] for imdb_id in checked]
    with atomic_folder(folder) as partial, ThreadPoolExecutor(1, "export") as other_thread:
        write_saved_model(classifier, trained.calibration, partial / "saved_model")
        # Half of its time are imports: meanwhile the rest is written here.
        asking = other_thread.submit(answer_in_clean_process, partial / "saved_model", posters)
        classifier.build_keras_model().save(partial / "classifier.keras")
        shutil.copy2(trained.head_path, partial / "head.keras")
        if settings.tflite:
            write_lite(classifier, partial / "classifier.tflite")
            of_lite = LiteRTNetwork((partial / "classifier.tflite").read_bytes()).run_posters(posters)
        if settings.index:
            write_index(dataset, trained.features_folder, head, partial / "index.parquet")
        answers = run_head(head, test.features, len(posters))
        expected = np.hstack([answers[name] for name in (GENRES, DECADE, SCORE) if name in answers])
        asked = asking.result()
        check: dict[str, Any] = {"posters": len(posters)}
        check["largest_difference"] = compare_answers(asked, expected, classifier.columns)
        if settings.tflite:
            check["tflite"] = {
                "top_1_agreement": _compare_best(asked["labels"], of_lite, dataset.genres),
                "largest_difference": compare_answers(asked, of_lite, classifier.columns),
            }
        about = {"made_of": made_of, "outputs": trained.heads.names, "check": check}
        (partial / _ABOUT).write_text(json.dumps(about) + "\n", "utf-8")
    logger.info("export: the answers about test posters, SavedModel against pipeline and LiteRT: %s", check)
    return _read(folder)


def _compare_best(labels: list[list[str]], columns: NDArray[np.float32], vocabulary: list[str]) -> float:
    """Returns the share of posters whose best genre is the same."""
    best = columns[:, : len(vocabulary)].argmax(axis=1)
    return float(np.mean([row[0] == vocabulary[column] for row, column in zip(labels, best, strict=True)]))


def _read_if_made_of(folder: Path, made_of: list[object]) -> Export | None:
    path = folder / _ABOUT
    if not path.exists():
        return None
    return _read(folder) if json.loads(path.read_text("utf-8"))["made_of"] == made_of else None


def _read(folder: Path) -> Export:
    about = json.loads((folder / _ABOUT).read_text("utf-8"))
    return Export(folder, about["outputs"], about["check"])
