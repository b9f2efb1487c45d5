"""The servers that benchmarks/serving.py measures: how they are started and stopped, their CPU time and memory."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from pipeline.deployment import bento_server
from pipeline.paths import ROOT

PEERS = Path(os.environ.get("PEERS_PYTHON", ROOT / ".venv" / "benchmarks" / "bin" / "python"))
OURS = "digits (BentoML)"
START_SECONDS = 90.0
UVICORN = ("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "error")
UNLIMITED = {"DIGITS_MAX_IN_FLIGHT": "100000", "DIGITS_LOG_LEVEL": "error", "DIGITS_LOG_PREDICTIONS": ""}


@dataclass
class Server:
    """A server to measure. `start` takes a port; `paths` maps the routes of our service to its own."""

    name: str
    start: Callable[[int], "subprocess.Popen[bytes]"]
    paths: dict[str, str]
    ready: str = "/readyz"  # path that answers 200 when the server is ready
    envelope: str = "images"  # JSON key of the list of images
    url: str = ""
    process: "psutil.Process | None" = None


def servers(tag: str, served: Path, pyfunc: Path, log: int, folder: Path) -> list[Server]:
    """Our service, without and with its prediction log, and the other servers, all with the champion.

    `tag`: of the Bento; `served`, `pyfunc`: folders of the model, as stored by BentoML and by MLflow; `log`: file
    descriptor for the output of the servers; `folder`: for databases.
    """
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "BENCHMARK_MODEL": str(served),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "OPENBLAS_NUM_THREADS": "1",
        "BENTOML_HOME": str(folder / "bentoml"),
        "BENTOML_DO_NOT_TRACK": "true",
        "UVICORN_ACCESS_LOG": "false",
        "UVICORN_LOG_LEVEL": "error",
    }
    environment["PATH"] = f"{PEERS.parent}:{environment['PATH']}"

    def peer(*command: str) -> Callable[[int], "subprocess.Popen[bytes]"]:
        def start(port: int) -> "subprocess.Popen[bytes]":
            arguments = [str(PEERS), *(argument.format(port=port) for argument in command)]
            return subprocess.Popen(arguments, cwd=ROOT, env=environment, stdout=log, stderr=log)

        return start

    def ours(**settings: str) -> Callable[[int], "subprocess.Popen[bytes]"]:
        def start(port: int) -> "subprocess.Popen[bytes]":
            with os.fdopen(os.dup(log), "wb") as output:
                return bento_server.start(tag, "127.0.0.1", port, output, {**UNLIMITED, **settings})

        return start

    uvicorn = ("-m", "uvicorn", "--host", "127.0.0.1", "--port", "{port}", *UVICORN)
    bentoml = (
        "-m",
        "bentoml",
        "serve",
        "benchmarks.peers.bentoml_app:Digits",
        "--host",
        "127.0.0.1",
        "--port",
        "{port}",
    )
    mlflow = ("-m", "mlflow", "models", "serve", "-m", str(pyfunc), "-p", "{port}", "--env-manager", "local")
    database = f"sqlite:///{folder / 'digits.db'}"
    both = {"/predict_pixels": "/predict_pixels", "/predict": "/predict"}
    return [
        Server(OURS, ours(), both),
        Server("the same, logging", ours(DIGITS_LOG_PREDICTIONS="true", DIGITS_DATABASE_URL=database), both),
        Server("FastAPI + uvicorn", peer(*uvicorn, "benchmarks.peers.fastapi_app:app"), both),
        Server("FastAPI for speed", peer(*uvicorn, "benchmarks.peers.fastapi_fast:app"), both),
        Server("BentoML, batchable", peer(*bentoml), both),
        Server(
            "LitServe", peer("-m", "benchmarks.peers.litserve_app", "{port}"), {"/predict_pixels": "/predict_pixels"}
        ),
        Server("mlflow models serve", peer(*mlflow), {"/predict_pixels": "/invocations"}, "/ping", "inputs"),
        Server("bare ASGI echo", peer(*uvicorn, "benchmarks.peers.echo:app"), both),
    ]


def family(process: psutil.Process) -> list[psutil.Process]:
    """A process and its descendants."""
    return [process, *process.children(recursive=True)]


def cpu_seconds(process: psutil.Process) -> float:
    """CPU time of a process and its descendants so far, including terminated children that were waited for."""
    total = 0.0
    for each in family(process):
        try:
            times = each.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def memory_mb(process: psutil.Process) -> tuple[float, float]:
    """Memory of a process and its descendants in MB: RSS, and PSS, which counts shared pages once."""
    infos = [each.memory_full_info() for each in family(process)]
    return sum(info.rss for info in infos) / 1e6, sum(info.pss for info in infos) / 1e6


@contextmanager
def running(server: Server) -> Iterator[dict[str, float]]:
    """Runs a server inside the block. Yields its start time, and its CPU time and memory when it is ready."""
    port = bento_server.free_port()
    began = time.monotonic()
    started = server.start(port)
    server.url, server.process = f"http://127.0.0.1:{port}", psutil.Process(started.pid)
    try:
        await_ready(started, server.url + server.ready)
        seconds = time.monotonic() - began
        cpu = cpu_seconds(server.process)
        rss, pss = memory_mb(server.process)
        yield {"seconds": seconds, "cpu_seconds": cpu, "rss_mb": rss, "pss_mb": pss}
    finally:
        processes = family(server.process) if started.poll() is None else []
        bento_server.stop(started)
        for remaining in psutil.wait_procs(processes, timeout=10)[1]:
            remaining.kill()


def await_ready(started: "subprocess.Popen[bytes]", url: str) -> None:
    """Returns when `url` answers with a success status. Exits if the process ends or START_SECONDS pass."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if started.poll() is not None:
            sys.exit(f"a server exited with status {started.returncode}")
        try:
            with urllib.request.urlopen(url, timeout=2):  # noqa: S310 (loopback)
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    sys.exit(f"{url} was not ready after {START_SECONDS:g} s")
