"""A worker process: loads the models, reloads them after a promotion, creates the HTTP application."""

import gc
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import bentoml
import psutil
from starlette.types import ASGIApp

from recognition.model import DamagedModel
from serving.answers import new_request_id
from serving.app import create_app, identify
from serving.front_door import FrontDoor
from serving.logs import configure_logs
from serving.models import Models, load_models
from serving.prediction_log import PredictionLog, open_log
from serving.protocol import bound_heads
from serving.reload import Watcher, load_directory
from serving.requests import RequestError, choose_model, parse_pixels
from serving.settings import Settings
from serving.tracing import traced

SWITCH_SECONDS = 0.0005  # Python's default, 0.005, lets the log's thread delay answers by that time at each write
STARTING_SECONDS = 60  # age of the supervisor up to which a damaged model stops the service
PACKAGED = Path(__file__).with_name("packaged.json")  # champion, tags and versions, written by the stage `package`
_served: list[Models] = []  # the models of this process: one element, replaced as a whole
_log: list[PredictionLog] = []


def create_front_door(bentoml_app: ASGIApp, settings: Settings) -> ASGIApp:
    """Creates the ASGI application of the service. It wraps BentoML's own application."""
    bound_heads()
    application = create_app(served_models, settings, bentoml_app, prediction_log)
    routes = frozenset(route.path.replace("{name}", "") for route in application.routes)  # type: ignore[attr-defined]
    return traced(FrontDoor(bentoml_app, application, settings, routes), "digits")


def start(settings: Settings) -> None:
    """Loads the models. With `model_dir`, also watches that folder for promotions. Raises DamagedModel."""
    configure_logs(settings.log_level)
    if settings.log_predictions:
        _log[:] = [open_log(settings)]
    try:
        if settings.model_dir is None:
            serve(packaged_models())
        else:
            watcher = Watcher(settings.model_dir, serve)
            serve(load_directory(settings.model_dir))
            watcher.start()
    except DamagedModel:
        end_supervisor()
        raise
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.collect()
    gc.freeze()  # excludes the loaded objects from later collections


def end_supervisor() -> None:
    """Stops a service that cannot start. BentoML's supervisor would continue without workers.

    A supervisor older than STARTING_SECONDS continues: its other workers may have intact models.
    """
    supervisor = psutil.Process(os.getppid())
    if time.time() - supervisor.create_time() < STARTING_SECONDS:
        supervisor.terminate()


def end() -> None:
    """Writes the waiting entries of the log."""
    if _log:
        _log[0].close()


def prediction_log() -> PredictionLog | None:
    """The log of this process; None if logging is off."""
    return _log[0] if _log else None


def packaged_models() -> Models:
    """The models inside this Bento. Raises DamagedModel."""
    packaged: dict[str, Any] = json.loads(PACKAGED.read_text(encoding="utf-8"))
    folders = {name: Path(bentoml.models.get(entry["tag"]).path) for name, entry in packaged["models"].items()}
    versions = {name: entry["version"] for name, entry in packaged["models"].items()}
    return load_models(folders, packaged["champion"], versions)


def serve(models: Models) -> None:
    """Replaces the models of this process."""
    _served[:] = [models]


def served_models() -> Models:
    """The current models. Raises RequestError 503 before they are loaded."""
    if not _served:
        raise RequestError(503, "the models are being loaded; ask /readyz and try again", {"retry-after": "1"})
    return _served[0]


def answer_pixels(images: list[Any], model: str) -> list[dict[str, object]]:
    """Answers `/predict_pixels` for BentoML's own handler. Raises RequestError."""
    return identify(choose_model(served_models(), model).answer(parse_pixels(images)), new_request_id())
