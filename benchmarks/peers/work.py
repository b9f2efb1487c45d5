"""The work of every server: the same model, preprocessing and answers, so that only the servers differ."""

import os
import secrets
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from recognition.model import Model, load_model

MAX_BODY_BYTES = 2_000_000

Pixel = Annotated[int, Field(ge=0, le=255, strict=True)]
Row = Annotated[list[Pixel], Field(min_length=28, max_length=28)]
Image = Annotated[list[Row], Field(min_length=28, max_length=28)]


class Pixels(BaseModel):
    """The body of `/predict_pixels`, validated as strictly as in the service."""

    model_config = ConfigDict(extra="forbid")

    images: Annotated[list[Image], Field(min_length=1, max_length=256)]
    model: str = "champion"


def load() -> Model:
    """Loads the model from the folder in BENCHMARK_MODEL."""
    return load_model(Path(os.environ["BENCHMARK_MODEL"]), "1", "champion")


def results(model: Model, images: NDArray[np.uint8]) -> list[dict[str, Any]]:
    """Answers with request ids for images, uint8 (n, 28, 28)."""
    return [{**row, "request_id": secrets.token_hex(16)} for row in model.answer(images)]
