"""The flows, and the command line that runs them.

Prefect, Keras and TensorFlow read their environment when they are first imported, so what this project needs of it is
set here, before any of them: nothing is sent to anyone, and a run needs no server that was started by hand. Whoever
sets these variables themselves is left in peace.
"""

import logging
import os

_ENVIRONMENT = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # The first start of the temporary server in a fresh home sets up its database, which can pass Prefect's 20 s.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    # Our own log lines go where Prefect's go: the terminal and the server.
    "PREFECT_LOGGING_EXTRA_LOGGERS": "flows,tasks",
    # ... where there is a run to tell them to.
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "KERAS_BACKEND": "tensorflow",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}
for _name, _value in _ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)

# Shown beside Prefect's own lines; other libraries' stay at warnings.
for _name in ("flows", "tasks"):
    logging.getLogger(_name).setLevel(logging.INFO)
