"""Reads what the service logged: pictures, predictions, labels, and the versions that answered."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime

import numpy as np
import pandas as pd
import sqlalchemy as sql
from numpy.typing import NDArray

from pipeline import tracking
from pipeline.console import PipelineError
from pipeline.monitoring.drift import Version, Window
from pipeline.registry import versions
from recognition.image_format import IMAGE_SIZE
from recognition.model import Model
from records import database

Images = NDArray[np.uint8]
PICTURE = ["request_id", "position"]


@contextmanager
def database_errors() -> Iterator[None]:
    """Raise PipelineError if the database fails within the block."""
    try:
        yield
    except (sql.exc.SQLAlchemyError, pd.errors.DatabaseError) as error:
        cause = error.__cause__ if isinstance(error, pd.errors.DatabaseError) else error
        reason = database.reason_of(cause if isinstance(cause, Exception) else error)
        raise PipelineError(
            tracking.without_password(f"the database failed: {reason}; repair it and run this command again")
        ) from None


def read_window(engine: sql.Engine, dataset: str, since: datetime, limit: int) -> Window:
    """Reads the newest `limit` logged pictures of a dataset since a time, with predictions and current labels."""
    newest = (
        sql.select(database.pictures)
        .where(database.pictures.c.dataset == dataset, database.pictures.c.time >= since)
        .order_by(database.pictures.c.time.desc(), database.pictures.c.request_id, database.pictures.c.position)
        .limit(limit)
        .subquery()
    )
    current = database.current_labels().subquery()
    answered = sql.select(database.predictions).join(newest, database.same_picture(database.predictions, newest))
    labelled = sql.select(current).join(newest, database.same_picture(current, newest))
    with engine.connect() as connection:
        pictures = pd.read_sql(sql.select(newest), connection)
        predictions, labels = (pd.read_sql(query, connection) for query in (answered, labelled))
    images = to_images(pictures["pixels"])
    given = pictures[PICTURE].merge(labels, on=PICTURE, how="left")["label"].fillna(-1).to_numpy(int)
    return Window(images, given, predictions.merge(pictures[PICTURE].assign(picture=range(len(images))), on=PICTURE))


def read_labels(engine: sql.Engine, dataset: str) -> tuple[pd.DataFrame, Images]:
    """Returns the current labels of a dataset's pictures, oldest first, and the pictures, uint8 (n, 28, 28).

    Columns: id, request_id, position, label, client, digest, review (True, False or None), and `answers`, a list of
    (model, version, prediction, confidence), sorted by model.
    """
    current = database.current_labels().subquery()
    newest = sql.select(sql.func.max(database.reviews.c.id)).group_by(database.reviews.c.label_id)
    reviews = sql.select(database.reviews).where(database.reviews.c.id.in_(newest)).subquery()
    columns = (current.c.id, current.c.request_id, current.c.position, current.c.label, current.c.client)
    query = (
        sql.select(*columns, database.pictures.c.digest, reviews.c.accepted.label("review"), database.pictures.c.pixels)
        .join(database.pictures, database.same_picture(database.pictures, current))
        .outerjoin(reviews, reviews.c.label_id == current.c.id)
        .where(database.pictures.c.dataset == dataset)
        .order_by(current.c.id)
    )
    table = database.predictions
    answered = (
        sql.select(table.c.request_id, table.c.position, table.c.model, table.c.version)
        .add_columns(table.c.prediction, table.c.confidence)
        .join(current, database.same_picture(table, current))
        .order_by(table.c.model)
    )
    with engine.connect() as connection:
        frame = pd.read_sql(query, connection, coerce_float=False)
        rows = connection.execute(answered).all()
    answers: dict[tuple[str, int], list[tuple[str, str, int, float]]] = {}
    for request_id, position, *answer in rows:
        answers.setdefault((request_id, position), []).append(tuple(answer))
    pictures = zip(frame["request_id"], frame["position"], strict=True)
    frame["answers"] = pd.Series([answers.get(picture, []) for picture in pictures], index=frame.index, dtype=object)
    images = to_images(frame.pop("pixels"))
    return frame.astype({"review": object}), images


def to_images(pixels: Iterable[bytes]) -> Images:
    """Returns stored pixels as uint8 (n, 28, 28)."""
    return np.frombuffer(b"".join(pixels), np.uint8).reshape(-1, IMAGE_SIZE, IMAGE_SIZE)


def load_versions(dataset: str, answered: Iterable[Version]) -> dict[Version, Model | None]:
    """The versions that answered, from the registry; None for one that is not in it or whose files are damaged.

    Raises PipelineError if the registry cannot be used.
    """
    tracking.connect()
    registered = versions.registered_model(dataset)
    found = {}
    for name, number in sorted({*answered}):
        model = versions.find(registered, number)
        known = model is not None and name in (model.name, versions.CHALLENGER)
        found[name, number] = model if known else None
    return found


def champion_number(dataset: str) -> str:
    """The number of the champion's version; empty if there is none."""
    champion = versions.by_alias(versions.registered_model(dataset), versions.CHAMPION)
    return str(champion.version) if champion else ""
