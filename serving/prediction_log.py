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
from types import SimpleNamespace
from typing import Any

import sqlalchemy as sql

from records import database
from serving.answers import parse_answer_id
from serving.log_writer import Answered, write
from serving.logs import log as logger
from serving.settings import Settings

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


@lru_cache(1)
def metrics() -> SimpleNamespace:
    """The log's Prometheus metrics. Call it in a worker: BentoML configures prometheus_client there."""
    from prometheus_client import Counter, Gauge

    def newest(name: str, words: str, *labels: str) -> Any:
        return Gauge(f"digits_monitor_{name}", words, labels, multiprocess_mode="mostrecent")

    lost = Counter("digits_log_lost_pictures", "Pictures whose answers could not be logged", ["reason"])
    return SimpleNamespace(
        written=Counter("digits_log_pictures", "Pictures whose answers were written to the prediction log"),
        lost={reason: lost.labels(reason) for reason in ("full", "refused")},  # created now, so that they show 0
        failures=Counter("digits_log_failures", "Attempts to use the prediction log's database that failed"),
        waiting=Gauge("digits_log_waiting_pictures", "Pictures that wait to be logged", multiprocess_mode="livesum"),
        monitor_effect=newest("effect", "Effect size at the monitor's last run", "figure"),
        monitor_threshold=newest("threshold", "From which effect size on the monitor alarms", "figure"),
        monitor_status=newest("status", "The monitor's last run: 0 as in training, 1 drift, 2 too little data"),
        monitor_time=newest("time_seconds", "When the monitor ran last (Unix time)"),
    )


class PredictionLog:
    """Logs answers without waiting for the database, and stores labels.

    Only the event loop calls `record`. Only the thread writes answers.
    """

    def __init__(self, url: sql.URL, key: str, max_days: float, max_rows: int) -> None:
        self._engine = database.connect(url)
        self._key, self._max_days, self._max_rows = key, max_days, max_rows
        self._queue: deque[Answered] = deque()
        self._closing = threading.Event()
        self._taken = self._done = 0  # pictures; only one thread changes each counter, so they need no lock
        self._ready = self._failing = False
        self._housekeeping = 0.0
        self._figures: set[str] = set()
        self._hash = lru_cache(10_000)(self._keyed_hash)
        self._metrics = metrics()
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)
        self._thread.start()

    def record(self, answered: Answered) -> None:
        """Puts a request's answers into the queue, or counts them as lost if the queue is full."""
        count = answered.pictures
        if not count:  # a picture without digits
            return
        if self._taken + count - self._done > MOST_WAITING:
            self._metrics.lost["full"].inc(count)
            return
        self._taken += count
        self._queue.append(answered)

    def label(self, answer_id: str, label: int | None, client: str) -> None:
        """Sets the label of an answer; None withdraws it. Blocks, so call it in a thread.

        Raises NotLogged, Ambiguous, Unreachable.
        """
        try:
            request_id, position = parse_answer_id(answer_id)
        except ValueError:
            raise NotLogged from None
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
            self._metrics.failures.inc()
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
                self._metrics.waiting.set(self._taken - self._done)
                time.sleep(TRY_AGAIN_SECONDS)
            self._metrics.waiting.set(self._taken - self._done)
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
            try:
                write(self._engine, [entry._replace(client=self._hash(entry.client)) for entry in batch])
                self._metrics.written.inc(count)
            except (sql.exc.DataError, sql.exc.IntegrityError):  # the database will never accept these rows
                self._metrics.lost["refused"].inc(count)
            self._done += count
            return True
        return False

    def _prepare(self) -> None:
        """Creates the tables and the key of the hashes before the first row."""
        if not self._ready:
            database.migrate(self._engine)
            self._key = self._key or database.shared_secret(self._engine, "hash_key", secrets.token_hex(32))
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
            self._metrics.monitor_status.set(last.status)
            self._metrics.monitor_time.set(database.in_utc(last.time).timestamp())
            for name in self._figures - last.figures.keys():  # no longer monitored; 0 raises no alarm
                self._metrics.monitor_effect.labels(name).set(0)
            self._figures |= last.figures.keys()
            for name, figure in last.figures.items():
                self._metrics.monitor_effect.labels(name).set(figure["effect"])
                self._metrics.monitor_threshold.labels(name).set(figure["threshold"])

    @contextmanager
    def _log_outages(self) -> Iterator[None]:
        """Suppresses database errors. Logs the start and the end of an outage once."""
        try:
            yield
            if self._failing:
                logger.warning("the prediction log's database answers again")
            self._failing = False
        except sql.exc.SQLAlchemyError as error:
            self._metrics.failures.inc()
            self._ready = False  # the tables may be gone with the database
            if not self._failing:
                logger.error(
                    "the prediction log's database cannot be used (%s); answers go on, and up to %d wait to be logged",
                    database.reason_of(error),
                    MOST_WAITING,
                )
            self._failing = True


def open_log(settings: Settings) -> PredictionLog:
    """Opens the log with these settings."""
    key = settings.hash_key.get_secret_value() if settings.hash_key else ""
    return PredictionLog(database.database_url(Path.cwd()), key, settings.log_max_days, settings.log_max_rows)
