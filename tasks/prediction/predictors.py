"""The predictor of this process: that of the model and precision which its tasks have."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tasks.errors import RegistryError
from tasks.hashing import hash_file
from tasks.kept import Kept, count_cores
from tasks.model_folder import ModelFolder
from tasks.prediction.predictor import Predictor


@dataclass(frozen=True)
class PredictorKey:
    """What decides a predictor.

    Attributes:
        folder: Folder of the model, absolute.
        manifest_sha256: Hash of the model's manifest.
        precision: Precision at which genres are predicted; None: over a confidence of 0.5.
        num_neighbours: Number of processes that predict on one machine, which share its cores.
    """

    folder: Path
    manifest_sha256: str
    precision: float | None
    num_neighbours: int = 1

    @classmethod
    def describe(cls, folder: Path, precision: float | None) -> Self:
        """Returns the key of a published model."""
        folder = folder.resolve()
        return cls(folder, hash_file(ModelFolder(folder).manifest_path), precision)


@dataclass(frozen=True)
class CountedPredictor:
    """A predictor, and who counts its images.

    Attributes:
        predictor: The predictor.
        count: Function that gets numbers of images as they are done, by reason of failure ("" for success); None: the
            run counts them at the end of each piece.
    """

    predictor: Predictor
    count: Callable[[Mapping[str, int]], None] | None = None


def _make_predictor(key: PredictorKey) -> CountedPredictor:
    manifest = ModelFolder(key.folder).manifest_path
    if not manifest.is_file() or hash_file(manifest) != key.manifest_sha256:
        raise RegistryError(
            f"the worker has {'another' if manifest.is_file() else 'no'} model at {key.folder}: give all machines the "
            "run's, under the same path (a shared disk)"
        )
    num_cores = count_cores(key.num_neighbours)
    predictor = Predictor.open(key.folder, key.precision, num_cores)
    predictor.predict([])  # else two threads of one worker would load it at once
    return CountedPredictor(predictor)


_predictors = Kept(_make_predictor)
keep_predictor = _predictors.keep


def find_predictor(key: PredictorKey) -> CountedPredictor:
    """Returns the predictor of this process, loaded; see `Kept.find`.

    Raises:
        RegistryError: This machine has another model than the flow's at this path, or none.
    """
    return _predictors.find(key)
