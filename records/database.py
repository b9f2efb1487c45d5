"""The database of a deployment: what was answered, what people said of it, what was decided and found since.

The service imports this module: SQLAlchemy and nothing heavier.
"""

import itertools
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sql

from pipeline.paths import PARAMS, checkout

BUSY_SECONDS = 5  # how long to wait for another writer of a SQLite file, or for a server to accept a connection
RECYCLE_SECONDS = 10
ROWS_AT_ONCE = 64
CREATING = 0x64696769  # any number that nobody else locks

metadata = sql.MetaData()
predictions = sql.Table(  # one row for each model that answered to a picture
    "predictions",
    metadata,
    sql.Column("request_id", sql.String(64), primary_key=True),
    sql.Column("position", sql.Integer, primary_key=True),  # of the picture in a request of several, from 0
    sql.Column("model", sql.String(40), primary_key=True),
    sql.Column("time", sql.DateTime(timezone=True), nullable=False, index=True),  # UTC
    sql.Column("route", sql.String(40), nullable=False),
    sql.Column("version", sql.String(20), nullable=False),
    sql.Column("prediction", sql.Integer, nullable=False),
    sql.Column("confidence", sql.Float, nullable=False),
    sql.Column("uncertain", sql.Boolean, nullable=False),
    sql.Column("reason", sql.String(20)),
    sql.Column("latency_ms", sql.Float, nullable=False),
    sql.Column("client", sql.String(32), nullable=False),  # keyed hash of key or address
)
pictures = sql.Table(  # what the models saw, once for all of them
    "pictures",
    metadata,
    sql.Column("request_id", sql.String(64), primary_key=True),
    sql.Column("position", sql.Integer, primary_key=True),
    sql.Column("time", sql.DateTime(timezone=True), nullable=False, index=True),
    sql.Column("dataset", sql.String(40), nullable=False),  # whose classes the answers name
    sql.Column("digest", sql.String(64), nullable=False),  # sha256 of the pixels
    sql.Column("pixels", sql.LargeBinary, nullable=False),  # 784 bytes, row by row, ink bright
)
labels = sql.Table(  # every change is a row; the newest of a picture counts, and null means withdrawn
    "labels",
    metadata,
    sql.Column("id", sql.Integer, primary_key=True),
    sql.Column("request_id", sql.String(64), nullable=False, index=True),
    sql.Column("position", sql.Integer, nullable=False),
    sql.Column("time", sql.DateTime(timezone=True), nullable=False),
    sql.Column("label", sql.Integer),
    sql.Column("client", sql.String(32), nullable=False),
)
reviews = sql.Table(  # what a person decided of a label; the newest counts
    "reviews",
    metadata,
    sql.Column("id", sql.Integer, primary_key=True),
    sql.Column("label_id", sql.Integer, nullable=False, index=True),
    sql.Column("time", sql.DateTime(timezone=True), nullable=False),
    sql.Column("who", sql.String(200), nullable=False),
    sql.Column("accepted", sql.Boolean, nullable=False),
)
monitoring = sql.Table(  # what each run of the monitor found
    "monitoring",
    metadata,
    sql.Column("id", sql.Integer, primary_key=True),
    sql.Column("time", sql.DateTime(timezone=True), nullable=False),
    sql.Column("status", sql.Integer, nullable=False),
    sql.Column("figures", sql.JSON, nullable=False),
)
secrets = sql.Table(
    "secrets",
    metadata,
    sql.Column("name", sql.String(40), primary_key=True),
    sql.Column("value", sql.String(200), nullable=False),
)


def parse_url(text: str) -> sql.URL:
    """A database's URL with the driver that is installed. Raises ValueError that says what is right."""
    right = "expected sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME"
    try:
        url = sql.make_url(text)
    except (sql.exc.ArgumentError, ValueError):
        raise ValueError(right) from None
    if url.drivername in ("postgres", "postgresql"):
        return url.set(drivername="postgresql+psycopg")
    if url.drivername not in ("sqlite", "postgresql+psycopg"):
        raise ValueError(f"{right}, found {url.drivername}")
    return url


def database_url() -> sql.URL:
    """`DIGITS_DATABASE_URL` or `sqlite:///digits.db`, a relative SQLite file taken from the checkout's root.

    Where there is no checkout (inside a Bento), it is taken from the working directory. Raises ValueError.
    """
    url = parse_url(os.environ.get("DIGITS_DATABASE_URL") or "sqlite:///digits.db")
    if url.drivername != "sqlite" or url.database in (None, "", ":memory:"):
        return url
    root = checkout() if PARAMS.exists() else Path.cwd()
    return url.set(database=str(root / str(url.database)))


def connect(url: sql.URL) -> sql.Engine:
    """The database, without asking it anything yet."""
    if url.drivername != "sqlite":
        return sql.create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": BUSY_SECONDS})
    # The last connection to close tidies the file up, so they are kept; but not for long, to find a restored file
    engine = sql.create_engine(url, pool_recycle=RECYCLE_SECONDS, connect_args={"timeout": BUSY_SECONDS})
    sql.event.listen(engine, "connect", _write_ahead)
    return engine


def _write_ahead(connection: Any, record: Any) -> None:
    """Readers and a writer at once, and a killed process loses nothing that was committed."""
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = normal")


def in_utc(time: datetime) -> datetime:
    """A time from the database with its zone: SQLite gives it back without."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def create_tables(engine: sql.Engine) -> None:
    """Make the tables that are missing; several processes may do so at once.

    Where nothing is missing, nothing is locked: PostgreSQL locks a table against writers before it finds its index.
    """
    with engine.begin() as connection:
        inspector = sql.inspect(connection)
        there = {name: {index["name"] for index in inspector.get_indexes(name)} for name in inspector.get_table_names()}
        wanted = {table.name: {index.name for index in table.indexes} for table in metadata.sorted_tables}
        if all(name in there and indexes <= there[name] for name, indexes in wanted.items()):
            return
        if engine.dialect.name == "postgresql":  # "if not exists" alone is no protection there
            connection.execute(sql.select(sql.func.pg_advisory_xact_lock(CREATING)))
        for table in metadata.sorted_tables:
            connection.execute(sql.schema.CreateTable(table, if_not_exists=True))
            for index in table.indexes:
                connection.execute(sql.schema.CreateIndex(index, if_not_exists=True))


def open_store() -> sql.Engine:
    """The database with its tables. Raises ValueError for a URL that is none."""
    engine = connect(database_url())
    create_tables(engine)
    return engine


def insert_many(connection: sql.Connection, table: sql.Table, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows, their values in the order of the table's columns and as the driver takes them (see `driver_time`).

    Many rows a statement: between statements other threads take over, which costs more than the rows themselves.
    """
    mark = "?" if connection.dialect.name == "sqlite" else "%s"
    one = f"({', '.join([mark] * len(table.columns))})"
    for start in range(0, len(rows), ROWS_AT_ONCE):
        chunk = rows[start : start + ROWS_AT_ONCE]
        values = ", ".join([one] * len(chunk))
        statement = f"insert into {table.name} ({', '.join(table.c.keys())}) values {values}"  # noqa: S608  (our names)
        connection.exec_driver_sql(statement, tuple(itertools.chain.from_iterable(chunk)))


def reason_of(error: Exception) -> str:
    """The first line of what a database driver says, without the statement."""
    return str(getattr(error, "orig", None) or error).strip().splitlines()[0][:200]


def driver_time(engine: sql.Engine, seconds: float) -> Any:
    """A Unix time as SQLAlchemy would hand it to the driver."""
    time = datetime.fromtimestamp(seconds, UTC)
    return time.isoformat(" ", "microseconds")[:26] if engine.dialect.name == "sqlite" else time


def shared_secret(engine: sql.Engine, name: str, proposal: str) -> str:
    """The secret of that name, the same for every process: `proposal` where there was none."""
    query = sql.select(secrets.c.value).where(secrets.c.name == name)
    with engine.connect() as connection:
        if found := connection.execute(query).scalar():
            return str(found)
    try:
        with engine.begin() as connection:
            connection.execute(secrets.insert().values(name=name, value=proposal))
        return proposal
    except sql.exc.IntegrityError:  # another process was first
        with engine.connect() as connection:
            return str(connection.execute(query).scalar_one())


def same_picture(one: Any, other: Any) -> sql.ColumnElement[bool]:
    """Whether rows of two tables belong to the same picture of the same request."""
    return sql.and_(one.c.request_id == other.c.request_id, one.c.position == other.c.position)


def current_labels() -> sql.Select[Any]:
    """Rows of `labels` that count: the newest of each picture, unless it withdrew the label."""
    newest = sql.select(sql.func.max(labels.c.id)).group_by(labels.c.request_id, labels.c.position)
    return sql.select(labels).where(labels.c.id.in_(newest), labels.c.label.is_not(None))


def delete_requests(engine: sql.Engine, request_ids: Sequence[str]) -> int:
    """Delete all rows of these requests, labels and reviews too; how many rows it were."""
    with engine.begin() as connection:
        return _delete(connection, lambda table: table.c.request_id.in_(request_ids))


def prune(engine: sql.Engine, max_days: float, max_rows: int) -> int:
    """Delete pictures with their predictions that are older than `max_days`, and the oldest beyond `max_rows`.

    What people labelled stays until it is withdrawn or deleted by its id. Returns how many rows were deleted.
    """
    limit = datetime.now(UTC) - timedelta(days=max_days)
    labelled = sql.select(current_labels().subquery().c.request_id)
    with engine.begin() as connection:
        times = sql.select(pictures.c.time).order_by(pictures.c.time.desc()).offset(max_rows).limit(1)
        if (surplus := connection.execute(times).scalar()) is not None:
            limit = max(limit, in_utc(surplus))
        return _delete(connection, lambda table: (table.c.time <= limit) & table.c.request_id.not_in(labelled))


def _delete(connection: sql.Connection, chosen: Any) -> int:
    doomed = sql.select(labels.c.id).where(chosen(labels))
    statements = [reviews.delete().where(reviews.c.label_id.in_(doomed))]
    statements += [table.delete().where(chosen(table)) for table in (predictions, pictures, labels)]
    return sum(connection.execute(statement).rowcount for statement in statements)
