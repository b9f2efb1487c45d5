"""Requests and responses of the routes, as typed objects."""

import math
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from recognition import __version__
from recognition.answers import Answer
from recognition.preprocessing import Digit
from recognition.segmentation import Box
from serving.errors import ErrorCode
from serving.inference.served_models import Models

Row = Annotated[list[Annotated[int, Field(ge=0, le=255)]], Field(min_length=28, max_length=28)]
Pixels = Annotated[list[Row], Field(min_length=28, max_length=28, examples=[[[0] * 28] * 28])]


REQUEST_ID = "019aa3d1c0de5f0c9f0d3e0b4c55a6a01f4b2e7d90ac31f7"


class PixelsRequest(BaseModel):
    """Images of 28x28 pixels."""

    model_config = ConfigDict(extra="forbid")

    images: list[Pixels] = Field(min_length=1, max_length=256, description="integers 0..255, ink bright")
    model: str = Field("champion", description="champion, or the name of a model")


class FeedbackRequest(BaseModel):
    """A label for an answer."""

    model_config = ConfigDict(extra="forbid")

    request_id: str = Field(
        description="the answer's request_id; an answer of several has -0, -1, ... at its end", examples=[REQUEST_ID]
    )
    label: Annotated[int, Field(ge=0)] | None = Field(
        description="index of the correct class; null withdraws an earlier label", examples=[7]
    )


class IdentifiedAnswer(Answer):
    """An answer that can be referred to later by its request id."""

    request_id: str = Field(description="names this answer in feedback and logs", examples=[REQUEST_ID])


class Comparison(BaseModel):
    """Every model's answer to one picture."""

    pixels: Pixels = Field(description="28x28 integers, ink bright, as the models see the picture")
    results: dict[str, Answer]
    champion: str
    request_id: str


class Explanation(BaseModel):
    """Which pixels speak for a class, and which against it, by each model."""

    label: int = Field(description="the class that is explained", examples=[8])
    maps: dict[str, list[list[float]]] = Field(description="28x28 changes of log-odds; positive speaks for the class")


class FoundDigit(BaseModel):
    """One digit of a number."""

    prediction: int
    confidence: float
    box: tuple[int, int, int, int] = Field(description="x, y, width, height in the picture's own pixels, upright")


class NumberAnswer(BaseModel):
    """The digits found in a picture, in reading order."""

    number: str = Field(description="lines joined by `/`; empty where nothing is found", examples=["2026"])
    confidence: float = Field(description="product of the digits' confidences; 0 where nothing is found")
    digits: list[FoundDigit]
    request_id: str


class PixelsAnswer(BaseModel):
    """Answers to several images, in their order."""

    results: list[IdentifiedAnswer]


class ModelCard(BaseModel):
    version: str
    digest: str
    run_id: str
    commit: str
    metrics: dict[str, dict[str, float]]
    threshold: float


class ModelsAnswer(BaseModel):
    """What is served."""

    service_version: str = Field(description="version of this project", examples=["0.1.0"])
    dataset: str
    classes: list[str]
    champion: str
    models: dict[str, ModelCard]


class Problem(BaseModel):
    """Every error's body."""

    error: str = Field(description="what is wrong and what would be right")
    code: ErrorCode = Field(description="the kind of error, for programs")


def answer_number(lines: list[list[tuple[Box, Digit]]], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Combines the answers to the digits of all lines into a `NumberAnswer`, as a dict without its request id."""
    if not rows:
        return {"number": "", "confidence": 0.0, "digits": []}
    remaining = iter(rows)
    digits, words = [], []
    for line in lines:
        answers = [(box, next(remaining)) for box, _ in line]
        words.append("".join(str(row["prediction"]) for _, row in answers))
        digits += [
            {"prediction": row["prediction"], "confidence": row["confidence"], "box": list(box)} for box, row in answers
        ]
    confidence = math.prod(digit["confidence"] for digit in digits)
    return {"number": "/".join(words), "confidence": confidence, "digits": digits}


def describe(models: Models) -> dict[str, Any]:
    """The body of `GET /model`."""
    keys = ModelCard.model_fields.keys() - {"version"}
    cards = {name: {"version": m.version, **{key: m.card[key] for key in keys}} for name, m in models.by_name.items()}
    names = {"dataset": models.dataset, "classes": models.classes, "champion": models.champion}
    return {"service_version": __version__, **names, "models": cards}
