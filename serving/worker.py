"""What a worker process does: it loads the models, keeps them up to date, and answers with them."""

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

SWITCH_SECONDS = 0.0005  # Python's 0.005 let the log's thread hold up answers for so long, each time it writes
STARTING_SECONDS = 60  # within which a damaged model counts as found on start
PACKAGED = Path(__file__).with_name("packaged.json")  # written by the stage `package`: champion, tags and versions
_served: list[Models] = []  # the models of this process: one element, replaced as a whole
_log: list[PredictionLog] = []


def create_front_door(bentoml_app: ASGIApp, settings: Settings) -> ASGIApp:
    """The whole interface, in front of what BentoML itself answers."""
    bound_heads()
    application = create_app(served_models, settings, bentoml_app, prediction_log)
    routes = frozenset(route.path.replace("{name}", "") for route in application.routes)  # type: ignore[attr-defined]
    return traced(FrontDoor(bentoml_app, application, settings, routes), "digits")


def start(settings: Settings) -> None:
    """Load the models, and watch for others where a folder of exported ones is set. Raises DamagedModel."""
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
    gc.freeze()  # what was loaded stays: no collection among requests walks through it again


def end_supervisor() -> None:
    """Let a service end that cannot start: BentoML's supervisor would go on without workers, and answer nobody.

    Later, when a worker is replaced, the others' models may be whole, and go on.
    """
    supervisor = psutil.Process(os.getppid())
    if time.time() - supervisor.create_time() < STARTING_SECONDS:
        supervisor.terminate()


def end() -> None:
    """Write what waits to be logged."""
    if _log:
        _log[0].close()


def prediction_log() -> PredictionLog | None:
    """The log of this process, None where nothing is logged."""
    return _log[0] if _log else None


def packaged_models() -> Models:
    """The models inside this Bento. Raises DamagedModel."""
    packaged: dict[str, Any] = json.loads(PACKAGED.read_text(encoding="utf-8"))
    folders = {name: Path(bentoml.models.get(entry["tag"]).path) for name, entry in packaged["models"].items()}
    versions = {name: entry["version"] for name, entry in packaged["models"].items()}
    return load_models(folders, packaged["champion"], versions)


def serve(models: Models) -> None:
    """From now on, answer with these."""
    _served[:] = [models]


def served_models() -> Models:
    """The models to answer with. Raises RequestError 503 before they are loaded."""
    if not _served:
        raise RequestError(503, "the models are being loaded; ask /readyz and try again", {"retry-after": "1"})
    return _served[0]


def answer_pixels(images: list[Any], model: str) -> list[dict[str, object]]:
    """What `/predict_pixels` answers, for BentoML's own handler. Raises RequestError."""
    return identify(choose_model(served_models(), model).answer(parse_pixels(images)), new_request_id())
