"""The append-only history of promotions, refusals and rollbacks, one row each, in `DIGITS_DATABASE_URL`."""

import getpass
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sql

from pipeline import store

EVENTS = ("promoted", "refused", "rolled back")

table = sql.Table(
    "ledger",
    store.metadata,
    sql.Column("id", sql.Integer, primary_key=True),
    sql.Column("time", sql.DateTime(timezone=True), nullable=False),
    sql.Column("who", sql.String(200), nullable=False),
    sql.Column("event", sql.String(20), sql.CheckConstraint(f"event in {EVENTS}"), nullable=False),
    sql.Column("model", sql.String(200), nullable=False),
    sql.Column("version", sql.String(20), nullable=False),
    sql.Column("champion_before", sql.String(20)),
    sql.Column("reason", sql.Text, nullable=False),
)


@dataclass(frozen=True)
class Entry:
    """`model`: the registered model; `champion_before`: the version that was champion until then, if any."""

    event: str
    model: str
    version: str
    champion_before: str | None
    reason: str


def engine() -> sql.Engine:
    """The ledger's database, with its table made where it is missing."""
    return store.open_store()


def append(entry: Entry) -> None:
    """Write one row, in a transaction of its own."""
    row = {"time": datetime.now(UTC), "who": getpass.getuser(), **vars(entry)}
    with engine().begin() as connection:
        connection.execute(table.insert().values(row))


def has(model: str, event: str, version: str, champion_before: str | None) -> bool:
    """Whether such a row exists, against that champion if one is given."""
    return any(
        row["event"] == event and row["version"] == version and champion_before in (None, row["champion_before"])
        for row in history(model)
    )


def history(model: str) -> list[dict[str, object]]:
    """All rows of a registered model, oldest first."""
    query = table.select().where(table.c.model == model).order_by(table.c.id)
    with engine().connect() as connection:
        return [dict(row._mapping) for row in connection.execute(query)]
