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


def write(engine: sql.Engine, entries: list[Answered]) -> list[Answered]:
    """Writes the entries, and returns those that are refused. Raises SQLAlchemyError if the database cannot be used.

    All entries are one transaction. Only if the values of one are refused, each entry is one of its own.
    """
    try:
        insert(engine, entries)
        return []
    except Exception as error:
        if not is_refusal(error):
            raise
        if len(entries) == 1:
            if is_written(engine, entries[0]):
                return []
            shown = {"request_id": entries[0].request_id, "reason": database.reason_of(error)}
            log.error("an answer cannot be logged", extra=shown)
            return entries
    return [refused for entry in entries for refused in write(engine, [entry])]


def is_refusal(error: Exception) -> bool:
    """Whether the values of an entry caused the error, so that it recurs on every retry; otherwise it is an outage.

    For values of a wrong type or size, drivers raise InterfaceError or ProgrammingError without an SQL state (with one,
    a server reports for example a missing table), and SQLAlchemy and Python raise errors that are no DBAPIError.
    """
    if isinstance(error, (sql.exc.InterfaceError, sql.exc.ProgrammingError)):
        return not error.connection_invalidated and getattr(error.orig, "sqlstate", None) is None
    if isinstance(error, sql.exc.DBAPIError):
        return isinstance(error, (sql.exc.DataError, sql.exc.IntegrityError))
    return isinstance(error, sql.exc.StatementError) or not isinstance(error, sql.exc.SQLAlchemyError)


def is_written(engine: sql.Engine, entry: Answered) -> bool:
    """Whether the database has the request, for example because the confirmation of its transaction was lost."""
    query = sql.select(database.pictures.c.position).where(database.pictures.c.request_id == entry.request_id)
    with engine.connect() as connection:
        return connection.execute(query).first() is not None


def insert(engine: sql.Engine, entries: list[Answered]) -> None:
    """Writes all entries or none. Raises SQLAlchemyError; other errors too if values cannot be stored."""
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
