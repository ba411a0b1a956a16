"""The flows, and the command line that runs them.

Prefect, Keras and TensorFlow read their environment when they are first imported, so it is set here, before any of
them: telemetry is off, and a run needs no server that was started by hand. Existing values are not overridden.
"""

import logging
import os

from flows.redaction import redact_logs

_ENVIRONMENT = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # The first start of the temporary server in a new home creates its database, which can exceed Prefect's 20 s.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    # This project's log lines go to the terminal and to the server, as Prefect's do ...
    "PREFECT_LOGGING_EXTRA_LOGGERS": "flows,tasks",
    # ... if a run is active.
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    # Seconds, also where the working directory has no prefect.toml: with Prefect's own 180 the automation, which
    # waits for 90, would mark a living run as crashed.
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    # Prefect starts its temporary server with `python -m`: a module in the working directory that has the name of one
    # of Python's, or of a package, must not take its place.
    "PYTHONSAFEPATH": "1",
    # MLflow takes no other value of DO_NOT_TRACK than "true" for an answer.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # A server that does not answer holds up a run for seconds, not for four minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # Some servers that are compatible with S3 send the checksum of the whole object with a range of it. Files are
    # compared with the hashes of their manifests.
    "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
    "KERAS_BACKEND": "tensorflow",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}
for _name, _value in _ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)

# Logged beside Prefect's own lines; other libraries log warnings only.
for _name in ("flows", "tasks"):
    logging.getLogger(_name).setLevel(logging.INFO)

redact_logs()
