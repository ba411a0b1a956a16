"""Make a published model again from the kept data, and compare it with the published one, stage by stage."""

import json
import logging
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from tasks.checking import DamagedFileError
from tasks.dataset.films import FILMS_FILE
from tasks.dataset.known_splits import name_splits_file
from tasks.dataset.splits import SPLITS
from tasks.dataset.task import Dataset
from tasks.errors import (
    LockedError,
    RepairedError,
    ReproductionError,
    describe_os_error,
    one_line,
)
from tasks.hashing import hash_file
from tasks.locking import locked
from tasks.model_folder import ModelFolder
from tasks.posters import ledger
from tasks.recipes import RECIPES
from tasks.registry.kept_films import KeptFilms, compare_films, read_model_films
from tasks.registry.provenance import list_changes
from tasks.registry.reproduction import Comparison
from tasks.settings import Settings

if TYPE_CHECKING:
    from tasks.registry.reproduction import Weights
    from tasks.training.task import TrainedHead

logger = logging.getLogger(__name__)

_IMAGES_AT_ONCE = 256


@dataclass(frozen=True)
class Reproduction:
    """A model that was made again.

    Attributes:
        comparisons: The comparison of each stage, in their order; the later ones are missing if the data set differs.
        circumstances: What is different now from when the model was made, such as a package's version; may be empty.
    """

    comparisons: tuple[Comparison, ...]
    circumstances: tuple[str, ...]

    @property
    def first_difference(self) -> Comparison | None:
        """The first stage that differs; None: all that was compared is equal."""
        return next((comparison for comparison in self.comparisons if comparison.equal is False), None)


def reproduce(model: ModelFolder, data_dir: Path | None = None) -> Reproduction:
    """Makes a model again, with its own settings, films and splits, in a folder that is removed afterwards.

    Posters are read, features are extracted anew, and the head is trained; nothing is published, and the results of
    other runs stay as they are.

    Args:
        model: The model.
        data_dir: Folder of the data; None: that of the model's settings.

    Raises:
        ReproductionError: If that can't be done; the message has the reason.
    """
    if not {"inputs", "provenance"} <= model.read_manifest().keys():
        raise ReproductionError(f"{model.id} was published by an earlier version: expected a model of this one")
    settings = _read_settings(model)
    if data_dir:
        settings = settings.model_copy(update={"data_dir": data_dir})
    if not settings.workspace.folder("catalog").is_dir():
        raise ReproductionError(f"no catalog in {settings.data_dir}: expected the data of earlier runs (--data)")
    try:
        with locked(settings.data_dir, "a reproduction", settings.wait_seconds), _scratch(settings) as scratch:
            return Reproduction(tuple(_reproduce(model, settings, scratch)), tuple(list_changes(model)))
    except (LockedError, RepairedError, DamagedFileError) as error:
        raise ReproductionError(str(error)) from error
    except OSError as error:
        raise ReproductionError(describe_os_error(error)) from error


def _read_settings(model: ModelFolder) -> Settings:
    try:
        values = json.loads(model.settings_path.read_bytes())
        for group, names in RECIPES["fast"].items():
            # A setting that a model's version did not have yet had the value that is the recipe's `fast` today.
            values[group] = {**names, **values[group]}
        return Settings.model_validate(values)
    except (ValueError, LookupError, TypeError) as error:  # pydantic's ValidationError is a ValueError
        raise ReproductionError(
            f"{model.settings_path} is not of this version: install the version that published {model.id} "
            f"({one_line(error)})"
        ) from error


@contextmanager
def _scratch(settings: Settings) -> Iterator[Path]:
    """Yields an empty folder; that of a killed process is removed by the next run."""
    settings.workspace.clear_leftovers()
    path = settings.workspace.folder("reproduction")
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", suffix=".partial", dir=path.parent) as scratch:
        yield Path(scratch)


def _reproduce(model: ModelFolder, settings: Settings, scratch: Path) -> Iterator[Comparison]:
    films = read_model_films(model.films_path)
    kept = _locate(model, settings)
    compared = compare_films(films, model.genres, kept, settings.dataset.min_posters_per_genre)
    yield compared
    if not compared.equal:
        return
    # These import TensorFlow, which the films do not need.
    from tasks.features.joining import open_features
    from tasks.registry.reproduction import compare_features
    from tasks.training.task import train_head

    published = _read_weights(model.head_path)  # before the work, which takes its time
    dataset = Dataset(
        folder=scratch / "shards",
        genres=model.genres,
        num_films={split: int((films["split"] == split).sum()) for split in SPLITS},
        fingerprint=hash_file(model.films_path),
    )
    dataset.folder.mkdir()
    dataset.films_path.write_bytes(model.films_path.read_bytes())
    folder, num_last_features = _extract_features(dataset, films, settings, scratch)
    matrices = {split: open_features(dataset, folder, split, settings.views.count(split)) for split in SPLITS}
    kept_folder = settings.workspace.folder("features") / model.features
    yield compare_features(films, matrices, kept_folder, folder)
    trained = train_head.fn(
        dataset=dataset,
        features_folder=folder,
        training_dir=scratch / "training",
        settings=settings.training,
        seed=settings.seed,
        heads=settings.heads,
        views=settings.views,
        num_last_features=num_last_features,
    )
    yield from _compare_heads(model, trained, dataset, published)


def _locate(model: ModelFolder, settings: Settings) -> KeptFilms:
    workspace = settings.workspace
    read = json.loads(workspace.read("catalog/dropped.json") or b"{}")
    provenance = model.read_manifest()["provenance"]
    now, then = read.get("sha256"), provenance["catalog_sha256"]
    # A model of an earlier version has no corrections.
    same_corrections = read.get("corrections_sha256") == provenance.get("corrections_sha256")
    return KeptFilms(
        catalog_path=workspace.folder("catalog") / FILMS_FILE,
        same_catalog=now is not None and now == then and same_corrections,
        posters_dir=workspace.folder("posters"),
        splits_path=workspace.folder("splits") / name_splits_file(settings.seed),
    )


def _extract_features(dataset: Dataset, films: pd.DataFrame, settings: Settings, scratch: Path) -> tuple[Path, int]:
    """Extracts the features of all images of a data set from the posters, and joins them with its films.

    Returns:
        Their folder, and how many of them are of the backbone's last layer.
    """
    from tasks.features.backbone import load_backbone
    from tasks.features.cache import write_views
    from tasks.features.extraction import extract_decodable, make_feature_extractor
    from tasks.features.joining import join_features

    backbone = load_backbone(settings.features)
    folder = scratch / "features" / backbone.feature_key.folder_name
    extractor = make_feature_extractor(backbone, settings.features)
    hash_of_film: dict[int, str] = dict(films.drop_duplicates("sha256")[["imdb_id", "sha256"]].itertuples(index=False))
    views = range(settings.views.train)
    posters = ledger.iterate_posters(settings.workspace.folder("posters"), hash_of_film.keys())
    while batch := list(islice(posters, _IMAGES_AT_ONCE)):
        images = {hash_of_film[imdb_id]: content for imdb_id, content in batch}
        features, undecodable = extract_decodable(images, views, extractor)
        if undecodable:
            raise ReproductionError(
                f"{len(undecodable)} images can't be decoded any more, {undecodable[0]} first: check the posters with "
                "poster-genres doctor --data, and run it again"
            )
        write_views(folder, list(images), features, views)
    join_features(dataset, folder, settings.views)
    return folder, backbone.num_last_features


def _compare_heads(
    model: ModelFolder, trained: "TrainedHead", dataset: Dataset, published: "Weights"
) -> Iterator[Comparison]:
    from scipy.special import expit

    from tasks.evaluation.predictions import predict_logits
    from tasks.evaluation.rivals import decide_as_served
    from tasks.evaluation.task import score_head
    from tasks.outputs.genres import GenresOutput
    from tasks.registry.reproduction import compare_figures, compare_predictions, compare_weights
    from tasks.training.examples import read_examples

    made = _read_weights(trained.head_path)
    yield compare_weights(made, published)
    test = read_examples(dataset, trained.features_folder, "test", trained.num_views)
    predicted = predict_logits(trained, test)
    confidences = expit(predicted[GenresOutput.name])
    decisions = decide_as_served(model, confidences)
    if made.shapes == published.shapes:
        expected = predict_logits(replace(trained, folder=model.path), test)
        expected[GenresOutput.name] = expit(expected[GenresOutput.name])
        predicted[GenresOutput.name] = confidences
        yield compare_predictions(predicted, expected, test.films["imdb_id"].tolist())
    yield compare_figures(
        score_head(trained, test.genre_targets, decisions, dataset.genres), model.read_metrics()["model"]
    )


def _read_weights(path: Path) -> "Weights":
    import keras

    from tasks.registry.reproduction import Weights

    try:
        head = keras.saving.load_model(path)
    except (ValueError, zipfile.BadZipFile) as error:
        raise ReproductionError(f"{path} can't be read: {one_line(error)}; pull the model again") from error
    return Weights([weight.path for weight in head.weights], head.get_weights())
