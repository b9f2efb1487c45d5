"""The Bento's entry point: the FastAPI application as a BentoML service, with middleware around all of its routes."""

import re
import sys
from http import HTTPStatus
from pathlib import Path
from typing import Any

import bentoml
from starlette.middleware.cors import CORSMiddleware

from recognition.model import DamagedModel
from serving.api.application import create_app, measured_paths, open_paths
from serving.api.prediction_routes import answer_pixels, identify
from serving.api.schemas import IdentifiedAnswer, PixelsAnswer
from serving.api.state import ServiceState
from serving.errors import RequestError
from serving.inference.model_watcher import load_models_of
from serving.middleware.access import AccessMiddleware
from serving.middleware.api_keys import read_key_file
from serving.middleware.body_limit import BodyLimitMiddleware
from serving.middleware.load_limits import BODY_SECONDS, LoadLimitsMiddleware
from serving.middleware.request_context import RequestContextMiddleware
from serving.middleware.request_heads import bound_heads
from serving.settings import Settings, read_settings
from serving.telemetry.json_logs import configure_logs
from serving.telemetry.tracing import tracing_middleware

BENTOML_ROUTE = "/bentoml/predict_pixels"
LOCK = Path(__file__).with_name("requirements.txt").read_text()
# Without hashes: BentoML adds itself without one, and pip wants one for all packages or none. `make image` uses LOCK.
REQUIREMENTS = re.findall(r"^\S+==.*?(?= \\$)", LOCK, re.MULTILINE)


def configure() -> tuple[Settings, tuple[Any, dict[str, Any]] | None]:
    """The settings, and the tracing middleware if there is one. If they are wrong, exits with a line that says how."""
    try:
        settings = read_settings()
        if settings.api_keys_file is not None:
            read_key_file(settings.api_keys_file)
        return settings, tracing_middleware("digits")
    except ValueError as error:
        sys.exit(f"error: {error}")


def cors_options(settings: Settings) -> dict[str, Any]:
    """What browsers let pages of the allowed origins do."""
    return {
        "allow_origins": sorted(settings.origins),
        "allow_methods": ["GET", "POST"],
        "allow_headers": ["Authorization", "Content-Type"],
        "expose_headers": ["digits-logged", "retry-after", "x-request-id"],
    }


SETTINGS, TRACING = configure()
bound_heads()
app = create_app(SETTINGS)
state: ServiceState = app.state.service


class RejectedRequest(bentoml.exceptions.BentoMLException):  # type: ignore[misc]
    """A RequestError as BentoML's handlers expect it."""

    def __init__(self, error: RequestError) -> None:
        super().__init__(error.message)
        self.error_code = HTTPStatus(error.status)


@bentoml.service(
    name="digits",
    workers=SETTINGS.workers,
    traffic={"timeout": BODY_SECONDS + SETTINGS.deadline_seconds + 1},  # our own deadline comes first
    metrics={"enabled": False},  # its metrics have a label for each path that a client makes up; /metrics has ours
    logging={"access": {"enabled": False}},  # ours is JSON
    tracing={"excluded_urls": ".*"},  # see telemetry/tracing.py
    envs=[{"name": "OPENBLAS_NUM_THREADS", "value": "1"}],  # threads slow down such small matrices
    # Pinned in requirements.txt: BentoML's own lock would store the address of the local package index in the Bento
    # Without a distribution, BentoML installs no compilers and no Git
    image=bentoml.images.Image(
        base_image="python:3.11-slim", distro="none", python_version="3.11", lock_python_packages=False
    ).python_packages(*REQUIREMENTS),
)
@bentoml.asgi_app(app, path="/")
class Digits:
    """Recognises handwritten digits with every registered model."""

    @bentoml.on_deployment  # type: ignore[untyped-decorator]
    def check_models() -> None:
        """Runs once before the workers start. Exits with one line if a model is missing or damaged."""
        try:
            load_models_of(SETTINGS)
        except DamagedModel as error:
            sys.exit(f"error: {error}")

    def __init__(self) -> None:
        configure_logs(SETTINGS.log_level)

    async def __is_ready__(self) -> bool:
        return state.ready

    @bentoml.api(route=BENTOML_ROUTE)  # type: ignore[untyped-decorator]
    async def predict_pixels(
        self, ctx: bentoml.Context, images: list[list[list[int]]], model: str = "champion"
    ) -> PixelsAnswer:
        """Predict the digits in 1 to 256 images of 28x28 pixels, 0..255, ink bright."""
        try:
            models = state.models.current
            chosen = state.choose(ctx.request, models, model)
            pixels, rows = await state.threads.run(answer_pixels, images, chosen)
        except RequestError as error:
            ctx.request.state.error_code = error.code
            raise RejectedRequest(error) from None
        ctx.response.headers.update(state.record(ctx.request, models, pixels, rows))
        return PixelsAnswer(results=[IdentifiedAnswer(**row) for row in identify(rows, ctx.request.state.request_id)])


# From the outermost to the innermost; they cover BentoML's own routes too
MIDDLEWARE: list[tuple[Any, dict[str, Any]]] = [
    *([(CORSMiddleware, cors_options(SETTINGS))] if SETTINGS.origins else []),
    *([TRACING] if TRACING else []),
    (RequestContextMiddleware, {"ids": state.ids, "routes": measured_paths(app) | {BENTOML_ROUTE, "/schema.json"}}),
    (AccessMiddleware, {"settings": SETTINGS, "open_paths": open_paths()}),
    (LoadLimitsMiddleware, {"settings": SETTINGS}),
    (BodyLimitMiddleware, {"settings": SETTINGS, "paths": frozenset({BENTOML_ROUTE})}),
]
for middleware, options in MIDDLEWARE:
    Digits.add_asgi_middleware(middleware, **options)  # type: ignore[attr-defined]
