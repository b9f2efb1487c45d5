"""The prediction log: answers go into a bounded queue, and one thread of each worker writes them to the database."""

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
from operator import itemgetter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import sqlalchemy as sql

from records import database
from serving.answers import parse_answer_id
from serving.log_writer import KEPT, Answered, write
from serving.logs import log as logger
from serving.settings import Settings

MOST_WAITING = 20_000  # pictures in a worker's queue, about 20 MB
BATCH = 250  # pictures written in one transaction, about; a longer one would delay answers
FLUSH_SECONDS = 0.5  # a killed worker loses no more than this, and the transaction under way
TRY_AGAIN_SECONDS = 1.0  # while the database cannot be used
HOUSEKEEPING_SECONDS = 60.0


class NotLogged(Exception):
    """The log has no such answer."""


class Ambiguous(Exception):
    """The request had several answers, as many as `args[0]`, and none was named."""


class Unreachable(Exception):
    """The database cannot be used now."""


VERDICT = itemgetter(*KEPT)


@lru_cache(1)
def metrics() -> SimpleNamespace:
    """What the log adds to `/metrics`. Made in the worker: only there does prometheus_client know of the others."""
    from prometheus_client import Counter, Gauge

    def newest(name: str, words: str, *labels: str) -> Any:
        return Gauge(f"digits_monitor_{name}", words, labels, multiprocess_mode="mostrecent")

    made = SimpleNamespace(
        written=Counter("digits_log_pictures", "Pictures whose answers were written to the prediction log"),
        lost=Counter("digits_log_lost_pictures", "Pictures whose answers could not be logged", ["reason"]),
        failures=Counter("digits_log_failures", "Attempts to use the prediction log's database that failed"),
        waiting=Gauge("digits_log_waiting_pictures", "Pictures that wait to be logged", multiprocess_mode="livesum"),
        monitor_effect=newest("effect", "Effect size at the monitor's last run", "figure"),
        monitor_threshold=newest("threshold", "From which effect size on the monitor alarms", "figure"),
        monitor_status=newest("status", "The monitor's last run: 0 as in training, 1 drift, 2 too little data"),
        monitor_time=newest("time_seconds", "When the monitor ran last (Unix time)"),
    )
    for reason in ("full", "refused"):
        made.lost.labels(reason)  # shows 0 before the first
    return made


class PredictionLog:
    """Takes answers without ever waiting for the database, and keeps what people say of them.

    Only the event loop calls `record`; only the thread writes.
    """

    def __init__(self, url: sql.URL, key: str, max_days: float, max_rows: int) -> None:
        self._engine = database.connect(url)
        self._key, self._max_days, self._max_rows = key, max_days, max_rows
        self._queue: deque[Answered] = deque()
        self._closing = threading.Event()
        self._taken = self._done = 0  # pictures; each is written by one thread alone, so neither needs a lock
        self._ready = self._failing = False
        self._housekeeping = 0.0
        self._figures: set[str] = set()
        self._hash = lru_cache(10_000)(self._keyed_hash)
        self._metrics = metrics()
        self._thread = threading.Thread(target=self._run, name="prediction-log", daemon=True)
        self._thread.start()

    def record(self, answered: Answered) -> None:
        """Put a request's answers into the queue, or count them as lost where it is full."""
        count = answered.pictures
        if not count:  # a picture without digits
            return
        if self._taken + count - self._done > MOST_WAITING:
            self._metrics.lost.labels("full").inc(count)
            return
        self._taken += count
        self._queue.append(answered)

    def label(self, answer_id: str, label: int | None, who: str) -> None:
        """Make `label` the current one of an answer, None: withdraw it. Blocks: call it in a thread.

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
                connection.execute(database.labels.insert().values(**row, client=self._hash(who)))
        except sql.exc.SQLAlchemyError as error:
            self._metrics.failures.inc()
            raise Unreachable(database.reason_of(error)) from None

    def close(self) -> None:
        """Write what waits, if that is possible within two seconds."""
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
                with self._said_once():
                    self._keep_house()

    def _next_batch(self) -> tuple[list[Answered], bool]:
        """What came in since a moment ago, and whether more will come.

        It sleeps and then takes all there is: woken by every answer, it would cost each of them a change of threads.
        """
        closing = self._closing.wait(0 if self._queue else FLUSH_SECONDS)
        batch: list[Answered] = []
        pictures = 0
        while self._queue and pictures < BATCH:
            batch.append(self._queue.popleft())
            pictures += batch[-1].pictures
        return batch, not closing or bool(self._queue)

    def _write(self, batch: list[Answered]) -> bool:
        """Write a batch; False where it should be tried again because the database cannot be used."""
        written = False
        with self._said_once():
            self._prepare()
            count = sum(answered.pictures for answered in batch)
            try:
                write(self._engine, [entry._replace(client=self._hash(entry.client)) for entry in batch])
                self._metrics.written.inc(count)
            except (sql.exc.DataError, sql.exc.IntegrityError):  # the database will never accept these rows
                self._metrics.lost.labels("refused").inc(count)
            written = True
            self._done += count
        return written

    def _prepare(self) -> None:
        """The tables, and the key of the hashes, before the first row."""
        if not self._ready:
            database.migrate(self._engine)
            self._key = self._key or database.shared_secret(self._engine, "hash_key", secrets.token_hex(32))
            self._ready = True

    def _keyed_hash(self, who: str) -> str:
        return hmac.new(self._key.encode(), who.encode(), hashlib.sha256).hexdigest()[:32]

    def _keep_house(self) -> None:
        """Retention, and the monitor's last figures for Prometheus."""
        self._prepare()
        database.prune(self._engine, self._max_days, self._max_rows)
        with self._engine.connect() as connection:
            last = connection.execute(database.monitoring.select().order_by(database.monitoring.c.id.desc())).first()
        if last is not None:
            self._metrics.monitor_status.set(last.status)
            self._metrics.monitor_time.set(database.in_utc(last.time).timestamp())
            for name in self._figures - last.figures.keys():  # no longer watched: never an alarm
                self._metrics.monitor_effect.labels(name).set(0)
            self._figures |= last.figures.keys()
            for name, figure in last.figures.items():
                self._metrics.monitor_effect.labels(name).set(figure["effect"])
                self._metrics.monitor_threshold.labels(name).set(figure["threshold"])

    @contextmanager
    def _said_once(self) -> Iterator[None]:
        """Say once that the database cannot be used, and once that it can again."""
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
    """The log that the settings ask for."""
    key = settings.hash_key.get_secret_value() if settings.hash_key else ""
    return PredictionLog(database.database_url(Path.cwd()), key, settings.log_max_days, settings.log_max_rows)
