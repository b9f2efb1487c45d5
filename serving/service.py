"""The Bento's entry: loads the models and puts the interface in front of BentoML."""

import json
from pathlib import Path
from typing import Any

import bentoml
from starlette.types import ASGIApp

from serving.answers import IdentifiedAnswer, PixelsAnswer, answer, new_request_id
from serving.app import create_app, identify
from serving.front_door import FrontDoor
from serving.logs import configure_logs
from serving.models import Models, load_models
from serving.prediction_log import PredictionLog, open_log
from serving.protocol import bound_heads
from serving.reload import Watcher, load_directory
from serving.requests import RequestError, choose_model, parse_pixels
from serving.settings import read_settings

SETTINGS = read_settings()
PACKAGED = Path(__file__).with_name("packaged.json")  # written by the stage `package`: champion, tags and versions
REQUIREMENTS = [
    line for line in Path(__file__).with_name("requirements.txt").read_text().splitlines() if not line.startswith("#")
]
_log: list[PredictionLog] = []
_served: list[Models] = []  # the models of this process: one element, replaced as a whole


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


def prediction_log() -> PredictionLog | None:
    """The log of this process, None where nothing is logged."""
    return _log[0] if _log else None


class FrontedService(bentoml.Service[Any]):  # type: ignore[misc]
    """A service whose interface stands before all of BentoML's own layers, not within them."""

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        bound_heads()
        inner: ASGIApp = super().to_asgi(is_main=is_main)
        application = create_app(served_models, SETTINGS, inner, prediction_log)
        routes = frozenset(route.path.replace("{name}", "") for route in application.routes)  # type: ignore[attr-defined]
        return FrontDoor(inner, application, SETTINGS, routes)


@bentoml.service(
    name="digits",
    workers=SETTINGS.workers,
    traffic={"timeout": 30},
    # Pinned by us: BentoML's own lock would carry the address of this machine's package index into the Bento
    image=bentoml.images.Image(python_version="3.11", lock_python_packages=False).python_packages(*REQUIREMENTS),
    service_class=FrontedService,
)
class Digits:
    """Answers what a handwritten digit is, by every model."""

    def __init__(self) -> None:
        configure_logs(SETTINGS.log_level)
        if SETTINGS.log_predictions:
            _log[:] = [open_log(SETTINGS)]
        if SETTINGS.model_dir is None:
            serve(packaged_models())
        else:
            watcher = Watcher(SETTINGS.model_dir, serve)
            serve(load_directory(SETTINGS.model_dir))
            watcher.start()

    async def __is_ready__(self) -> bool:
        return served_models().answer_known_digits()

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    def close_log(self) -> None:
        """Write what waits to be logged."""
        if _log:
            _log[0].close()

    @bentoml.api(route="/predict_pixels")  # type: ignore[untyped-decorator]
    async def predict_pixels(self, images: list[list[list[int]]], model: str = "champion") -> PixelsAnswer:
        """Answers to 1 to 256 images of 28x28 pixels, 0..255, ink bright."""
        rows = answer(choose_model(served_models(), model), parse_pixels(images))
        return PixelsAnswer(results=[IdentifiedAnswer(**row) for row in identify(rows, new_request_id())])
