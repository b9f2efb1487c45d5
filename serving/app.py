"""The HTTP interface as a Starlette application: every route but BentoML's own."""

import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TypeVar

import numpy as np
import orjson
from numpy.typing import NDArray
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from recognition.image_format import IMAGE_SIZE, SUFFICIENT_SIDE
from recognition.preprocessing import Digit, to_digit
from recognition.segmentation import Box, find_digits
from serving.access import Access
from serving.answers import answer_number, describe
from serving.batching import Batcher, Rows
from serving.explain import evidence
from serving.feedback import Feedback, read_feedback
from serving.log_writer import Answered, kept_fields
from serving.models import Models
from serving.openapi import openapi_document
from serving.prediction_log import PredictionLog
from serving.requests import RequestError, choose_model, decode, read_image_file, read_label, read_pixels
from serving.settings import Settings

OFFLOAD_BYTES = 50_000  # larger pictures are decoded in a thread, so that they do not block the event loop
PAGE = Path(__file__).parent / "page"
SWAGGER_UI = ("swagger-ui.css", "swagger-ui-bundle.js")  # BentoML's copy renders /docs
REPORT = Path(__file__).with_name("report.html")  # put there by the stage `package`
REPORT_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'",
    "cache-control": "no-cache",
}
Parsed = TypeVar("Parsed")
Handler = Callable[[Request], Awaitable[Response]]


class JSONResponse(Response):
    """JSON by orjson, which is ten times as fast as the standard library."""

    media_type = "application/json"

    def render(self, content: object) -> bytes:
        return orjson.dumps(content)


def create_app(
    models: Callable[[], Models], settings: Settings, bentoml: ASGIApp, log: Callable[[], PredictionLog | None]
) -> Starlette:
    """Creates the application. `models` returns the current models for each request, `log` the prediction log or None.

    `bentoml` answers `/metrics` and `/schema.json`, both protected by the API key, and serves the files of Swagger UI.
    """
    access, feedback_desk, batcher = Access(settings), Feedback(), Batcher()

    def keep(request: Request, dataset: str, images: NDArray[np.uint8], *answers: Rows) -> dict[str, str]:
        """Logs each model's answers to `images`, uint8 (n, 28, 28). Returns the response's headers.

        A draft, which is a stroke that the user is still drawing, has the header `digits-draft` and is not logged.
        """
        if (open_log := log()) is None or "digits-draft" in request.headers:
            return {}
        latency = 1000 * (time.perf_counter() - request.state.started)
        identity = (request.state.request_id, dataset, request.scope["path"], access.client(request))
        stored = [[kept_fields(row) for row in rows] for rows in answers]
        open_log.record(Answered(*identity, time.time(), latency, images.tobytes(), stored))
        return {"digits-logged": "pixels"}

    async def read(request: Request, parse: Callable[[bytes], Parsed]) -> Parsed:
        content = await read_image_file(request, settings.max_body_bytes)
        return await run_in_threadpool(parse, content) if len(content) > OFFLOAD_BYTES else parse(content)

    async def read_digit(request: Request) -> Digit:
        return await read(request, lambda content: to_digit(decode(content, settings.max_pixels, SUFFICIENT_SIDE)))

    async def predict(request: Request) -> Response:
        served = models()
        model = choose_model(served, request.query_params.get("model", "champion"))
        images = (await read_digit(request)).pixels[None]
        rows = model.answer(images)
        headers = keep(request, served.dataset, images, rows)
        return JSONResponse({**rows[0], "request_id": request.state.request_id}, headers=headers)

    async def compare(request: Request) -> Response:
        images = (await read_digit(request)).pixels[None]
        served = models()
        rows = {name: model.answer(images) for name, model in served.by_name.items()}
        headers = keep(request, served.dataset, images, *rows.values())
        content = {
            "pixels": images[0].tolist(),
            "results": {name: answers[0] for name, answers in rows.items()},
            "champion": served.champion,
            "request_id": request.state.request_id,
        }
        return JSONResponse(content, headers=headers)

    async def explain(request: Request) -> Response:
        served = models()
        label = read_label(request, served.classes)
        pixels = (await read_digit(request)).pixels

        def compute() -> dict[str, object]:  # in a thread: each model runs on a few hundred images
            champion = served.by_name[served.champion].classifier
            target = int(champion.probabilities(pixels[None])[0].argmax()) if label is None else label
            maps = {name: evidence(m.classifier, pixels, target).tolist() for name, m in served.by_name.items()}
            return {"label": target, "maps": maps}

        return JSONResponse(await run_in_threadpool(compute))

    async def predict_number(request: Request) -> Response:
        served = models()
        model = choose_model(served, request.query_params.get("model", "champion"))

        def find(content: bytes) -> list[list[tuple[Box, Digit]]]:
            return find_digits(decode(content, settings.max_pixels), model.classifier.probabilities)

        lines = await read(request, find)
        images = np.array([digit.pixels for line in lines for _, digit in line], np.uint8).reshape(
            -1, IMAGE_SIZE, IMAGE_SIZE
        )
        rows = model.answer(images) if len(images) else []
        headers = keep(request, served.dataset, images, rows)
        content = {**answer_number(lines, rows), "request_id": request.state.request_id}
        return JSONResponse(content, headers=headers)

    async def predict_pixels(request: Request) -> Response:
        images, name = await read_pixels(request, settings.max_body_bytes)
        served = models()
        rows = await batcher.answer(choose_model(served, name), images)
        headers = keep(request, served.dataset, images, rows)
        return JSONResponse({"results": identify(rows, request.state.request_id)}, headers=headers)

    async def feedback(request: Request) -> Response:
        answer_id, label = await read_feedback(request, settings.max_body_bytes, len(models().classes))
        await feedback_desk.give(log(), answer_id, label, access.client(request))
        return Response(status_code=204)

    async def model(request: Request) -> Response:
        return JSONResponse(describe(models()))

    async def docs_json(request: Request) -> Response:
        return JSONResponse(openapi_document())

    async def report(request: Request) -> Response:
        if not REPORT.is_file():
            raise RequestError(404, "there is no report in this Bento; the stage `package` puts it there")
        return FileResponse(REPORT, headers=REPORT_HEADERS)

    async def card(request: Request) -> Response:
        named = choose_model(models(), request.path_params["name"])
        if named.card_page is None:
            raise RequestError(404, f"version {named.version} of {named.name} was registered without a card")
        return HTMLResponse(named.card_page, headers=REPORT_HEADERS)

    def guarded(path: str, handler: Handler, method: str = "POST") -> Route:
        async def check_first(request: Request) -> Response:
            access.check(request)
            return await handler(request)

        return Route(path, check_first, methods=[method])

    routes: list[BaseRoute] = [
        guarded("/predict", predict),
        guarded("/compare", compare),
        guarded("/explain", explain),
        guarded("/predict_number", predict_number),
        guarded("/predict_pixels", predict_pixels),
        guarded("/feedback", feedback),
        guarded("/model", model, "GET"),
        Route("/docs.json", docs_json),
        Route("/report", report),
        Route("/cards/{name}", card),
        *(Route(path, Guarded(bentoml, access), methods=["GET"]) for path in ("/metrics", "/schema.json")),
        *(Route(f"/static_content/{name}", bentoml, methods=["GET"]) for name in SWAGGER_UI),
        *page_routes(),
    ]
    origins = [origin.strip() for origin in settings.allow_origins.split(",") if origin.strip()]
    cross_origin = Middleware(
        CORSMiddleware,
        allow_origins=origins,
        allow_methods=["GET", "POST"],
        allow_headers=["Authorization"],
        expose_headers=["digits-logged"],
    )
    application = Starlette(
        routes=routes,
        middleware=[cross_origin] if origins else [],
        exception_handlers={RequestError: _refuse, HTTPException: _refuse_http, Exception: _fail},
    )
    application.router.redirect_slashes = False
    return application


def identify(answers: list[dict[str, object]], request_id: str) -> list[dict[str, object]]:
    """Adds ids to answers: the request's id to a single answer, `ID-0`, `ID-1`, ... to several."""
    ids: Iterable[str] = [request_id] if len(answers) == 1 else (f"{request_id}-{i}" for i in range(len(answers)))
    return [{**row, "request_id": own} for row, own in zip(answers, ids, strict=True)]


class Guarded:
    """An ASGI application that checks access before each request."""

    def __init__(self, application: ASGIApp, access: Access) -> None:
        self._application, self._access = application, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._access.check(Request(scope))
        await self._application(scope, receive, send)


def page_routes() -> list[Route]:
    """One route for each file of the page. Browsers revalidate their copy on every visit."""

    def route(path: str, file: Path) -> Route:
        async def page_file(request: Request) -> Response:
            return FileResponse(file, headers={"cache-control": "no-cache"})

        return Route(path, page_file)

    files = sorted(file for file in PAGE.rglob("*") if file.is_file())
    pages = [route("/", PAGE / "index.html"), route("/docs", PAGE / "docs.html")]
    return pages + [route(f"/{file.relative_to(PAGE).as_posix()}", file) for file in files]


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return JSONResponse({"error": error.message}, error.status, error.headers)


async def _refuse_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    messages = {
        404: f"there is no {request.url.path[:100]}; /docs.json lists what there is",
        405: f"{request.method[:20]} is not possible here; use {(error.headers or {}).get('Allow', 'another method')}",
    }
    return JSONResponse({"error": messages.get(error.status_code, error.detail)}, error.status_code, error.headers)


async def _fail(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "something went wrong here; the log says what, under x-request-id"}, 500)
