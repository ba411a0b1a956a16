"""Models in MLflow, in a SQLite database, read back by its own loader: `make trackers`."""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tasks.export.checking import serve_in_clean_process
from tasks.tracking.mlflow_run import EXPERIMENT, MODEL_TAG, log_to_mlflow, read_signature

pytestmark = [pytest.mark.trackers, pytest.mark.backbone]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture(autouse=True)
def tracked(small_run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow writes its files to a folder of the tests; a run that is done has made none."""
    assert "mlflow" not in small_run.run.seconds
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
    monkeypatch.chdir(folder)


def find_runs(model_id: str) -> list[Any]:
    import mlflow

    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name(EXPERIMENT)
    return list(client.search_runs([experiment.experiment_id], f"tags.`{MODEL_TAG}` = '{model_id}'"))


def run_apart(code: str, *arguments: str) -> str:
    """Runs code in a process of its own, and returns what it prints last."""
    command = [sys.executable, "-P", "-W", "ignore", "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def test_a_known_model_is_logged_by_the_next_run_and_once(small_run) -> None:
    from mlflow.artifacts import list_artifacts

    run = small_run.again()
    assert (run.is_new, "mlflow" in run.seconds) == (False, True)
    (logged,) = find_runs(run.model.id)
    assert logged.info.run_name == run.model.id
    assert logged.info.status == "FINISHED"
    assert logged.data.params["training.recipe"] == "fast"
    assert logged.data.params["dataset.min_posters_per_genre"] == "12"
    expected = run.metrics["model"]
    assert logged.data.metrics["macro_f1"] == pytest.approx(expected["macro_f1"])
    for genre, scores in expected["genres"].items():
        assert logged.data.metrics[f"f1/{genre}"] == pytest.approx(scores["f1"])
    assert logged.data.metrics["macro_f1 of seed"] == pytest.approx(run.metrics["baselines"]["seed"]["macro_f1"])
    names = {file.path for file in list_artifacts(run_id=logged.info.run_id)}
    assert names >= {"report.html", "MODEL_CARD.md", "metrics.json", "manifest.json"}
    small_run.again()
    assert [run.info.run_id for run in find_runs(run.model.id)] == [logged.info.run_id]


def test_a_run_that_was_killed_there_is_made_again(small_run) -> None:
    import mlflow

    model = small_run.run.model
    (finished,) = find_runs(model.id)
    client = mlflow.MlflowClient()
    client.set_terminated(finished.info.run_id, "KILLED")
    log_to_mlflow.fn(model)
    assert sorted(run.info.status for run in find_runs(model.id)) == ["FINISHED", "KILLED"]


LOAD = """
import base64, json, sys
sys.modules["tasks"] = sys.modules["flows"] = None  # neither can be imported
import mlflow, pandas
model = mlflow.pyfunc.load_model(sys.argv[1])
posters = [base64.b64decode(poster) for poster in json.load(open(sys.argv[2]))]
rows = model.predict(pandas.DataFrame({"image_bytes": posters})).to_dict("records")
assert len(model.predict(pandas.DataFrame({"image_bytes": [b""]}))) == 1
try:
    model.predict(pandas.DataFrame({"path": ["poster.jpg"]}))
except mlflow.exceptions.MlflowException as error:
    assert "image_bytes" in str(error)
else:
    raise SystemExit("the signature is not enforced")
print(json.dumps(rows))
"""


def test_mlflow_loads_the_model_without_this_project(small_run, tmp_path: Path) -> None:
    import mlflow

    model = small_run.run.model
    (run,) = (run for run in find_runs(model.id) if run.info.status == "FINISHED")
    contents = [*(path.read_bytes() for path in small_run.posters[:5]), b"no poster"]
    posters = tmp_path / "posters.json"
    posters.write_text(json.dumps([base64.b64encode(content).decode() for content in contents]))
    (logged,) = mlflow.search_logged_models(
        [run.info.experiment_id], f"source_run_id = '{run.info.run_id}'", output_format="list"
    )
    rows = json.loads(run_apart(LOAD, logged.model_uri, str(posters)))
    served = serve_in_clean_process(model.saved_model_path, contents)
    for row, (labels, confidences, calibrated, error) in zip(
        rows, zip(*(served[key] for key in ("labels", "confidences", "calibrated", "error")), strict=True), strict=True
    ):
        genres = [label for label in labels if label]
        assert row["labels"] == genres
        np.testing.assert_allclose(row["confidences"], confidences[: len(genres)], atol=1e-5)
        np.testing.assert_allclose(row["calibrated"], calibrated[: len(genres)], atol=1e-5)
        assert row["error"] == error
    assert [row["error"] for row in rows] == [""] * 5 + ["neither JPEG nor PNG"]
    assert any(row["labels"] for row in rows)
    signature = mlflow.models.get_model_info(logged.model_uri).signature
    assert signature.inputs.to_dict() == [{"type": "binary", "name": "image_bytes", "required": True}]
    assert signature.outputs.input_names() == ["labels", "calibrated", "confidences", "error"]


def test_the_signature_is_that_of_the_saved_model(tmp_path: Path) -> None:
    module = tf.Module()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "image_bytes")])
    def serve(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        lengths = tf.cast(tf.strings.length(image_bytes), tf.float32)
        return {"labels": image_bytes[:, tf.newaxis], "decade": image_bytes, "score": lengths}

    tf.saved_model.save(module, str(tmp_path), {"serving_default": serve.get_concrete_function()})
    assert [(column["name"], column["type"]) for column in read_signature(tmp_path).outputs.to_dict()] == [
        ("labels", "array"),
        ("decade", "string"),
        ("score", "float"),
    ]


LOG = """
import sys
from pathlib import Path
requests = []
sys.addaudithook(lambda event, _: requests.append(event) if event in ("socket.connect", "socket.getaddrinfo") else None)
import flows, socket
from tasks.model_folder import ModelFolder
from tasks.tracking.mlflow_run import log_to_mlflow
log_to_mlflow.fn(ModelFolder(Path(sys.argv[1])))
from mlflow.telemetry.client import get_telemetry_client
assert get_telemetry_client() is None
assert requests == [], requests
socket.socket(type=socket.SOCK_DGRAM).connect(("127.0.0.1", 9))
print(requests)
"""


def test_no_connection_is_made(small_run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'other.db'}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[2]), os.environ["PYTHONPATH"]]))
    # What is set in this process already would hide what the package sets.
    for name in [name for name in os.environ if name.startswith("MLFLOW_") and name != "MLFLOW_TRACKING_URI"]:
        monkeypatch.delenv(name)
    assert run_apart(LOG, str(small_run.run.model.path)) == "['socket.connect']"
    assert (folder / "other.db").exists()


def test_a_server_that_is_down_is_a_warning(
    small_run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    run = small_run.again()
    assert run.model == small_run.run.model
    (warning,) = [record for record in caplog.records if record.name == "tasks.tracking.mlflow_run"]
    assert "is published, but not in MLflow" in warning.getMessage()
    assert "127.0.0.1:1" in warning.getMessage()
    assert "secret" not in caplog.text
