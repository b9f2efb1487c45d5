"""The promotion history: one row for each promotion, refusal and rollback. Triggers keep the table append-only."""

import getpass
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sql
from filelock import FileLock

from records.database import in_utc, promotion_history

CHAMPION_LOCK = 4_160_928_811  # key of a PostgreSQL advisory lock; any number that no other application uses


class ConcurrentPromotion(Exception):
    """Another process changed the champion first."""


@dataclass(frozen=True)
class Entry:
    """An event of a registered model."""

    event: str  # promoted, updated (same model file), refused or rolled back
    model: str
    version: str
    champion_before: str | None  # the champion's version before the event
    reason: str
    digest: str | None = None  # sha256 of the version's content; identifies the version in another model registry
    forced: bool = False  # promoted by a user although the gate refuses the version
    revision: int | None = None  # number of the model's change of champion, from 1; None if the champion stays


@contextmanager
def exclusive(engine: sql.Engine) -> Iterator[None]:
    """Let one process at a time run the block. The lock of a killed process is released."""
    if engine.dialect.name == "sqlite":  # a separate file: a lock in the database would block the prediction log
        with FileLock(f"{engine.url.database}.lock"):
            yield
    else:
        with engine.begin() as connection:
            connection.execute(sql.select(sql.func.pg_advisory_xact_lock(CHAMPION_LOCK)))
            yield


def append(engine: sql.Engine, entry: Entry) -> None:
    """Add a row. Raises ConcurrentPromotion when another row has the entry's revision."""
    row = {"time": datetime.now(UTC), "who": who(), **vars(entry)}
    try:
        with engine.begin() as connection:
            connection.execute(promotion_history.insert().values(row))
    except sql.exc.IntegrityError:
        if entry.revision is None or entry.revision > revision(engine, entry.model):
            raise
        raise ConcurrentPromotion from None


def who() -> str:
    """Return the user that a row names: the one who started the workflow, or the operating system's user."""
    try:
        return os.environ.get("GITHUB_ACTOR") or getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return f"user {os.getuid()}"


def revision(engine: sql.Engine, model: str) -> int:
    """Return the number of changes of a model's champion."""
    return max((row["revision"] or 0 for row in history(engine, model)), default=0)


def last_row(engine: sql.Engine) -> int:
    """Return the id of the newest row, 0 for an empty history."""
    with engine.connect() as connection:
        return connection.execute(sql.select(sql.func.max(promotion_history.c.id))).scalar() or 0


def history(engine: sql.Engine, model: str) -> list[dict[str, Any]]:
    """Return all rows of a registered model, oldest first: `id`, `time` in UTC, `who` and the fields of Entry."""
    columns = [column.label(column.key) for column in promotion_history.columns]
    query = sql.select(*columns).where(promotion_history.c.model == model).order_by(promotion_history.c.id)
    with engine.connect() as connection:
        return [{**row, "time": in_utc(row["time"])} for row in connection.execute(query).mappings()]
