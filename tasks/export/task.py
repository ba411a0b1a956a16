"""The export stage."""

import json
import logging
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks import versions
from tasks.atomic import atomic_folder
from tasks.dataset.task import Dataset
from tasks.export.checking import answer_in_clean_process, compare_answers
from tasks.export.classifier import build_classifier, build_confidences, write_saved_model
from tasks.features.backbone import Backbone
from tasks.features.litert import LiteRTNetwork, convert
from tasks.posters import ledger
from tasks.settings import ExportSettings
from tasks.training.examples import read_examples
from tasks.training.head import run_head
from tasks.training.task import TrainedHead

logger = logging.getLogger(__name__)

_NUM_CHECKED = 64
_ABOUT = "export.json"


@dataclass(frozen=True)
class Export:
    """An exported and checked model.

    Attributes:
        folder: has `saved_model/`, the same as `classifier.keras`, `classifier.tflite` (pixels to confidences), and
            `head.keras`.
        num_checked: test posters on which the answers of SavedModel, in a clean process, and LiteRT model were
            compared with the pipeline's.
        largest_difference: between the confidences of either and the pipeline's, on those.
    """

    folder: Path
    num_checked: int
    largest_difference: float


@task(name="export model", cache_policy=NO_CACHE)
def export_model(
    dataset: Dataset,
    features_folder: Path,
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
        settings.model_dump(mode="json"),
    ]
    known = _read_if_made_of(folder, made_of)
    if known:
        logger.info("export: the model of %s is there already", trained.folder.name)
        return known
    shutil.rmtree(folder, ignore_errors=True)
    head = keras.saving.load_model(trained.head_path)
    network = backbone.tapped if trained.settings.taps else backbone.network
    classifier = build_classifier(network, head, dataset.vocabulary, settings.top_k)
    test = read_examples(dataset, features_folder, "test")
    checked = test.imdb_ids[:_NUM_CHECKED]
    contents = dict(ledger.iterate_posters(posters_dir, set(checked)))
    posters = [contents[imdb_id] for imdb_id in checked]
    with atomic_folder(folder) as partial, ThreadPoolExecutor(1, "export") as other_thread:
        write_saved_model(classifier, trained.calibration, partial / "saved_model")
        # Half of its time are imports: meanwhile the rest is written here.
        asking = other_thread.submit(answer_in_clean_process, partial / "saved_model", posters)
        classifier.save(partial / "classifier.keras")
        lite = convert(build_confidences(classifier))
        (partial / "classifier.tflite").write_bytes(lite)
        shutil.copy2(trained.head_path, partial / "head.keras")
        confidences = run_head(head, test.features, len(posters))
        of_lite = np.abs(LiteRTNetwork(lite).run_posters(posters) - confidences).max()
        of_saved_model = compare_answers(asking.result(), confidences, dataset.vocabulary)
        # NumPy's: that of Python would let a NaN pass.
        difference = float(np.maximum(of_lite, of_saved_model))
        about = {"made_of": made_of, "num_checked": len(posters), "largest_difference": difference}
        (partial / _ABOUT).write_text(json.dumps(about) + "\n", "utf-8")
    logger.info(
        "export: the answers about %d test posters differ from the pipeline's by at most %.2g",
        len(posters),
        difference,
    )
    return Export(folder, len(posters), difference)


def _read_if_made_of(folder: Path, made_of: list[object]) -> Export | None:
    path = folder / _ABOUT
    if not path.exists():
        return None
    about = json.loads(path.read_text("utf-8"))
    if about["made_of"] != made_of:
        return None
    return Export(folder, about["num_checked"], about["largest_difference"])
