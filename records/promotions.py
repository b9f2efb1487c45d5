"""The append-only history of promotions, refusals and rollbacks, one row each, in `DIGITS_DATABASE_URL`."""

import getpass
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sql
from filelock import FileLock

from pipeline.console import PipelineError
from records import database

EVENTS = ("promoted", "refused", "rolled back")
LOCK_KEY = 4_160_928_811  # of PostgreSQL's advisory lock; any number that nothing else in the database uses

table = sql.Table(
    "ledger",
    sql.MetaData(),  # of its own: it is never made without what keeps it append-only
    sql.Column("id", sql.Integer, primary_key=True),
    sql.Column("time", sql.DateTime(timezone=True), nullable=False),
    sql.Column("who", sql.String(200), nullable=False),
    sql.Column("event", sql.String(20), sql.CheckConstraint(f"event in {EVENTS}"), nullable=False),
    sql.Column("model", sql.String(200), nullable=False),
    sql.Column("version", sql.String(20), nullable=False),
    sql.Column("champion_before", sql.String(20)),
    sql.Column("reason", sql.Text, nullable=False),
    sql.Column("digest", sql.String(64)),
    sql.Column("forced", sql.Boolean),
    sql.Column("turn", sql.Integer),
    sql.Index("ledger_turns", "model", "turn", unique=True),
)
APPEND_ONLY = {
    "sqlite": (
        "create trigger if not exists ledger_no_update before update on ledger "
        "begin select raise(abort, 'the ledger is append-only'); end",
        "create trigger if not exists ledger_no_delete before delete on ledger "
        "begin select raise(abort, 'the ledger is append-only'); end",
        # `insert or replace` deletes without asking the trigger above
        "create trigger if not exists ledger_no_replace before insert on ledger when exists (select 1 from ledger "
        "where id = new.id or (model = new.model and turn = new.turn)) "
        "begin select raise(abort, 'the ledger is append-only'); end",
    ),
    "postgresql": (
        "create or replace function ledger_append_only() returns trigger language plpgsql as "
        "$$ begin raise exception 'the ledger is append-only'; end $$",
        "create or replace trigger ledger_append_only before update or delete or truncate on ledger "
        "for each statement execute function ledger_append_only()",
    ),
}


class Overtaken(Exception):
    """Another process changed the champion since it was looked at."""


@dataclass(frozen=True)
class Entry:
    """`model`: the registered model; `champion_before`: the version that was champion until then, if any.

    `turn` counts a model's changes of champion, from 1 (None: none changed); of two that want one turn, one gets it.
    `digest`: sha256 of the version's file, by which it is known in another store; `forced`: against the gate.
    """

    event: str
    model: str
    version: str
    champion_before: str | None
    reason: str
    digest: str | None = None
    forced: bool = False
    turn: int | None = None


def engine() -> sql.Engine:
    """The ledger's database, with its table made, or brought up to date, where that is needed."""
    try:
        made = database.connect(database.database_url())
    except ValueError as error:
        raise PipelineError(f"DIGITS_DATABASE_URL: {error}") from None
    if not _is_current(made):
        with _exclusive(made), made.begin() as connection:
            if made.dialect.name == "sqlite":
                connection.exec_driver_sql("begin immediate")  # sqlite3 opens no transaction for definitions by itself
            table.create(connection, checkfirst=True)
            present = {column["name"] for column in sql.inspect(connection).get_columns(table.name)}
            for column in table.columns:
                if column.name not in present:
                    kind = column.type.compile(made.dialect)
                    connection.exec_driver_sql(f"alter table ledger add column {column.name} {kind}")
            for index in table.indexes:
                index.create(connection, checkfirst=True)
            for statement in APPEND_ONLY[made.dialect.name]:
                connection.exec_driver_sql(statement)
    return made


def _is_current(made: sql.Engine) -> bool:
    inspector = sql.inspect(made)
    return inspector.has_table(table.name) and "turn" in {column["name"] for column in inspector.get_columns("ledger")}


@contextmanager
def exclusive() -> Iterator[None]:
    """One process at a time in this block, of all that use the same database; a killed one is out of it."""
    with _exclusive(engine()):
        yield


@contextmanager
def _exclusive(made: sql.Engine) -> Iterator[None]:
    if made.dialect.name == "sqlite":  # a file beside it: a lock inside would stop whoever logs predictions there
        with FileLock(f"{made.url.database}.lock"):
            yield
    else:
        with made.begin() as connection:
            connection.execute(sql.select(sql.func.pg_advisory_xact_lock(LOCK_KEY)))
            yield


def append(entry: Entry) -> None:
    """Write one row, in a transaction of its own. Raises Overtaken when its turn is taken."""
    row = {"time": datetime.now(UTC), "who": who(), **vars(entry)}
    try:
        with engine().begin() as connection:
            connection.execute(table.insert().values(row))
    except sql.exc.IntegrityError:
        if entry.turn is None or entry.turn > turns(entry.model):
            raise
        raise Overtaken from None


def who() -> str:
    """Whom a row names: the user, or who started the workflow."""
    try:
        return os.environ.get("GITHUB_ACTOR") or getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return f"user {os.getuid()}"


def turns(model: str) -> int:
    """How often the champion changed."""
    query = sql.select(sql.func.coalesce(sql.func.max(table.c.turn), 0)).where(table.c.model == model)
    with engine().connect() as connection:
        return int(connection.execute(query).scalar_one())


def last_row() -> int:
    """The number of the newest row, 0 where there is none."""
    with engine().connect() as connection:
        return int(connection.execute(sql.select(sql.func.coalesce(sql.func.max(table.c.id), 0))).scalar_one())


def has(model: str, event: str, version: str, champion_before: str | None) -> bool:
    """Whether such a row exists, against that champion if one is given."""
    return any(
        row["event"] == event and row["version"] == version and champion_before in (None, row["champion_before"])
        for row in history(model)
    )


def history(model: str) -> list[dict[str, Any]]:
    """All rows of a registered model, oldest first; times in UTC."""
    query = table.select().where(table.c.model == model).order_by(table.c.id)
    with engine().connect() as connection:
        rows = [dict(row._mapping) for row in connection.execute(query)]
    return [{**row, "time": database.in_utc(row["time"])} for row in rows]
