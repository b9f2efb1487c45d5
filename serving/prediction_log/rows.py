"""The rows of the prediction log: the stored fields of a request, and the write of a batch of requests."""

import hashlib
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy as sql

from recognition.image_format import IMAGE_SIZE
from recognition.model import Model
from records import database
from serving.telemetry import metrics
from serving.telemetry.json_logs import log

PICTURE_BYTES = IMAGE_SIZE**2
KEPT = ("model", "version", "prediction", "confidence", "uncertain", "reason")  # fields of an answer that are stored
SHADOW = "shadow"  # route of answers that no client got
kept_fields = itemgetter(*KEPT)


class Answered(NamedTuple):
    """One request. `pixels`: 784 bytes per picture; `answers`: `kept_fields` of each answer, by model and picture.

    `client`: the API key or address. The log replaces it by a keyed hash. `shadow`: a model that answered nobody, and
    whose answers are logged with the route SHADOW.
    """

    request_id: str
    dataset: str
    route: str
    client: str
    time: float
    latency_ms: float
    pixels: bytes
    answers: list[list[tuple[Any, ...]]]
    shadow: Model | None = None

    @property
    def pictures(self) -> int:
        """The number of pictures."""
        return len(self.pixels) // PICTURE_BYTES


def shadow_answers(model: Model, pixels: bytes) -> list[tuple[Any, ...]] | None:
    """`kept_fields` of a model's answers to 784 bytes per picture; None, which is counted, if the model fails."""
    images = np.frombuffer(pixels, np.uint8).reshape(-1, IMAGE_SIZE, IMAGE_SIZE)
    try:
        return [kept_fields(row) for row in model.answer(images)]
    except Exception as error:  # the answers that clients got are to be logged all the same
        metrics.SHADOW_FAILURES.inc()
        log.error("the challenger cannot answer", extra={"model": model.name, "reason": repr(error)[:200]})
        return None


def write(engine: sql.Engine, entries: list[Answered]) -> None:
    """Writes all entries or none. Raises SQLAlchemyError; DataError and IntegrityError recur on every retry."""
    pictures: list[dict[str, Any]] = []
    predictions: list[dict[str, Any]] = []
    for entry in entries:
        time = datetime.fromtimestamp(entry.time, UTC)
        given = [(entry.route, rows) for rows in entry.answers]
        if entry.shadow is not None and (rows := shadow_answers(entry.shadow, entry.pixels)) is not None:
            given.append((SHADOW, rows))
        for position in range(entry.pictures):
            shared = {"request_id": entry.request_id, "position": position, "time": time}
            pixels = entry.pixels[position * PICTURE_BYTES : (position + 1) * PICTURE_BYTES]
            digest = hashlib.sha256(pixels).hexdigest()
            pictures.append({**shared, "dataset": entry.dataset, "digest": digest, "pixels": pixels})
            shared |= {"latency_ms": entry.latency_ms, "client": entry.client}
            for route, rows in given:
                predictions.append({**shared, "route": route, **dict(zip(KEPT, rows[position], strict=True))})
    with engine.begin() as connection:
        connection.execute(database.pictures.insert(), pictures)
        connection.execute(database.predictions.insert(), predictions)
