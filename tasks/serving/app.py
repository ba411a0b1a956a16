"""The HTTP interface of a SavedModel: the paths, responses and errors of TensorFlow Serving's REST interface."""

import json
from typing import Any

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from tasks.serving.json_tensors import BadRequestError
from tasks.serving.servable import Servable

# Sixty-four posters of a megabyte, in base64.
MAX_BODY_BYTES = 96 * 2**20


def create_app(servable: Servable, name: str, version: int = 1, max_body_bytes: int = MAX_BODY_BYTES) -> FastAPI:
    """Returns the interface of one model.

    Args:
        servable: The model.
        name: Its name in the paths: `/v1/models/<name>:predict`, `/v1/models/<name>` and `/v1/models/<name>/metadata`,
            the name also followed by `/versions/<version>`.
        version: Its version.
        max_body_bytes: Maximum size of a request; a larger one is refused before it is read to its end.
    """
    # Not the pages of FastAPI's own, which load their scripts from elsewhere.
    app = FastAPI(title=name, docs_url=None, redoc_url=None)

    @app.exception_handler(HTTPException)
    async def answer_error(_: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"error": str(error.detail)}, error.status_code)

    @app.exception_handler(Exception)
    async def answer_bug(_: Request, error: Exception) -> JSONResponse:
        # The traceback is in the server's log.
        return JSONResponse({"error": f"the server failed, {type(error).__name__}: see its terminal"}, 500)

    @app.exception_handler(RequestValidationError)
    async def answer_invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return JSONResponse({"error": f"{where}: {first['msg']}"}, 422)

    def find(model: str, wanted: str = str(version)) -> None:
        if (model, wanted) != (name, str(version)):
            raise HTTPException(404, f"servable not found: {model} version {wanted}; expected {name} version {version}")

    @app.get("/v1/models/{model}")
    @app.get("/v1/models/{model}/versions/{wanted}")
    async def read_status(model: str, wanted: str = str(version)) -> dict[str, Any]:
        """Says whether the model is available, as TensorFlow Serving does."""
        find(model, wanted)
        status = {"error_code": "OK", "error_message": ""}
        return {"model_version_status": [{"version": str(version), "state": "AVAILABLE", "status": status}]}

    @app.get("/v1/models/{model}/metadata")
    @app.get("/v1/models/{model}/versions/{wanted}/metadata")
    async def read_metadata(model: str, wanted: str = str(version)) -> dict[str, Any]:
        """Describes the signatures of the model, as TensorFlow Serving does."""
        find(model, wanted)
        return {
            "model_spec": {"name": name, "signature_name": "", "version": str(version)},
            "metadata": {"signature_def": {"signature_def": servable.signature_defs}},
        }

    @app.post("/v1/models/{model}:predict")
    @app.post("/v1/models/{model}/versions/{wanted}:predict")
    async def predict(request: Request, model: str, wanted: str = str(version)) -> JSONResponse:
        """Runs a signature of the model on JSON (`instances` or `inputs`), as TensorFlow Serving does."""
        find(model, wanted)
        body = await read_body(request, max_body_bytes)
        try:
            return JSONResponse(await run_in_threadpool(_answer, servable, body))
        except BadRequestError as error:
            raise HTTPException(400, str(error)) from error

    return app


async def read_body(request: Request, max_bytes: int) -> bytes:
    """Returns the body of a request; one that is larger is an error 413, before it is read to its end."""
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > max_bytes:
                raise HTTPException(413, f"the request is too large: expected at most {max_bytes:,} bytes")
    except ClientDisconnect as error:  # a page that was closed: nobody reads the answer
        raise HTTPException(400, "the request was cut off") from error
    return bytes(body)


def _answer(servable: Servable, body: bytes) -> dict[str, Any]:
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"JSON parse error: {error}") from error
    return servable.predict(request)
