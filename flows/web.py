"""The page on which a model is tried, served on loopback."""

import contextlib
import errno
import socket
from pathlib import Path

import uvicorn

from flows.serving import signals_interrupt
from tasks.errors import SettingsError
from tasks.model_folder import ModelFolder
from tasks.serving.page import create_page
from tasks.serving.poster_model import PosterModel
from tasks.settings import PosterSettings

_MAX_REQUESTS_AT_ONCE = 64
_STOP_SECONDS = 5


def serve_page(model: ModelFolder, posters_dir: Path, port: int, settings: PosterSettings) -> None:
    """Serves the page until it is interrupted.

    Args:
        model: The model.
        posters_dir: Folder of the poster parts of the model's films; it may not exist.
        port: Port on 127.0.0.1; 0: any that is free.
        settings: Settings of the downloads.

    Raises:
        SettingsError: The port is taken.
    """
    try:
        listening = socket.create_server(("127.0.0.1", port))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise SettingsError(f"something listens on port {port} already: choose another with --port") from error
    with listening:
        page_model = PosterModel(model, posters_dir if posters_dir.is_dir() else None)
        app = create_page(page_model, settings)
        page_model.warm_up()
        print(f"{model.id} is at http://127.0.0.1:{listening.getsockname()[1]}; Ctrl-C stops it", flush=True)
        config = uvicorn.Config(
            app,
            log_level="warning",
            limit_concurrency=_MAX_REQUESTS_AT_ONCE,
            timeout_graceful_shutdown=_STOP_SECONDS,
        )
        with signals_interrupt(), contextlib.suppress(KeyboardInterrupt):
            # Raises the signal again when the requests under way are answered.
            uvicorn.Server(config).run(sockets=[listening])
        print("stopped", flush=True)
