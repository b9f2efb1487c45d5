"""The deployment's database: tables, connection, migration, retention. Alembic is imported for a migration only."""

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sql

BUSY_SECONDS = 5  # maximum wait for the lock of a SQLite file, or for a connection to a server
RECYCLE_SECONDS = 10
VERSION_TABLE = "digits_alembic_version"  # not Alembic's default, which other applications in the database use
HEAD = "0002"  # the newest revision in migrations/versions; every change of the tables adds a revision
MIGRATION_LOCK = 0x64696769  # key of a PostgreSQL advisory lock; any number that no other application uses

metadata = sql.MetaData()
predictions = sql.Table(  # one row for each picture and model
    "predictions",
    metadata,
    sql.Column("request_id", sql.String(64), primary_key=True),
    sql.Column("position", sql.Integer, primary_key=True),  # of the picture in its request, from 0
    sql.Column("model", sql.String(40), primary_key=True),
    sql.Column("time", sql.DateTime(timezone=True), nullable=False, index=True),  # UTC
    sql.Column("route", sql.String(40), nullable=False),
    sql.Column("version", sql.String(20), nullable=False),
    sql.Column("prediction", sql.Integer, nullable=False),
    sql.Column("confidence", sql.Float, nullable=False),
    sql.Column("uncertain", sql.Boolean, nullable=False),
    sql.Column("reason", sql.String(20)),
    sql.Column("latency_ms", sql.Float, nullable=False),
    sql.Column("client", sql.String(32), nullable=False),  # keyed hash of the API key or the address
)
pictures = sql.Table(  # the input of the models, stored once for all of them
    "pictures",
    metadata,
    sql.Column("request_id", sql.String(64), primary_key=True),
    sql.Column("position", sql.Integer, primary_key=True),
    sql.Column("time", sql.DateTime(timezone=True), nullable=False, index=True),
    sql.Column("dataset", sql.String(40), nullable=False),  # defines the classes that predictions refer to
    sql.Column("digest", sql.String(64), nullable=False),  # sha256 of the pixels
    sql.Column("pixels", sql.LargeBinary, nullable=False),  # 784 bytes, row by row, ink bright
)
labels = sql.Table(  # each change adds a row; the newest row of a picture counts, null withdraws the label
    "labels",
    metadata,
    sql.Column("id", sql.Integer, primary_key=True),
    sql.Column("request_id", sql.String(64), nullable=False, index=True),
    sql.Column("position", sql.Integer, nullable=False),
    sql.Column("time", sql.DateTime(timezone=True), nullable=False),
    sql.Column("label", sql.Integer),
    sql.Column("client", sql.String(32), nullable=False),
)
reviews = sql.Table(  # decisions of reviewers; the newest row of a label counts
    "reviews",
    metadata,
    sql.Column("id", sql.Integer, primary_key=True),
    sql.Column("label_id", sql.Integer, nullable=False, index=True),
    sql.Column("time", sql.DateTime(timezone=True), nullable=False),
    sql.Column("who", sql.String(200), nullable=False),
    sql.Column("accepted", sql.Boolean, nullable=False),
)
monitoring = sql.Table(  # results of the monitor, one row for each run
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
promotion_history = sql.Table(  # see records/promotions.py
    "ledger",
    metadata,
    sql.Column("id", sql.Integer, primary_key=True),
    sql.Column("time", sql.DateTime(timezone=True), nullable=False),
    sql.Column("who", sql.String(200), nullable=False),
    sql.Column("event", sql.String(20), nullable=False),  # promoted, updated, refused or rolled back
    sql.Column("model", sql.String(200), nullable=False),
    sql.Column("version", sql.String(20), nullable=False),
    sql.Column("champion_before", sql.String(20)),
    sql.Column("reason", sql.Text, nullable=False),
    sql.Column("digest", sql.String(64)),
    sql.Column("forced", sql.Boolean),
    sql.Column("turn", sql.Integer, key="revision"),
    sql.Index("ledger_turns", "model", "revision", unique=True),
)


def parse_url(text: str) -> sql.URL:
    """Parse a database URL and select the installed driver. Raises ValueError for other databases."""
    expected = "expected sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME"
    try:
        url = sql.make_url(text)
    except (sql.exc.ArgumentError, ValueError):
        raise ValueError(expected) from None
    if url.drivername in ("postgres", "postgresql"):
        return url.set(drivername="postgresql+psycopg")
    if url.drivername not in ("sqlite", "postgresql+psycopg"):
        raise ValueError(f"{expected}, found {url.drivername}")
    return url


def database_url(root: Path) -> sql.URL:
    """Return `DIGITS_DATABASE_URL`, a relative SQLite path resolved against `root`. Raises ValueError."""
    url = parse_url(os.environ.get("DIGITS_DATABASE_URL") or "sqlite:///digits.db")
    if url.drivername != "sqlite" or url.database in (None, "", ":memory:"):
        return url
    return url.set(database=str(root / str(url.database)))


def connect(url: sql.URL) -> sql.Engine:
    """Create an engine. It connects with the first statement."""
    if url.drivername != "sqlite":
        return sql.create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": BUSY_SECONDS})
    # Closing the last connection runs a checkpoint, so connections stay open, but briefly: the file may be restored
    engine = sql.create_engine(url, pool_recycle=RECYCLE_SECONDS, connect_args={"timeout": BUSY_SECONDS})

    @sql.event.listens_for(engine, "connect")
    def enable_write_ahead_log(connection: Any, record: Any) -> None:  # readers and a writer do not block each other
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = normal")

    return engine


def migrate(engine: sql.Engine) -> None:
    """Bring the schema to the revision HEAD in one transaction. Several processes may do so at the same time.

    A current database is only read, without a lock. Raises SQLAlchemyError, also for a schema newer than HEAD.
    """
    with engine.connect() as connection:
        migrated = sql.inspect(connection).has_table(VERSION_TABLE)
        query = sql.text(f"select version_num from {VERSION_TABLE}")  # noqa: S608
        found = (connection.execute(query).scalar() if migrated else None) or ""
    if found == HEAD:
        return
    if found > HEAD:
        raise sql.exc.InvalidRequestError(f"its schema {found} is newer than {HEAD}: update this installation")
    from alembic import command, config

    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":  # sqlite3 begins no transaction for definitions
            connection.exec_driver_sql("begin immediate")
        else:
            connection.execute(sql.select(sql.func.pg_advisory_xact_lock(MIGRATION_LOCK)))
        settings = config.Config(attributes={"connection": connection})
        settings.set_main_option("script_location", "records:migrations")
        command.upgrade(settings, HEAD)  # does nothing where another process was first


def in_utc(time: datetime) -> datetime:
    """Add the time zone to a time from the database. SQLite returns times without one."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def reason_of(error: Exception) -> str:
    """Return the first line of a database driver's message, without the statement."""
    message = str(getattr(error, "orig", None) or error).strip() or repr(error)
    return message.splitlines()[0][:200]


def shared_secret(engine: sql.Engine, name: str, proposal: str) -> str:
    """Return the secret `name`, which all processes share. The first process stores its `proposal`."""
    query = sql.select(secrets.c.value).where(secrets.c.name == name)
    with engine.connect() as connection:
        found = connection.execute(query).scalar()
    if found is None:
        with suppress(sql.exc.IntegrityError), engine.begin() as connection:  # another process may be first
            connection.execute(secrets.insert().values(name=name, value=proposal))
        with engine.connect() as connection:
            found = connection.execute(query).scalar_one()
    return str(found)


def same_picture(one: Any, other: Any) -> sql.ColumnElement[bool]:
    """Condition that joins rows of two tables on the picture: the request and the position in it."""
    return sql.and_(one.c.request_id == other.c.request_id, one.c.position == other.c.position)


def current_labels() -> sql.Select[Any]:
    """Select the rows of `labels` that count: the newest of each picture, unless it withdraws the label."""
    newest = sql.select(sql.func.max(labels.c.id)).group_by(labels.c.request_id, labels.c.position)
    return sql.select(labels).where(labels.c.id.in_(newest), labels.c.label.is_not(None))


def answers_before_label(engine: sql.Engine, dataset: str, version: str, other: str) -> dict[str, tuple[int, int]]:
    """Two versions' predictions for pictures that both answered before the first label, by sha256 of the pixels."""
    label_times = (
        sql.select(pictures.c.digest, sql.func.min(labels.c.time).label("time"))
        .join(labels, same_picture(labels, pictures))
        .group_by(pictures.c.digest)
        .subquery()
    )
    one, two = predictions.alias(), predictions.alias()
    query = (
        sql.select(pictures.c.digest, one.c.prediction, two.c.prediction)
        .join(one, same_picture(one, pictures))
        .join(two, same_picture(two, pictures))
        .join(label_times, label_times.c.digest == pictures.c.digest)
        .where(pictures.c.dataset == dataset, one.c.version == version, two.c.version == other)
        .where(pictures.c.time <= label_times.c.time)
    )
    with engine.connect() as connection:
        return {digest: (first, second) for digest, first, second in connection.execute(query)}


def delete_requests(engine: sql.Engine, request_ids: Sequence[str]) -> int:
    """Delete all rows of these requests, including labels and reviews. Returns the number of deleted rows."""
    return _delete(engine, lambda table: table.c.request_id.in_(request_ids))


def prune(engine: sql.Engine, max_days: float, max_rows: int) -> int:
    """Delete pictures older than `max_days` and the oldest pictures beyond `max_rows`, with their predictions.

    Labelled pictures stay until the label is withdrawn or the request is deleted. Returns the number of deleted rows.
    """
    limit = datetime.now(UTC) - timedelta(days=max_days)
    with engine.connect() as connection:
        times = sql.select(pictures.c.time).order_by(pictures.c.time.desc()).offset(max_rows).limit(1)
        if (newest_surplus := connection.execute(times).scalar()) is not None:
            limit = max(limit, in_utc(newest_surplus))
    labelled = sql.select(current_labels().subquery().c.request_id)
    return _delete(engine, lambda table: (table.c.time <= limit) & table.c.request_id.not_in(labelled))


def _delete(engine: sql.Engine, condition: Callable[[sql.Table], sql.ColumnElement[bool]]) -> int:
    label_ids = sql.select(labels.c.id).where(condition(labels))
    statements = [reviews.delete().where(reviews.c.label_id.in_(label_ids))]
    statements += [table.delete().where(condition(table)) for table in (predictions, pictures, labels)]
    with engine.begin() as connection:
        return sum(connection.execute(statement).rowcount for statement in statements)
