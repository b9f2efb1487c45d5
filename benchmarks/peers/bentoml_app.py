"""BentoML as in its documentation: a batchable API for arrays and one for pictures, with the default settings."""

from typing import Annotated, Any

import bentoml
import numpy as np
from bentoml.validators import DType, Shape
from PIL import Image

from benchmarks.peers.work import load, results
from recognition.preprocessing import to_digit


@bentoml.service
class Digits:
    """The work of every server, as a BentoML service."""

    def __init__(self) -> None:
        self.model = load()

    @bentoml.api(batchable=True)  # type: ignore[untyped-decorator]
    def predict_pixels(
        self, images: Annotated[np.ndarray, DType("uint8"), Shape((-1, 28, 28))]
    ) -> list[dict[str, Any]]:
        """Predicts images. BentoML joins concurrent requests and divides the list of results again."""
        return results(self.model, images)

    @bentoml.api  # type: ignore[untyped-decorator]
    def predict(self, image: Image.Image) -> dict[str, Any]:
        """Predicts one uploaded image file."""
        return results(self.model, to_digit(image).pixels[None])[0]
