"""The Bento's entry: loads the models that were packaged with it and opens the interface."""

import json
from pathlib import Path
from typing import Any

import bentoml

from serving.answers import IdentifiedAnswer, PixelsAnswer, answer, new_request_id
from serving.app import FrontDoor, create_app
from serving.models import Models, load_models
from serving.requests import choose_model, parse_pixels
from serving.settings import read_settings

SETTINGS = read_settings()
PACKAGED = Path(__file__).with_name("packaged.json")  # written by the stage `package`: champion, tags and versions
REQUIREMENTS = [
    line for line in Path(__file__).with_name("requirements.txt").read_text().splitlines() if not line.startswith("#")
]
_loaded: list[Models] = []


def packaged_models() -> Models:
    """The models inside this Bento. Raises DamagedModel."""
    packaged: dict[str, Any] = json.loads(PACKAGED.read_text(encoding="utf-8"))
    folders = {name: Path(bentoml.models.get(entry["tag"]).path) for name, entry in packaged["models"].items()}
    versions = {name: entry["version"] for name, entry in packaged["models"].items()}
    return load_models(folders, packaged["champion"], versions)


@bentoml.service(
    name="digits",
    workers=SETTINGS.workers,
    traffic={"timeout": 30},
    # Pinned by us: BentoML's own lock would carry the address of this machine's package index into the Bento
    image=bentoml.images.Image(python_version="3.11", lock_python_packages=False).python_packages(*REQUIREMENTS),
)
class Digits:
    """Answers what a handwritten digit is, by every packaged model."""

    def __init__(self) -> None:
        self.models = packaged_models()
        _loaded[:] = [self.models]

    async def __is_ready__(self) -> bool:
        return self.models.answer_known_digits()

    @bentoml.api(route="/predict_pixels")  # type: ignore[untyped-decorator]
    async def predict_pixels(self, images: list[list[list[int]]], model: str = "champion") -> PixelsAnswer:
        """Answers to 1 to 256 images of 28x28 pixels, 0..255, ink bright."""
        rows = answer(choose_model(self.models, model), parse_pixels(images))
        return PixelsAnswer(results=[IdentifiedAnswer(**row, request_id=new_request_id()) for row in rows])


Digits.add_asgi_middleware(  # type: ignore[attr-defined]
    FrontDoor, application=create_app(lambda: _loaded[0], SETTINGS)
)
