"""What every peer does with a request: our model, preprocessing and answers, so that servers alone are compared."""

import os
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from serving.answers import answer, new_request_id
from serving.models import ServedModel, load_model

MAX_BODY_BYTES = 2_000_000

Pixel = Annotated[int, Field(ge=0, le=255, strict=True)]
Row = Annotated[list[Pixel], Field(min_length=28, max_length=28)]
Image = Annotated[list[Row], Field(min_length=28, max_length=28)]


class Pixels(BaseModel):
    """The body of `/predict_pixels`, as strict as the service's own."""

    model_config = ConfigDict(extra="forbid")

    images: Annotated[list[Image], Field(min_length=1, max_length=256)]
    model: str = "champion"


def load() -> ServedModel:
    """The model in the folder that the benchmark names."""
    return load_model("champion", Path(os.environ["BENCHMARK_MODEL"]), "1")


def results(model: ServedModel, images: NDArray[np.uint8]) -> list[dict[str, Any]]:
    """Answers with their request ids, for uint8 (n, 28, 28)."""
    return [{**row, "request_id": new_request_id()} for row in answer(model, images)]
