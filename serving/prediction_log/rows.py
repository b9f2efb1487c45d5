"""The rows of the prediction log: the stored fields of a request, and the write of a batch of requests."""

import hashlib
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any, NamedTuple

import sqlalchemy as sql

from recognition.image_format import IMAGE_SIZE
from records import database

PICTURE_BYTES = IMAGE_SIZE**2
KEPT = ("model", "version", "prediction", "confidence", "uncertain", "reason")  # fields of an answer that are stored
kept_fields = itemgetter(*KEPT)


class Answered(NamedTuple):
    """One request. `pixels`: 784 bytes per picture; `answers`: `kept_fields` of each answer, by model and picture.

    `client`: the API key or address. The log replaces it by a keyed hash.
    """

    request_id: str
    dataset: str
    route: str
    client: str
    time: float
    latency_ms: float
    pixels: bytes
    answers: list[list[tuple[Any, ...]]]

    @property
    def pictures(self) -> int:
        """The number of pictures."""
        return len(self.pixels) // PICTURE_BYTES


def write(engine: sql.Engine, entries: list[Answered]) -> None:
    """Writes all entries or none. Raises SQLAlchemyError; DataError and IntegrityError recur on every retry."""
    pictures: list[dict[str, Any]] = []
    predictions: list[dict[str, Any]] = []
    for entry in entries:
        time = datetime.fromtimestamp(entry.time, UTC)
        for position in range(entry.pictures):
            shared = {"request_id": entry.request_id, "position": position, "time": time}
            pixels = entry.pixels[position * PICTURE_BYTES : (position + 1) * PICTURE_BYTES]
            digest = hashlib.sha256(pixels).hexdigest()
            pictures.append({**shared, "dataset": entry.dataset, "digest": digest, "pixels": pixels})
            shared |= {"route": entry.route, "latency_ms": entry.latency_ms, "client": entry.client}
            predictions += [{**shared, **dict(zip(KEPT, rows[position], strict=True))} for rows in entry.answers]
    with engine.begin() as connection:
        connection.execute(database.pictures.insert(), pictures)
        connection.execute(database.predictions.insert(), predictions)
