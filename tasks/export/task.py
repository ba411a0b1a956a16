"""The export stage."""

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

import keras
import pyarrow.parquet as pq
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.atomic import atomic_folder
from tasks.dataset.task import Dataset
from tasks.export.checking import answer_in_clean_process, compare_answers
from tasks.export.classifier import build_classifier, write_saved_model
from tasks.features.backbone import Backbone
from tasks.posters import ledger
from tasks.settings import ExportSettings
from tasks.training.examples import read_examples
from tasks.training.head import predict_probabilities
from tasks.training.task import TrainedHead

logger = logging.getLogger(__name__)

_NUM_CHECKED = 64


@dataclass(frozen=True)
class Export:
    """An exported and checked model: `folder` has `saved_model/` and `classifier.keras`.

    Attributes:
        folder: where it is.
        num_checked: test posters on which its answers were compared with the pipeline's, in a clean process.
        largest_difference: between its confidences and the pipeline's, on those.
    """

    folder: Path
    num_checked: int
    largest_difference: float


@task(name="export model", cache_policy=NO_CACHE, tags=["export"])
def export_model(
    dataset: Dataset,
    features_folder: Path,
    posters_dir: Path,
    backbone: Backbone,
    trained: TrainedHead,
    folder: Path,
    settings: ExportSettings,
) -> Export:
    """Writes the whole model in both formats, and compares its answers on test posters with the pipeline's.

    Raises:
        ExportError: if the model can't be used in a clean process or answers otherwise; nothing is left at `folder`.
    """
    shutil.rmtree(folder, ignore_errors=True)
    head = keras.saving.load_model(trained.head_path)
    classifier = build_classifier(backbone.network, head, dataset.vocabulary, settings.top_k)
    test = read_examples(dataset.films_path, features_folder, "test")
    posters = _read_posters(posters_dir, test.imdb_ids[:_NUM_CHECKED])
    with atomic_folder(folder) as partial:
        write_saved_model(classifier, partial / "saved_model")
        classifier.save(partial / "classifier.keras")
        answers = answer_in_clean_process(partial / "saved_model", posters)
        probabilities = predict_probabilities(head, test.features[: len(posters)])
        difference = compare_answers(answers, probabilities, dataset.vocabulary)
    logger.info(
        "export: answers of a clean process equal the pipeline's on %d test posters, to %.2g", len(posters), difference
    )
    return Export(folder, len(posters), difference)


def _read_posters(posters_dir: Path, imdb_ids: list[int]) -> list[bytes]:
    """Returns the bytes of the films' posters, in the order of the ids."""
    wanted = pq.read_table(
        ledger.part_paths(posters_dir), columns=["imdb_id", "content"], filters=[("imdb_id", "in", imdb_ids)]
    )
    contents = dict(zip(wanted["imdb_id"].to_pylist(), wanted["content"].to_pylist(), strict=True))
    return [contents[imdb_id] for imdb_id in imdb_ids]
