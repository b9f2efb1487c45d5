"""The prediction log: a bounded queue of answers, which one thread per worker writes to the database."""

import hashlib
import hmac
import secrets
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import sqlalchemy as sql

from records import database
from serving.prediction_log.request_ids import RequestIds
from serving.prediction_log.rows import Answered, write
from serving.settings import Settings
from serving.telemetry import metrics
from serving.telemetry.json_logs import log as logger

MOST_WAITING = 20_000  # maximum number of pictures in a worker's queue, about 20 MB
BATCH = 250  # approximate pictures per transaction; a longer transaction would delay answers
FLUSH_SECONDS = 0.5  # a killed worker loses at most these seconds and the current transaction
TRY_AGAIN_SECONDS = 1.0  # pause between attempts during an outage
HOUSEKEEPING_SECONDS = 60.0


class NotLogged(Exception):
    """The log does not contain the answer."""


class Ambiguous(Exception):
    """The request has several answers (their number: `args[0]`) and the id does not select one."""


class Unreachable(Exception):
    """The database is unavailable."""


class PredictionLog:
    """Logs answers without waiting for the database, and stores labels.

    Only the event loop calls `record`. Only the thread writes answers.
    """

    def __init__(self, url: sql.URL, key: str, max_days: float, max_rows: int, ids: RequestIds) -> None:
        """`key`: of the client hashes; empty: one that the database keeps. `ids` gets its key from the database."""
        self._engine = database.connect(url)
        self._ids = ids
        self._key, self._max_days, self._max_rows = key, max_days, max_rows
        self._queue: deque[Answered] = deque()
        self._closing = threading.Event()
        self._taken = self._done = 0  # pictures; only one thread changes each counter, so they need no lock
        self._ready = self._failing = False
        self._housekeeping = 0.0
        self._figures: set[str] = set()
        self._hash = lru_cache(10_000)(self._keyed_hash)
        with self._log_outages():
            self._prepare()
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)
        self._thread.start()

    def record(self, answered: Answered) -> bool:
        """Puts a request's answers into the queue. Returns False, and counts them as lost, if the queue is full."""
        count = answered.pictures
        if self._taken + count - self._done > MOST_WAITING:
            metrics.LOST_FULL.inc(count)
            return False
        self._taken += count
        self._queue.append(answered)
        return True

    def label(self, request_id: str, position: int | None, label: int | None, client: str) -> None:
        """Sets the label of an answer; None withdraws it. Blocks, so call it in a thread.

        `position`: of the picture in its request; None if the request had only one.
        Raises NotLogged, Ambiguous, Unreachable.
        """
        try:
            self._prepare()
            query = sql.select(database.pictures.c.position).where(database.pictures.c.request_id == request_id)
            with self._engine.connect() as connection:
                known = connection.execute(query).scalars().all()
            if position is None and len(known) > 1:
                raise Ambiguous(len(known))
            row = {"request_id": request_id, "position": position or 0, "time": datetime.now(UTC), "label": label}
            if row["position"] not in known:
                raise NotLogged
            with self._engine.begin() as connection:
                connection.execute(database.labels.insert().values(**row, client=self._hash(client)))
        except sql.exc.SQLAlchemyError as error:
            metrics.LOG_FAILURES.inc()
            raise Unreachable(database.reason_of(error)) from None

    def close(self) -> None:
        """Writes the waiting answers, for two seconds at most."""
        self._closing.set()
        self._thread.join(2)
        self._engine.dispose()

    def _run(self) -> None:
        going = True
        while going:
            batch, going = self._next_batch()
            while batch and not self._write(batch):
                metrics.LOG_WAITING.set(self._taken - self._done)
                time.sleep(TRY_AGAIN_SECONDS)
            metrics.LOG_WAITING.set(self._taken - self._done)
            if going and time.monotonic() - self._housekeeping > HOUSEKEEPING_SECONDS:
                self._housekeeping = time.monotonic()
                with self._log_outages():
                    self._do_housekeeping()

    def _next_batch(self) -> tuple[list[Answered], bool]:
        """Returns a batch of waiting answers, and whether there may be more.

        It sleeps for FLUSH_SECONDS first. To wake it with every answer would cost a thread switch per request.
        """
        closing = self._closing.wait(0 if self._queue else FLUSH_SECONDS)
        batch: list[Answered] = []
        pictures = 0
        while self._queue and pictures < BATCH:
            batch.append(self._queue.popleft())
            pictures += batch[-1].pictures
        return batch, not closing or bool(self._queue)

    def _write(self, batch: list[Answered]) -> bool:
        """Writes a batch. Returns False if the database cannot be used; the caller tries again."""
        with self._log_outages():
            self._prepare()
            count = sum(answered.pictures for answered in batch)
            hashed = [entry._replace(client=self._hash(entry.client)) for entry in batch]
            refused = sum(entry.pictures for entry in write(self._engine, hashed))
            metrics.LOG_WRITTEN.inc(count - refused)
            metrics.LOST_REFUSED.inc(refused)
            self._done += count
            return True
        return False

    def _prepare(self) -> None:
        """Creates the tables and reads the keys before the first row."""
        if not self._ready:
            database.migrate(self._engine)
            self._key = self._key or database.shared_secret(self._engine, "hash_key", secrets.token_hex(32))
            id_key = database.shared_secret(self._engine, "request_id_key", secrets.token_hex(32))
            self._ids.use_key(bytes.fromhex(id_key))
            self._ready = True

    def _keyed_hash(self, client: str) -> str:
        return hmac.new(self._key.encode(), client.encode(), hashlib.sha256).hexdigest()[:32]

    def _do_housekeeping(self) -> None:
        """Deletes old rows and publishes the monitor's last results for Prometheus."""
        self._prepare()
        database.prune(self._engine, self._max_days, self._max_rows)
        with self._engine.connect() as connection:
            last = connection.execute(database.monitoring.select().order_by(database.monitoring.c.id.desc())).first()
        if last is not None:
            metrics.MONITOR_STATUS.set(last.status)
            metrics.MONITOR_TIME.set(database.in_utc(last.time).timestamp())
            for name in self._figures - last.figures.keys():  # no longer monitored; 0 raises no alarm
                metrics.MONITOR_EFFECT.labels(name).set(0)
            self._figures |= last.figures.keys()
            for name, figure in last.figures.items():
                metrics.MONITOR_EFFECT.labels(name).set(figure["effect"])
                metrics.MONITOR_THRESHOLD.labels(name).set(figure["threshold"])

    @contextmanager
    def _log_outages(self) -> Iterator[None]:
        """Suppresses errors, so that none ends the thread. Logs the start and the end of an outage once."""
        try:
            yield
            if self._failing:
                logger.warning("the prediction log's database answers again")
            self._failing = False
        except Exception as error:
            metrics.LOG_FAILURES.inc()
            self._ready = False  # the tables may be gone with the database
            if not self._failing:
                logger.error(
                    "the prediction log's database cannot be used (%s); answers go on, and up to %d wait to be logged",
                    database.reason_of(error) if isinstance(error, sql.exc.SQLAlchemyError) else repr(error)[:200],
                    MOST_WAITING,
                )
            self._failing = True


def open_log(settings: Settings, ids: RequestIds) -> PredictionLog:
    """Opens the log with these settings."""
    key = settings.hash_key.get_secret_value() if settings.hash_key else ""
    url = database.database_url(Path.cwd())
    return PredictionLog(url, key, settings.log_max_days, settings.log_max_rows, ids)
