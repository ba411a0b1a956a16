"""The page of `poster-genres web`, and what it requests: one model, for people at this machine."""

import asyncio
import base64
from collections.abc import Callable
from importlib.resources import files
from typing import Annotated, Any, TypeVar
from urllib.parse import urlsplit

import joblib
from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic import BaseModel, Field
from starlette.middleware.base import RequestResponseEndpoint
from starlette.middleware.trustedhost import TrustedHostMiddleware

from tasks.errors import RegistryError
from tasks.posters.fetching import PosterRequest, fetch_posters
from tasks.posters.images import MAX_PIXELS, NotAPosterError
from tasks.serving.app import create_app, read_body
from tasks.serving.poster_model import Answer, PosterModel
from tasks.serving.servable import Servable
from tasks.settings import PosterSettings

MODEL_NAME = "genres"
# A photograph of a telephone has 3 to 12 MB.
MAX_POSTER_BYTES = 16 * 2**20

_LOOPBACK = ["127.0.0.1", "localhost"]
# Nothing is loaded from anywhere else, and no other page can hold this one in a frame.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_DOWNLOADS_AT_ONCE = 4  # each may wait for its deadline
_EXPECTED = {
    "broken image": "a whole JPEG or PNG file",
    "too many pixels": f"at most {MAX_PIXELS:,} pixels",
}
_ASSETS = {"page.js": "text/javascript", "page.css": "text/css"}
_IMAGE_BODY = {
    "requestBody": {
        "required": True,
        "content": {name: {"schema": {"type": "string", "format": "binary"}} for name in ("image/jpeg", "image/png")},
    }
}

Result = TypeVar("Result")


class Address(BaseModel):
    """The address of a poster."""

    address: str = Field(max_length=2000, description="http or https, of a public host.")


class AddressAnswer(Answer):
    """What the model says of a poster that was downloaded, and the poster."""

    image: str = Field(description="The poster, as an address of the scheme data:.")


class Evidence(BaseModel):
    """Where in a poster the evidence for some genres is."""

    genres: list[str]
    evidence: list[list[list[float]]] = Field(
        description="For each genre rows from the top, and in each the cells from the left: by how much its log-odds "
        "fall where the cell is hidden."
    )


def create_page(model: PosterModel, settings: PosterSettings) -> FastAPI:
    """Returns the page, its requests, and the interface of TensorFlow Serving under `/v1/models/genres`.

    Requests must name this machine as their host, so that a page elsewhere can't make a browser read from it.

    Args:
        model: The model.
        settings: Settings of the downloads.
    """
    app = create_app(Servable(model.model.saved_model_path), MODEL_NAME, max_body_bytes=2 * MAX_POSTER_BYTES)
    app.title = "poster-genres"
    app.middleware("http")(_refuse_other_pages)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=_LOOPBACK)
    _add_page(app, model)
    _add_requests(app, model, settings)
    return app


async def _refuse_other_pages(request: Request, call_next: RequestResponseEndpoint) -> Response:
    """Refuses what a page of another site sends: a browser shows it no answer, but would send it."""
    origin, host = request.headers.get("origin"), request.headers.get("host")
    is_elsewhere = origin is not None and urlsplit(origin).netloc != host
    if request.method != "GET" and (is_elsewhere or request.headers.get("sec-fetch-site") == "cross-site"):
        return JSONResponse({"error": "refused: another page sent this; expected the one at /, or a program"}, 403)
    response = await call_next(request)
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _add_page(app: FastAPI, model: PosterModel) -> None:
    environment = Environment(
        loader=PackageLoader("tasks.serving", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    page = environment.get_template("page.html.jinja")

    @app.get("/", include_in_schema=False)
    async def show_page() -> Response:
        shown = page.render(
            model_id=model.model.id,
            genres=model.model.genres,
            has_pictures=model.has_pictures,
            max_bytes=MAX_POSTER_BYTES,
            paths=_describe_paths(app),
        )
        headers = {"Content-Security-Policy": _POLICY, "Referrer-Policy": "no-referrer"}
        return Response(shown, media_type="text/html", headers=headers)

    @app.get("/{name}", include_in_schema=False)
    async def send_asset(name: str) -> Response:
        if name not in _ASSETS:
            raise HTTPException(404, f"there is no {name}: the page is at /")
        return Response((files("tasks.serving") / name).read_bytes(), media_type=_ASSETS[name])


def _describe_paths(app: FastAPI) -> list[dict[str, str]]:
    return [
        {"method": method.upper(), "path": path, "description": operation["description"]}
        for path, operations in app.openapi()["paths"].items()
        for method, operation in operations.items()
    ]


def _add_requests(app: FastAPI, model: PosterModel, settings: PosterSettings) -> None:
    predicting, explaining = asyncio.Semaphore(joblib.cpu_count()), asyncio.Semaphore(1)
    downloading = asyncio.Semaphore(_DOWNLOADS_AT_ONCE)

    @app.post("/api/posters", openapi_extra=_IMAGE_BODY)
    async def answer_poster(request: Request) -> Answer:
        """Names the genres of a poster, a JPEG or PNG file, and the training films with the most similar ones."""
        content = await read_body(request, MAX_POSTER_BYTES)
        async with predicting:
            return await _run(model.answer, content)

    @app.post("/api/addresses")
    async def answer_address(wanted: Address) -> AddressAnswer:
        """Downloads a poster, under the rules of the pipeline's downloads, and answers it as `/api/posters` does."""
        async with downloading:
            content = await _run(_download, wanted.address, settings)
        async with predicting:
            answer = await _run(model.answer, content)
        image = f"data:image;base64,{base64.b64encode(content).decode()}"
        return AddressAnswer(image=image, **answer.model_dump())

    @app.post("/api/evidence", openapi_extra=_IMAGE_BODY)
    async def find_evidence(request: Request, genre: Annotated[list[str], Query()]) -> Evidence:
        """Finds where in a poster the evidence for some genres is: some dozens of predictions."""
        if unknown := sorted(set(genre) - set(model.model.genres)):
            raise HTTPException(422, f"no genre {unknown[0]!r}: expected {', '.join(model.model.genres)}")
        content = await read_body(request, MAX_POSTER_BYTES)
        async with explaining:
            found = await _run(model.explain, content, list(dict.fromkeys(genre)))
        return Evidence(genres=found.labels, evidence=found.evidence.tolist())

    @app.get("/api/films/{imdb_id}/poster", response_class=Response, responses={200: {"content": {"image/jpeg": {}}}})
    async def send_poster(imdb_id: int) -> Response:
        """Sends the small poster of a training film, if it is on this machine."""
        content = await run_in_threadpool(model.read_thumbnail, imdb_id)
        if content is None:
            expected = "a film with a poster" if model.has_pictures else "the data_dir of the run (--data)"
            raise HTTPException(404, f"no poster of film {imdb_id} here: expected {expected}")
        return Response(content, media_type="image/jpeg", headers={"Cache-Control": "max-age=3600"})


async def _run(function: Callable[..., Result], *arguments: Any) -> Result:
    """Calls a function in a thread; what is no poster is the client's error."""
    try:
        return await run_in_threadpool(function, *arguments)
    except NotAPosterError as error:
        expected = _EXPECTED.get(error.reason, "a JPEG or PNG file")
        raise HTTPException(422, f"no poster: {error.reason}; expected {expected}") from error
    except RegistryError as error:
        raise HTTPException(501, str(error)) from error


def _download(address: str, settings: PosterSettings) -> bytes:
    (poster,) = fetch_posters([PosterRequest(address)], settings)
    if poster.content is None:
        raise HTTPException(
            422, f"no poster at this address: {poster.reason}; expected that of a JPEG or PNG file on a public host"
        )
    return poster.content
