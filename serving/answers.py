"""From pixels to the answers of the interface: what the routes return, as typed objects."""

import math
import uuid
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from pipeline.preprocessing import Digit
from pipeline.segmentation import Box
from serving.models import Models, ServedModel

Pixels = list[list[int]]


class Answer(BaseModel):
    """One model's answer to one image."""

    model_config = ConfigDict(protected_namespaces=())

    prediction: int = Field(description="index of the most probable class", examples=[8])
    confidence: float = Field(description="its probability, 0..1", examples=[0.992])
    probabilities: list[float] = Field(description="one for each class, adding up to 1")
    model: str = Field(description="the entry's name", examples=["cnn"])
    version: str = Field(description="its version in the registry", examples=["3"])
    uncertain: bool = Field(description="whether the answer should not be relied on; `reason` says why")
    reason: Literal["blank", "low_confidence", "not_a_digit"] | None


class IdentifiedAnswer(Answer):
    """An answer that can be referred to later by its request id."""

    request_id: str = Field(description="names this answer in feedback and logs", examples=["6f1c0d..."])


class Comparison(BaseModel):
    """Every model's answer to one picture."""

    pixels: Pixels = Field(description="28x28 integers, ink bright, as the models see the picture")
    results: dict[str, Answer]
    champion: str
    request_id: str


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

    dataset: str
    classes: list[str]
    champion: str
    models: dict[str, ModelCard]


class Problem(BaseModel):
    """Every error's body."""

    error: str = Field(description="what is wrong and what would be right")


def new_request_id() -> str:
    """A fresh identifier."""
    return uuid.uuid4().hex


def answer(model: ServedModel, images: NDArray[np.uint8]) -> list[dict[str, Any]]:
    """One `Answer` as a plain dict for each of `images`: uint8 (n, 28, 28), ink bright."""
    threshold = model.card["threshold"]
    blank = (images == 0).all(axis=(1, 2)).tolist()
    answers = model.classifier.probabilities(images)
    score = model.non_digit_score
    refused = score.refuses(answers, images).tolist() if score else [False] * len(images)
    rows = []
    for probabilities, empty, strange in zip(answers, blank, refused, strict=True):
        prediction = int(probabilities.argmax())
        confidence = float(probabilities[prediction])
        doubt = "not_a_digit" if strange else "low_confidence" if confidence < threshold else None
        reason = "blank" if empty else doubt
        rows.append(
            {
                "prediction": prediction,
                "confidence": confidence,
                "probabilities": probabilities.tolist(),
                "model": model.name,
                "version": model.version,
                "uncertain": reason is not None,
                "reason": reason,
            }
        )
    return rows


def answer_number(model: ServedModel, lines: list[list[tuple[Box, Digit]]]) -> dict[str, Any]:
    """A `NumberAnswer` without its id, as a plain dict, for the digits that were found, line by line."""
    found = [pair for line in lines for pair in line]
    if not found:
        return {"number": "", "confidence": 0.0, "digits": []}
    rows = iter(answer(model, np.stack([digit.pixels for _, digit in found])))
    digits, words = [], []
    for line in lines:
        answers = [(box, next(rows)) for box, _ in line]
        words.append("".join(str(row["prediction"]) for _, row in answers))
        digits += [
            {
                "prediction": row["prediction"],
                "confidence": row["confidence"],
                "box": [box.x, box.y, box.width, box.height],
            }
            for box, row in answers
        ]
    confidence = math.prod(digit["confidence"] for digit in digits)
    return {"number": "/".join(words), "confidence": confidence, "digits": digits}


def describe(models: Models) -> dict[str, Any]:
    """The body of `GET /model`."""
    keys = ModelCard.model_fields.keys() - {"version"}
    cards = {name: {"version": m.version, **{key: m.card[key] for key in keys}} for name, m in models.by_name.items()}
    return {"dataset": models.dataset, "classes": models.classes, "champion": models.champion, "models": cards}
