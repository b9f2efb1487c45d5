"""The HTTP interface as a Starlette application: every route but BentoML's own."""

from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TypeVar

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from pipeline.preprocessing import Digit, to_digit
from pipeline.segmentation import Box, find_digits
from serving.access import Access
from serving.answers import answer, answer_number, describe
from serving.docs import docs_page
from serving.models import Models
from serving.openapi import openapi_document
from serving.requests import RequestError, choose_model, decode, read_image_file, read_pixels
from serving.settings import Settings

ENOUGH = 1024  # pixels a side of a picture of one digit; preprocessing goes on with fewer
LARGE = 50_000  # bytes of a picture from which on it is decoded beside the other requests, not between them
PAGE = Path(__file__).parent / "page"
REPORT = Path(__file__).with_name("report.html")  # put there by the stage `package`
REPORT_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'",
    "cache-control": "no-cache",
}
Seen = TypeVar("Seen")
Handler = Callable[[Request], Awaitable[Response]]


def create_app(models: Callable[[], Models], settings: Settings, bentoml: ASGIApp) -> Starlette:
    """The application. `models` gives the models to answer with at the time of each request.

    `bentoml` answers `/metrics` and `/schema.json`, which clients need the key for as for all that is not read only.
    """
    access = Access(settings)

    async def read(request: Request, look: Callable[[bytes], Seen]) -> Seen:
        content = await read_image_file(request, settings.max_body_bytes)
        if len(content) > LARGE:
            return await run_in_threadpool(look, content)
        return look(content)

    async def read_digit(request: Request) -> Digit:
        return await read(request, lambda content: to_digit(decode(content, settings.max_pixels, enough=ENOUGH)))

    async def predict(request: Request) -> Response:
        model = choose_model(models(), request.query_params.get("model", "champion"))
        digit = await read_digit(request)
        return JSONResponse({**answer(model, digit.pixels[None])[0], "request_id": request.state.request_id})

    async def compare(request: Request) -> Response:
        digit = await read_digit(request)
        served = models()
        return JSONResponse(
            {
                "pixels": digit.pixels.tolist(),
                "results": {name: answer(model, digit.pixels[None])[0] for name, model in served.by_name.items()},
                "champion": served.champion,
                "request_id": request.state.request_id,
            }
        )

    async def predict_number(request: Request) -> Response:
        model = choose_model(models(), request.query_params.get("model", "champion"))

        def find(content: bytes) -> list[list[tuple[Box, Digit]]]:
            return find_digits(decode(content, settings.max_pixels), model.classifier.probabilities)

        found = await read(request, find)
        return JSONResponse({**answer_number(model, found), "request_id": request.state.request_id})

    async def predict_pixels(request: Request) -> Response:
        images, name = await read_pixels(request, settings.max_body_bytes)
        answers = answer(choose_model(models(), name), images)
        return JSONResponse({"results": identify(answers, request.state.request_id)})

    async def model(request: Request) -> Response:
        return JSONResponse(describe(models()))

    async def docs_json(request: Request) -> Response:
        return JSONResponse(openapi_document())

    async def docs(request: Request) -> Response:
        return HTMLResponse(docs_page(), headers=REPORT_HEADERS)

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
        guarded("/predict_number", predict_number),
        guarded("/predict_pixels", predict_pixels),
        guarded("/model", model, "GET"),
        Route("/docs.json", docs_json),
        Route("/docs", docs),
        Route("/report", report),
        Route("/cards/{name}", card),
        *(Route(path, Guarded(bentoml, access), methods=["GET"]) for path in ("/metrics", "/schema.json")),
        *page_routes(),
    ]
    origins = [origin.strip() for origin in settings.allow_origins.split(",") if origin.strip()]
    cross_origin = Middleware(
        CORSMiddleware, allow_origins=origins, allow_methods=["GET", "POST"], allow_headers=["Authorization"]
    )
    application = Starlette(
        routes=routes,
        middleware=[cross_origin] if origins else [],
        exception_handlers={RequestError: _refuse, HTTPException: _refuse_http, Exception: _fail},
    )
    application.router.redirect_slashes = False
    return application


def identify(answers: list[dict[str, object]], request_id: str) -> list[dict[str, object]]:
    """Answers with ids: the request's own for one, `ID-0`, `ID-1`, ... for several."""
    ids: Iterable[str] = [request_id] if len(answers) == 1 else (f"{request_id}-{i}" for i in range(len(answers)))
    return [{**row, "request_id": own} for row, own in zip(answers, ids, strict=True)]


class Guarded:
    """An ASGI application that answers only who may ask."""

    def __init__(self, application: ASGIApp, access: Access) -> None:
        self._application, self._access = application, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._access.check(Request(scope))
        await self._application(scope, receive, send)


def page_routes() -> list[Route]:
    """One route for each file of the page; browsers ask anew whether it changed."""

    def serve(path: Path) -> Handler:
        async def page_file(request: Request) -> Response:
            return FileResponse(path, headers={"cache-control": "no-cache"})

        return page_file

    files = sorted(path for path in PAGE.rglob("*") if path.is_file())
    routes = [Route(f"/{path.relative_to(PAGE).as_posix()}", serve(path)) for path in files]
    return [Route("/", serve(PAGE / "index.html")), *routes]


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return JSONResponse({"error": error.message}, error.status, error.headers)


async def _refuse_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    words = {
        404: f"there is no {request.url.path[:100]}; /docs.json lists what there is",
        405: f"{request.method[:20]} is not possible here; use {(error.headers or {}).get('Allow', 'another method')}",
    }
    return JSONResponse({"error": words.get(error.status_code, error.detail)}, error.status_code, error.headers)


async def _fail(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "something went wrong here; the log says what, under x-request-id"}, 500)
