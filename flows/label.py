"""Label posters with a published model."""

from pathlib import Path
from typing import Annotated

import pyarrow as pa
from prefect import flow
from pydantic import Field

from flows.downloading import download_posters
from flows.labelling import predict_posters
from flows.progress_artifacts import ProgressArtifacts
from flows.repairing import repeat_repaired
from flows.time_limit import time_limit
from flows.watching import crashed_when_interrupted, report_failure
from flows.workers import check_worker
from tasks.atomic import remove_partials
from tasks.catalog.reading import is_address
from tasks.errors import SettingsError
from tasks.locking import locked
from tasks.prediction.images import SCHEMES
from tasks.prediction.labelling import FILES, WORK, Labelled, list_addresses, list_posters, plan_labels
from tasks.prediction.predictor import Predictor
from tasks.prediction.predictors import PredictorKey
from tasks.prediction.task import label_posters
from tasks.progress import reporting_to
from tasks.registry.models import find_model
from tasks.settings import MAX_HOURS, NotifySettings, PosterSettings, RunnerSettings

_DEFAULTS = PosterSettings()
_THREADS = RunnerSettings()
_NO_NOTIFICATIONS = NotifySettings()


@flow(name="label", on_failure=[report_failure], on_crashed=[report_failure], on_cancellation=[report_failure])
def label(
    source: str,
    output_dir: Path,
    model: str = "champion",
    artifacts_dir: Path = Path("artifacts"),
    posters: PosterSettings = _DEFAULTS,
    max_hours: Annotated[float, Field(gt=0, le=8760)] = MAX_HOURS,
    notify: NotifySettings = _NO_NOTIFICATIONS,  # noqa: ARG001  (report_failure reads it from the run's parameters)
    precision: float | None = None,
    runner: RunnerSettings = _THREADS,
) -> Labelled:
    """Labels a folder or a catalog of posters, into `labels.parquet` and `labels.csv`.

    A run that was killed goes on where it was; a later one requests and predicts only what is new.

    Args:
        source: Folder of JPEG and PNG files, such a file or its address, or a CSV with a column `Poster` of files and
            addresses, such as MovieGenre.csv. A CSV from an address can't name files.
        output_dir: Folder of the two files, and of the downloads and predictions in `work`.
        model: Id of a published model, `champion`, or a model's folder.
        artifacts_dir: Folder of the published models.
        posters: Settings of the downloads.
        max_hours: Time limit of the run.
        notify: Settings of notifications, which are sent if it fails.
        precision: Precision at which genres are predicted, 0.5, 0.6 ... 0.9; None: over a confidence of 0.5.
        runner: Settings of where downloads and predictions run. Workers of a Dask cluster at an address need output
            folder, model and local files at the same paths.
    """
    check_worker()
    folder = check_inputs(source, output_dir, model, artifacts_dir, precision)
    with (
        time_limit(max_hours),
        locked(output_dir, "another label run"),
        ProgressArtifacts() as artifacts,
        reporting_to(artifacts),
        crashed_when_interrupted(),
    ):
        for written in (output_dir, output_dir / WORK / "pieces"):
            remove_partials(written)
        listed = list_posters(source, posters.allow_private_hosts)
        with_files = not is_address(source)
        return repeat_repaired(
            lambda: _label(folder, listed, output_dir, posters, precision, runner, with_files=with_files)
        )


def _label(
    folder: Path,
    listed: pa.Table,
    output_dir: Path,
    posters: PosterSettings,
    precision: float | None,
    runner: RunnerSettings,
    *,
    with_files: bool,
) -> Labelled:
    addresses = list_addresses(listed)
    if addresses.num_rows:
        download_posters(addresses, output_dir / WORK / "posters", posters, runner)
    key = PredictorKey.describe(folder, precision)
    predicted = predict_posters(plan_labels(listed, output_dir, key, with_files=with_files), output_dir, runner)
    return label_posters(listed, predicted, output_dir)


def check_inputs(
    source: str, output_dir: Path, model: str, artifacts_dir: Path, precision: float | None = None
) -> Path:
    """Returns the folder of the model, if source and output folder can be used.

    Raises:
        SettingsError: There is no such source, or the output would replace other files.
        RegistryError: There is no such model, or it has no thresholds for this precision.
    """
    folder = find_model(model, artifacts_dir).path
    Predictor.open(folder, precision)
    if output_dir.exists() and (not output_dir.is_dir() or any(map(_is_foreign, output_dir.iterdir()))):
        raise SettingsError(f"{output_dir} has other files: expected a folder that is new, empty, or of an earlier run")
    if not source.startswith(SCHEMES) and not Path(source).exists():
        raise SettingsError(f"nothing at {source}: expected a folder of images, an image, or a CSV")
    return folder


def _is_foreign(path: Path) -> bool:
    """Returns whether a file or folder is none that a run leaves in its output folder: the lock's begin with a dot."""
    return path.name not in (*FILES, WORK) and not path.name.startswith((".lock", *(f".{name}." for name in FILES)))
