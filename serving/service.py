"""The Bento's entry point: the declaration for BentoML. `serving/worker.py` has the implementation.

BentoML's supervisor process also imports this module. To save its memory, functions import NumPy, models and routes.
"""

import re
from pathlib import Path
from typing import Any

import bentoml
from starlette.types import ASGIApp

from serving.answers import IdentifiedAnswer, PixelsAnswer
from serving.settings import read_settings

SETTINGS = read_settings()
LOCK = Path(__file__).with_name("requirements.txt").read_text()
# Without hashes: BentoML adds itself without one, and pip wants one for all packages or none. `make image` uses LOCK.
REQUIREMENTS = re.findall(r"^\S+==.*?(?= \\$)", LOCK, re.MULTILINE)


class FrontedService(bentoml.Service[Any]):  # type: ignore[misc]
    """A service whose routes run in front of BentoML's own middleware."""

    def to_asgi(self, is_main: bool = True) -> ASGIApp:
        from serving.worker import create_front_door

        return create_front_door(super().to_asgi(is_main=is_main), SETTINGS)


@bentoml.service(
    name="digits",
    workers=SETTINGS.workers,
    traffic={"timeout": 30},
    envs=[{"name": "OPENBLAS_NUM_THREADS", "value": "1"}],  # threads slow down such small matrices
    # Pinned in requirements.txt: BentoML's own lock would store the address of the local package index in the Bento
    image=bentoml.images.Image(python_version="3.11", lock_python_packages=False).python_packages(*REQUIREMENTS),
    service_class=FrontedService,
)
class Digits:
    """Recognises handwritten digits with every registered model."""

    def __init__(self) -> None:
        from serving import worker

        worker.start(SETTINGS)

    async def __is_ready__(self) -> bool:
        from serving.worker import served_models

        return served_models().match_known_digits()

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    def close_log(self) -> None:
        """Writes the waiting entries of the log."""
        from serving import worker

        worker.end()

    @bentoml.api(route="/predict_pixels")  # type: ignore[untyped-decorator]
    async def predict_pixels(self, images: list[list[list[int]]], model: str = "champion") -> PixelsAnswer:
        """Answers to 1 to 256 images of 28x28 pixels, 0..255, ink bright."""
        from serving.worker import answer_pixels

        return PixelsAnswer(results=[IdentifiedAnswer(**row) for row in answer_pixels(images, model)])
