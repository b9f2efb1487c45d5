"""The process that writes a worker's answers into the database: in the worker, answers would wait for the rows."""

import hashlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sql

from records import database

SIDE = 28
CLOSE_SECONDS = 2.0


class Answered(NamedTuple):
    """One request's pictures, 784 bytes each, and each answering model's verdicts, one for each picture.

    `client`: key or address until the log has put its keyed hash there, for the writer.
    """

    request_id: str
    dataset: str
    route: str
    client: str
    time: float
    latency_ms: float
    pixels: bytes
    verdicts: list[list[tuple[Any, ...]]]

    @property
    def pictures(self) -> int:
        """How many pictures."""
        return len(self.pixels) // SIDE**2


class Refused(Exception):
    """The database will never take these entries."""


class Unwritten(sql.exc.SQLAlchemyError):
    """The database could not be used, or the process ended; the entries can be written again."""


class Writer:
    """A process of its own, with its own connection to the database. It ends with whoever started it."""

    def __init__(self, url: sql.URL) -> None:
        self._url = url
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection[Any, Any] | None = None

    def start(self) -> None:
        """Start the process where it does not run."""
        if self._process is not None and self._process.poll() is None:
            return
        self.close()
        self._connection, there = Pipe()
        command = [sys.executable, "-m", "serving.log_writer", str(there.fileno())]
        self._process = subprocess.Popen(
            command, cwd=Path(__file__).parents[1], pass_fds=[there.fileno()], stdin=subprocess.DEVNULL
        )
        there.close()  # now the process alone has it, and each sees when the other ends
        self._connection.send((self._url.render_as_string(hide_password=False), database.BUSY_SECONDS))

    def write(self, entries: list[Answered]) -> None:
        """Write all of them or none. Raises Refused, Unwritten."""
        try:
            self.start()
            assert self._connection is not None
            self._connection.send(entries)
            kind, reason = self._connection.recv()
        except (EOFError, OSError):
            self.close()
            raise Unwritten("the process that writes it ended") from None
        if kind == "refused":
            raise Refused(reason)
        if kind == "failed":
            raise Unwritten(reason)

    def close(self) -> None:
        """Let the process end, which finishes what it is writing."""
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            try:
                self._process.wait(CLOSE_SECONDS)
            except subprocess.TimeoutExpired:  # a slow database; it ends by itself
                return
        self._process = self._connection = None


def rows(engine: sql.Engine, entry: Answered) -> Iterator[tuple[tuple[Any, ...], list[tuple[Any, ...]]]]:
    """The rows of each picture: its own, and one for each model; in the order of the tables' columns."""
    moment = database.driver_time(engine, entry.time)
    for position in range(entry.pictures):
        place = (entry.request_id, position)
        content = entry.pixels[position * SIDE**2 : (position + 1) * SIDE**2]
        said = []
        for model, version, *verdict in (answers[position] for answers in entry.verdicts):
            said.append((*place, model, moment, entry.route, version, *verdict, entry.latency_ms, entry.client))
        yield (*place, moment, entry.dataset, hashlib.sha256(content).hexdigest(), content), said


def write(engine: sql.Engine, entries: list[Answered]) -> tuple[str, str]:
    """Write all of them or none: "written", "refused" or "failed", and why."""
    pictures: list[tuple[Any, ...]] = []
    predictions: list[tuple[Any, ...]] = []
    for entry in entries:
        for picture, said in rows(engine, entry):
            pictures.append(picture)
            predictions += said
    try:
        with engine.begin() as connection:
            database.insert_many(connection, database.pictures, pictures)
            database.insert_many(connection, database.predictions, predictions)
    except (sql.exc.DataError, sql.exc.IntegrityError) as error:
        return "refused", database.reason_of(error)
    except sql.exc.SQLAlchemyError as error:
        return "failed", database.reason_of(error)
    return "written", ""


def main() -> None:
    """Write what comes until nothing more can come."""
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to the whole group: the worker ends first, and says so
        signal.signal(number, signal.SIG_IGN)
    connection: Connection[Any, Any] = Connection(int(sys.argv[1]))
    try:
        url, database.BUSY_SECONDS = connection.recv()
        engine = database.connect(sql.make_url(url))
        while True:
            connection.send(write(engine, connection.recv()))
    except (EOFError, OSError):
        return


if __name__ == "__main__":
    main()
