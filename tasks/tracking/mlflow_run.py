"""A published model as a run in MLflow: settings, scores, report, and the model as MLflow's own loader reads it."""

import json
import logging
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
from prefect import task
from prefect.cache_policies import NO_CACHE
from sqlalchemy.exc import SQLAlchemyError

from tasks.errors import one_line
from tasks.model_folder import ModelFolder

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

logger = logging.getLogger(__name__)

EXPERIMENT = "poster-genres"
MODEL_TAG = "poster_genres.model_id"
_CODE = Path(__file__).with_name("mlflow_model.py")
# All others become "_": MLflow takes metrics by other names for errors.
_NOT_IN_NAMES = re.compile(r"[^\w\-. /]")


def is_wanted() -> bool:
    """Whether models are to be logged to MLflow: the environment names its server or database."""
    return bool(os.environ.get("MLFLOW_TRACKING_URI"))


@task(name="log to MLflow", cache_policy=NO_CACHE)
def log_to_mlflow(model: ModelFolder) -> None:
    """Logs a published model to MLflow, unless it is there already.

    A tracker that is missing or fails is a warning: the model is published, and the next run tries it again.

    Args:
        model: The model.
    """
    try:
        import mlflow
        from mlflow.exceptions import MlflowException
    except ImportError as error:
        _warn(model, f"{one_line(error)}: install it (pip install mlflow-skinny)")
        return
    try:
        name, experiment_id = os.environ.get("MLFLOW_EXPERIMENT_NAME"), os.environ.get("MLFLOW_EXPERIMENT_ID")
        if experiment_id:
            experiment = mlflow.set_experiment(experiment_id=experiment_id)
        else:
            experiment = mlflow.set_experiment(name or EXPERIMENT)
        if _is_logged(model, experiment.experiment_id):
            logger.info("tracking: %s is in MLflow already", model.id)
            return
        _log(model)
    # Its stores raise those of their libraries: ImportError where one is not installed, OSError of the network, too.
    except (MlflowException, SQLAlchemyError, ImportError, OSError, ValueError) as error:
        _warn(model, one_line(error))


def _warn(model: ModelFolder, problem: str) -> None:
    logger.warning(
        "tracking: %s is published, but not in MLflow (MLFLOW_TRACKING_URI is set): %s. The next run tries it again; "
        "to log nothing there, unset the variable",
        model.id,
        problem.rstrip("."),
    )


def _is_logged(model: ModelFolder, experiment_id: str) -> bool:
    import mlflow

    finished = f"tags.`{MODEL_TAG}` = '{model.id}' and attributes.status = 'FINISHED'"
    return bool(mlflow.MlflowClient().search_runs([experiment_id], finished, max_results=1))


def _log(model: ModelFolder) -> None:
    import mlflow

    manifest = model.read_manifest()
    tags = {MODEL_TAG: model.id, "poster_genres.recipe": str(manifest["recipe"])}
    with mlflow.start_run(run_name=model.id, tags=tags, description=manifest["gate"]["reasons"]) as run:
        mlflow.log_params(dict(flatten(json.loads(model.settings_path.read_text("utf-8")))))
        mlflow.log_metrics(dict(list_metrics(model)))
        for path in (model.best_report_path, model.card_path, model.metrics_path, model.manifest_path):
            mlflow.log_artifact(str(path))
        _log_saved_model(model)
    logger.info("tracking: logged %s to MLflow as run %s", model.id, run.info.run_id)


def _log_saved_model(model: ModelFolder) -> None:
    import mlflow

    with warnings.catch_warnings():
        # The signature is the SavedModel's own, and needs no example.
        warnings.filterwarnings("ignore", ".*input example was not provided")
        mlflow.pyfunc.log_model(
            name="model",
            python_model=str(_CODE),
            artifacts={"saved_model": str(model.saved_model_path)},
            signature=read_signature(model.saved_model_path),
            # Given, since MLflow would otherwise load the model in a process of its own to find them.
            pip_requirements=[f"{name}=={version(name)}" for name in ("mlflow-skinny", "tensorflow", "pandas")],
        )


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the values of nested groups by dotted names, such as `training.epochs`."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def list_metrics(model: ModelFolder) -> Iterator[tuple[str, float]]:
    """Yields the scores of a model, by the names that they have in TensorBoard, and macro-F1 of its baselines."""
    from tasks.tracking.scores import list_scores

    metrics = model.read_metrics()
    predictions = pq.read_table(model.predictions_path).to_pandas()
    targets, probabilities = (np.stack(predictions[name].tolist()) for name in ("targets", "probabilities"))
    for name, value in list_scores(metrics, targets, probabilities):
        yield _NOT_IN_NAMES.sub("_", name), value
    lower, upper = metrics["model"]["macro_f1_interval"]
    yield "macro_f1_lower", lower
    yield "macro_f1_upper", upper
    for name in ("validation_macro_f1", "training_seconds"):
        yield name, metrics["model"][name]
    for name, scores in metrics["baselines"].items():
        yield f"macro_f1 of {name}", scores["macro_f1"]


def read_signature(saved_model: Path) -> "ModelSignature":
    """Returns MLflow's signature of a model: image files in, a column for each tensor of `serving_default` out."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import Array
    from tensorflow.core.framework import types_pb2
    from tensorflow.core.protobuf import saved_model_pb2

    stored = saved_model_pb2.SavedModel.FromString((saved_model / "saved_model.pb").read_bytes())
    tensors = stored.meta_graphs[0].signature_def["serving_default"].outputs
    types = {types_pb2.DT_STRING: DataType.string, types_pb2.DT_FLOAT: DataType.float}
    columns = []
    for name in sorted(tensors, key=lambda name: (name != "labels", name)):
        value = types[tensors[name].dtype]
        is_list = len(tensors[name].tensor_shape.dim) == 2
        columns.append(ColSpec(Array(value) if is_list else value, name))
    return ModelSignature(inputs=Schema([ColSpec(DataType.binary, "image_bytes")]), outputs=Schema(columns))
