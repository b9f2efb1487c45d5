"""The HTTP interface as a Starlette application; BentoML serves it, and answers itself what is not found here."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from PIL import Image
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from pipeline.preprocessing import to_digit
from pipeline.segmentation import find_digits
from serving.answers import answer, answer_number, describe, new_request_id
from serving.explain import evidence
from serving.models import Models
from serving.openapi import openapi_document
from serving.requests import RequestError, choose_model, read_image, read_label, read_pixels
from serving.settings import Settings

ENOUGH = 1024  # pixels a side of a picture of one digit; preprocessing goes on with fewer
PAGE = Path(__file__).parent / "page"
SECURITY_HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' data: blob:; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


def create_app(models: Callable[[], Models], settings: Settings) -> Starlette:
    """The application. `models` gives the models to answer with at the time of each request."""

    async def read_digit(request: Request) -> Image.Image:
        return await read_image(request, settings.max_body_bytes, settings.max_pixels, enough=ENOUGH)

    async def predict(request: Request) -> Response:
        model = choose_model(models(), request.query_params.get("model", "champion"))
        digit = to_digit(await read_digit(request))
        return JSONResponse({**answer(model, digit.pixels[None])[0], "request_id": new_request_id()})

    async def compare(request: Request) -> Response:
        digit = to_digit(await read_digit(request))
        served = models()
        return JSONResponse(
            {
                "pixels": digit.pixels.tolist(),
                "results": {name: answer(model, digit.pixels[None])[0] for name, model in served.by_name.items()},
                "champion": served.champion,
                "request_id": new_request_id(),
            }
        )

    async def explain(request: Request) -> Response:
        digit = to_digit(await read_digit(request))
        served = models()
        champion = served.by_name[served.champion].classifier
        label = read_label(request, served.classes)
        if label is None:
            label = int(champion.probabilities(digit.pixels[None])[0].argmax())
        maps = {name: evidence(m.classifier, digit.pixels, label).tolist() for name, m in served.by_name.items()}
        return JSONResponse({"label": label, "maps": maps})

    async def predict_number(request: Request) -> Response:
        model = choose_model(models(), request.query_params.get("model", "champion"))
        image = await read_image(request, settings.max_body_bytes, settings.max_pixels)
        return JSONResponse(answer_number(model, find_digits(image, model.classifier.probabilities)))

    async def predict_pixels(request: Request) -> Response:
        images, name = await read_pixels(request, settings.max_body_bytes)
        answers = answer(choose_model(models(), name), images)
        return JSONResponse({"results": [{**row, "request_id": new_request_id()} for row in answers]})

    async def model(request: Request) -> Response:
        return JSONResponse(describe(models()))

    async def docs(request: Request) -> Response:
        return JSONResponse(openapi_document())

    routes = [
        Route("/predict", predict, methods=["POST"]),
        Route("/compare", compare, methods=["POST"]),
        Route("/explain", explain, methods=["POST"]),
        Route("/predict_number", predict_number, methods=["POST"]),
        Route("/predict_pixels", predict_pixels, methods=["POST"]),
        Route("/model", model),
        Route("/docs.json", docs),
        Route("/", page_file(PAGE / "index.html")),
        *(Route(f"/{path.name}", page_file(path)) for path in sorted(PAGE.iterdir()) if path.is_file()),
    ]
    return Starlette(routes=routes, exception_handlers={RequestError: _refuse, HTTPException: _refuse_http})


def page_file(path: Path) -> Callable[[Request], Awaitable[Response]]:
    """A handler that answers with one file of the page; browsers ask anew whether it changed."""

    async def serve(request: Request) -> Response:
        return FileResponse(path, headers={"cache-control": "no-cache"})

    return serve


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return JSONResponse({"error": error.message}, error.status)


async def _refuse_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    words = {
        404: f"there is no {request.url.path[:100]}; /docs.json lists what there is",
        405: f"{request.method} is not possible here; use {(error.headers or {}).get('Allow', 'another method')}",
    }
    return JSONResponse({"error": words.get(error.status_code, error.detail)}, error.status_code, error.headers)


class FrontDoor:
    """ASGI middleware that answers with the application, and hands on to BentoML only what is BentoML's own."""

    BENTOML_PATHS = frozenset({"/livez", "/readyz", "/healthz", "/metrics", "/schema.json"})

    def __init__(self, app: ASGIApp, application: ASGIApp) -> None:
        self.bentoml, self.application = app, application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in self.BENTOML_PATHS:
            await self.bentoml(scope, receive, send)
            return

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                extra = [(name.encode(), value.encode()) for name, value in SECURITY_HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *extra]}
            await send(message)

        await self.application(scope, receive, send_with_headers)
