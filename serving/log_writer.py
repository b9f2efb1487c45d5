"""The rows of the prediction log: what is kept of a request, and how a batch of requests is written."""

import hashlib
from datetime import UTC, datetime
from typing import Any, NamedTuple

import sqlalchemy as sql

from recognition.image_format import IMAGE_SIZE
from records import database

PICTURE_BYTES = IMAGE_SIZE**2
KEPT = ("model", "version", "prediction", "confidence", "uncertain", "reason")  # fields of an answer that are stored


class Answered(NamedTuple):
    """One request: its pictures, 784 bytes each, and for each model its answers (fields KEPT), one for each picture.

    `client`: the key or address until the log replaces it by its keyed hash.
    """

    request_id: str
    dataset: str
    route: str
    client: str
    time: float
    latency_ms: float
    pixels: bytes
    verdicts: list[list[tuple[Any, ...]]]

    @property
    def pictures(self) -> int:
        """The number of pictures."""
        return len(self.pixels) // PICTURE_BYTES


def rows(entry: Answered) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return an entry's rows for the tables `pictures` and `predictions`."""
    pictures, predictions = [], []
    time = datetime.fromtimestamp(entry.time, UTC)
    for position in range(entry.pictures):
        shared = {"request_id": entry.request_id, "position": position, "time": time}
        pixels = entry.pixels[position * PICTURE_BYTES : (position + 1) * PICTURE_BYTES]
        digest = hashlib.sha256(pixels).hexdigest()
        pictures.append({**shared, "dataset": entry.dataset, "digest": digest, "pixels": pixels})
        shared |= {"route": entry.route, "latency_ms": entry.latency_ms, "client": entry.client}
        predictions += [{**shared, **dict(zip(KEPT, answers[position], strict=True))} for answers in entry.verdicts]
    return pictures, predictions


def write(engine: sql.Engine, entries: list[Answered]) -> None:
    """Write all entries or none. Raises SQLAlchemyError; DataError and IntegrityError would recur with every retry."""
    pictures: list[dict[str, Any]] = []
    predictions: list[dict[str, Any]] = []
    for entry in entries:
        for table, more in zip((pictures, predictions), rows(entry), strict=True):
            table += more
    with engine.begin() as connection:
        connection.execute(database.pictures.insert(), pictures)
        connection.execute(database.predictions.insert(), predictions)
