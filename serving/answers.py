"""The responses of the routes, as typed objects, and request ids."""

from __future__ import annotations

import math
import re
import secrets
import time
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field

from recognition import __version__
from recognition.answers import Answer

if TYPE_CHECKING:  # BentoML's supervisor process imports this module only for the types
    from recognition.preprocessing import Digit
    from recognition.segmentation import Box
    from serving.models import Models

Pixels = list[list[int]]


class IdentifiedAnswer(Answer):
    """An answer that can be referred to later by its request id."""

    request_id: str = Field(description="names this answer in feedback and logs", examples=["6f1c0d..."])


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


def new_request_id() -> str:
    """Creates an id: the time in milliseconds and 80 random bits, in hexadecimal."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


def parse_answer_id(text: str) -> tuple[str, int | None]:
    """Splits an answer's id into the request's id and, if the request had several answers, its number, else None.

    Raises ValueError if it is not an id.
    """
    if not (parts := re.fullmatch(r"([0-9a-f]{32})(?:-([0-9]{1,4}))?", text, re.ASCII)):
        raise ValueError(f"{text[:60]!r} is no request id")
    return parts[1], int(parts[2]) if parts[2] else None


def age(request_id: str) -> float:
    """Seconds since `new_request_id` created the id."""
    return time.time() - int(request_id[:12], 16) / 1000


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
