"""A real PostgreSQL for tests, on loopback and gone afterwards (Debian: apt-get install postgresql)."""

import getpass
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sql

from pipeline.deployment.bento_server import free_port


class Postgres:
    """A server with one account; `url` is that of its first database."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self.programs, self.folder = programs, folder
        self.account = account()
        password = secrets.token_hex(8)
        shutil.chown(folder, self.account)
        (folder / "password").write_text(password)
        shutil.chown(folder / "password", self.account)
        self._run("initdb", "--auth=scram-sha-256", "--username=digits", f"--pwfile={folder / 'password'}", "--no-sync")
        self.port = free_port()
        self.url = f"postgresql+psycopg://digits:{password}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        command = [self.programs / "postgres", "-D", self.folder / "data", "-p", str(self.port), "-k", self.folder]
        command += ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
        self.process = subprocess.Popen(
            command, user=self.account, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        engine = sql.create_engine(self.url, poolclass=sql.NullPool)
        for _ in range(300):
            try:
                engine.connect().close()
                return
            except sql.exc.OperationalError:
                assert self.process.poll() is None, "PostgreSQL ended before it answered"
                time.sleep(0.1)
        raise AssertionError("PostgreSQL did not answer within 30 s")

    def stop(self) -> None:
        """End the server and every connection to it."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(30)

    def kill(self) -> None:
        """End the server and its processes at once, as a crash does."""
        processes = [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children()]
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait(30)
        psutil.wait_procs(processes[1:], 30)

    def new_database(self) -> str:
        """The URL of a new, empty database."""
        name = f"test_{secrets.token_hex(6)}"
        engine = sql.create_engine(self.url, isolation_level="AUTOCOMMIT", poolclass=sql.NullPool)
        with engine.connect() as connection:
            connection.execute(sql.text(f"create database {name}"))
        return self.url.removesuffix("postgres") + name

    def _run(self, program: str, *arguments: str) -> None:
        command = [self.programs / program, "-D", self.folder / "data", *arguments]
        subprocess.run(command, check=True, capture_output=True, user=self.account, cwd=self.folder)


def account() -> str:
    """Who runs the server: we ourselves, but PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return getpass.getuser()
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def installed() -> Path | None:
    """The folder of PostgreSQL's newest programs; Debian keeps them off PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).resolve().parent if on_path else None


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """A PostgreSQL that runs while the block does; skips the test where it is not installed."""
    programs = installed()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="digits-postgres-"))  # not pytest's: only its owner may enter that
    try:
        server = Postgres(programs, folder)
        server.start()
        try:
            yield server
        finally:
            if server.process.poll() is None:
                server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One server for all tests."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def postgres_url(postgres: Postgres) -> str:
    """The URL of a new, empty database on it."""
    return postgres.new_database()
