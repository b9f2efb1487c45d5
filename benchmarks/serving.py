"""The service against other servers with the same model: requests, times, start and memory, all in one run.

    make benchmark-serving                     # sets up .venv/benchmarks, then runs this
    python benchmarks/serving.py --rounds 5 --seconds 4 --json serving.json

It starts every server itself, with one worker, limits and log lines off, and loads them with wrk (Debian: apt-get
install wrk), one after the other within each round, so that a busy machine slows all of them. Medians over the rounds;
`ratio` is the median over the rounds of our requests per second by the other's. `cpu` is processor time of all of a
server's processes for each request: it hardly depends on what else the machine does.
"""

import argparse
import io
import json
import os
import random
import shutil
import statistics
import string
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import psutil  # noqa: E402
from PIL import Image  # noqa: E402

from pipeline.deployment import bento_server  # noqa: E402
from pipeline.files import read_json  # noqa: E402
from pipeline.paths import BENTOML_HOME, REPORTS  # noqa: E402
from pipeline.registry import versions  # noqa: E402

PEERS = Path(os.environ.get("PEERS_PYTHON", ROOT / ".venv" / "benchmarks" / "bin" / "python"))
OURS = "digits (BentoML)"
CONNECTIONS = (1, 8, 64)
START_SECONDS = 90.0
UVICORN = ("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "error")


@dataclass(frozen=True)
class Load:
    """What is sent: to which route of ours, the body, and how many images are in it."""

    name: str
    route: str
    body: bytes
    content_type: str
    images: int = 1

    def body_for(self, server: "Server") -> bytes:
        """The body as a server wants it."""
        return self.body.replace(b'"images"', f'"{server.envelope}"'.encode(), 1)


@dataclass
class Server:
    """One that is measured: how it is started on a port, when it is ready, and its path for each of our routes."""

    name: str
    start: Callable[[int], "subprocess.Popen[bytes]"]
    paths: dict[str, str]
    ready: str = "/readyz"
    envelope: str = "images"  # the name that it gives to the list of images
    url: str = ""
    process: "psutil.Process | None" = None


@dataclass(frozen=True)
class Measured:
    """One server under one load for a few seconds."""

    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    errors: int


def servers(tag: str, served: Path, pyfunc: Path, log: int, folder: Path) -> list[Server]:
    """Ours, without and with its prediction log, and its peers; the champion as BentoML and MLflow keep it."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "BENCHMARK_MODEL": str(served),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "OPENBLAS_NUM_THREADS": "1",
        "UVICORN_ACCESS_LOG": "false",
        "UVICORN_LOG_LEVEL": "error",
    }
    environment["PATH"] = f"{PEERS.parent}:{environment['PATH']}"

    def peer(*command: str) -> Callable[[int], "subprocess.Popen[bytes]"]:
        def start(port: int) -> "subprocess.Popen[bytes]":
            words = [str(PEERS), *(word.format(port=port) for word in command)]
            return subprocess.Popen(words, cwd=ROOT, env=environment, stdout=log, stderr=log)

        return start

    def ours(**settings: str) -> Callable[[int], "subprocess.Popen[bytes]"]:
        def start(port: int) -> "subprocess.Popen[bytes]":
            with os.fdopen(os.dup(log), "wb") as output:
                return bento_server.start(tag, "127.0.0.1", port, output, {**UNLIMITED, **settings})

        return start

    uvicorn = ("-m", "uvicorn", "--host", "127.0.0.1", "--port", "{port}", *UVICORN)
    mlflow = ("-m", "mlflow", "models", "serve", "-m", str(pyfunc), "-p", "{port}", "--env-manager", "local")
    database = f"sqlite:///{folder / 'digits.db'}"
    both = {"/predict_pixels": "/predict_pixels", "/predict": "/predict"}
    return [
        Server(OURS, ours(), both),
        Server("the same, logging", ours(DIGITS_LOG_PREDICTIONS="true", DIGITS_DATABASE_URL=database), both),
        Server("FastAPI + uvicorn", peer(*uvicorn, "benchmarks.peers.fastapi_app:app"), both),
        Server(
            "LitServe", peer("-m", "benchmarks.peers.litserve_app", "{port}"), {"/predict_pixels": "/predict_pixels"}
        ),
        Server("mlflow models serve", peer(*mlflow), {"/predict_pixels": "/invocations"}, "/ping", "inputs"),
        Server("bare ASGI echo", peer(*uvicorn, "benchmarks.peers.echo:app"), both),
    ]


UNLIMITED = {"DIGITS_MAX_IN_FLIGHT": "100000", "DIGITS_LOG_LEVEL": "error", "DIGITS_LOG_PREDICTIONS": ""}


def loads(folder: Path) -> list[Load]:
    """One image, 256 images, and a picture of 280x280, made of the digits that the model travels with."""
    with np.load(folder / "known_digits.npz") as known:
        digits = known["images"]
    many = np.resize(digits, (256, 28, 28))
    paper = Image.new("L", (280, 280), 255)
    paper.paste(Image.fromarray(255 - digits[3]).resize((224, 224), Image.Resampling.BICUBIC), (28, 28))
    png = io.BytesIO()
    paper.convert("RGB").save(png, "PNG")
    boundary = "boundary5f2d"
    lines = ['Content-Disposition: form-data; name="image"; filename="a.png"', "Content-Type: image/png", "", ""]
    form = "\r\n".join([f"--{boundary}", *lines]).encode() + png.getvalue() + f"\r\n--{boundary}--\r\n".encode()
    return [
        Load("pixels", "/predict_pixels", pixels(digits[3:4]), "application/json"),
        Load("picture", "/predict", form, f"multipart/form-data; boundary={boundary}"),
        Load("256 images", "/predict_pixels", pixels(many), "application/json", images=256),
    ]


def pixels(images: Any) -> bytes:
    """The body of `/predict_pixels`."""
    return json.dumps({"images": images.tolist()}).encode()


def family(process: psutil.Process) -> list[psutil.Process]:
    """A process and all that it started."""
    return [process, *process.children(recursive=True)]


def cpu_seconds(process: psutil.Process) -> float:
    """Processor time of all processes of a family so far, those that have ended and were waited for included."""
    total = 0.0
    for member in family(process):
        try:
            times = member.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def memory_mb(process: psutil.Process) -> tuple[float, float]:
    """Resident memory of a family in MB: as the sum of what each process maps, and with shared pages counted once."""
    infos = [member.memory_full_info() for member in family(process)]
    return sum(info.rss for info in infos) / 1e6, sum(info.pss for info in infos) / 1e6


@contextmanager
def running(server: Server) -> Iterator[dict[str, float]]:
    """A started server; gives what it took until it was ready."""
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
        members = family(server.process) if started.poll() is None else []
        bento_server.stop(started)
        for left in psutil.wait_procs(members, timeout=10)[1]:
            left.kill()


def await_ready(started: "subprocess.Popen[bytes]", url: str) -> None:
    """Return when `url` answers 200 or 404 (the echo has no such route)."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if started.poll() is not None:
            sys.exit(f"a server ended with status {started.returncode}; see the log")
        try:
            with urllib.request.urlopen(url, timeout=2):  # noqa: S310 (loopback)
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    sys.exit(f"{url} was not ready after {START_SECONDS:g} s")


def attack(server: Server, load: Load, connections: int, seconds: float, folder: Path) -> Measured:
    """Load a server with wrk."""
    body = folder / "body"
    body.write_bytes(load.body_for(server))
    assert server.process
    before = cpu_seconds(server.process)
    output = subprocess.run(
        [
            "wrk",
            "-t1",
            f"-c{connections}",
            f"-d{seconds}s",
            "--timeout",
            "30s",
            "-s",
            str(ROOT / "benchmarks" / "load.lua"),
            server.url + server.paths[load.route],
        ],
        env={**os.environ, "BODY": str(body), "CONTENT_TYPE": load.content_type},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    cpu = cpu_seconds(server.process) - before
    found = json.loads(output.strip().splitlines()[-1])
    count = max(found["requests"], 1)
    return Measured(
        found["requests"] / found["seconds"], found["p50_ms"], found["p99_ms"], cpu / count * 1000, found["errors"]
    )


def check_answers(started: list[Server], load: Load) -> None:
    """Every server with a model names the same digit; nobody is compared while answering otherwise."""
    said = {}
    for server in started:
        if load.route not in server.paths or server.name == "bare ASGI echo":
            continue
        url = server.url + server.paths[load.route]
        request = urllib.request.Request(url, load.body_for(server), {"Content-Type": load.content_type})  # noqa: S310
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
            answer = json.load(response)
        if "predictions" in answer:
            said[server.name] = [int(np.argmax(row)) for row in answer["predictions"]]
        else:
            said[server.name] = [row["prediction"] for row in answer.get("results", [answer])]
    if len(set(map(str, said.values()))) != 1:
        sys.exit(f"the servers answer {load.name} differently: {said}")


def metrics_growth(server: Server, paths: int = 300) -> dict[str, int]:
    """Lines and bytes of `/metrics` before and after requests for random paths."""
    generator = random.Random(0)  # noqa: S311

    def size() -> tuple[int, int]:
        with urllib.request.urlopen(f"{server.url}/metrics", timeout=30) as response:  # noqa: S310
            text = response.read()
        return text.count(b"\n"), len(text)

    before = size()
    for _ in range(paths):
        path = "".join(generator.choices(string.ascii_letters, k=20))
        try:
            urllib.request.urlopen(f"{server.url}/{path}", timeout=30).close()  # noqa: S310
        except urllib.error.HTTPError as error:
            error.close()
    after = size()
    return {"paths": paths, "lines_before": before[0], "lines_after": after[0], "bytes_after": after[1]}


def median(rows: list[Measured], field: str) -> float:
    """The median of one figure over rounds."""
    return float(statistics.median(getattr(row, field) for row in rows))


def measure(
    started: list[Server], load: Load, connections: int, rounds: int, seconds: float, folder: Path
) -> list[dict[str, Any]]:
    """All servers that know the route, interleaved; one row each."""
    taking_part = [server for server in started if load.route in server.paths]
    found: dict[str, list[Measured]] = {server.name: [] for server in taking_part}
    for turn in range(rounds):
        for server in taking_part[turn % len(taking_part) :] + taking_part[: turn % len(taking_part)]:
            found[server.name].append(attack(server, load, connections, seconds, folder))
    rows = []
    for name, rounds_of in found.items():
        pairs = zip(found[OURS], rounds_of, strict=True)
        ratios = [ours.per_second / max(other.per_second, 1e-9) for ours, other in pairs]
        rows.append(
            {
                "load": load.name,
                "connections": connections,
                "server": name,
                "per_second": round(median(rounds_of, "per_second"), 1),
                "images_per_second": round(median(rounds_of, "per_second") * load.images, 1),
                "p50_ms": round(median(rounds_of, "p50_ms"), 3),
                "p99_ms": round(median(rounds_of, "p99_ms"), 3),
                "p99_by_p50": round(statistics.median(row.p99_ms / max(row.p50_ms, 1e-9) for row in rounds_of), 2),
                "cpu_ms": round(median(rounds_of, "cpu_ms"), 3),
                "ratio": round(statistics.median(ratios), 2),
                "errors": sum(row.errors for row in rounds_of),
            }
        )
    return rows


def starts(all_servers: list[Server], rounds: int) -> list[dict[str, Any]]:
    """What each server takes until it is ready, one after the other, medians over the rounds."""
    found: dict[str, list[dict[str, float]]] = {server.name: [] for server in all_servers}
    for _ in range(rounds):
        for server in all_servers:
            with running(server) as cost:
                found[server.name].append(cost)
    keys = ("cpu_seconds", "seconds", "rss_mb", "pss_mb")
    return [
        {"server": name, **{key: round(statistics.median(cost[key] for cost in costs), 2) for key in keys}}
        for name, costs in found.items()
    ]


def markdown(rows: list[dict[str, Any]], columns: dict[str, str]) -> str:
    """A table with `columns` (key: heading)."""
    lines = ["| " + " | ".join(columns.values()) + " |", "|" + "---|" * len(columns)]
    lines += [
        "| " + " | ".join(f"{row[key]:,}" if isinstance(row[key], (int, float)) else row[key] for key in columns) + " |"
        for row in rows
    ]
    return "\n".join(lines)


COLUMNS = {
    "load": "load",
    "connections": "connections",
    "server": "server",
    "per_second": "requests/s",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "cpu_ms": "CPU ms",
    "ratio": "ours / this",
    "errors": "errors",
}
START_COLUMNS = {
    "server": "server",
    "cpu_seconds": "CPU s",
    "seconds": "s",
    "rss_mb": "MB",
    "pss_mb": "MB, shared once",
}


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=int, default=4, help="of load, for each server in each round")
    options.add_argument("--starts", type=int, default=3, help="how often each server is started")
    options.add_argument("--only", default="", help="servers whose names begin with one of these, separated by commas")
    options.add_argument("--json", type=Path, help="also write everything to this file")
    chosen = options.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is missing: apt-get install wrk")
    if not PEERS.exists():
        sys.exit(f"{PEERS} is missing: make benchmark-serving sets it up")
    bento = read_json(REPORTS / "bento.json")
    champion = bento["models"][bento["champion"]]
    served = BENTOML_HOME / "models" / champion["tag"].replace(":", "/")
    pyfunc = versions.download(versions.registered_model(bento["dataset"]), champion["version"]).folder.parents[1]
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack, Path(temporary, "log").open("wb") as log:
        folder = Path(temporary)
        chosen_names = tuple(filter(None, chosen.only.split(",")))
        every = [
            s
            for s in servers(bento["bento"], served, pyfunc, log.fileno(), folder)
            if not chosen_names or s.name.startswith(chosen_names)
        ]
        result: dict[str, Any] = {
            "bento": bento["bento"],
            "model": champion,
            "processors": os.cpu_count(),
            "load_average": os.getloadavg(),
        }
        result["starts"] = starts(every, chosen.starts)
        print(markdown(result["starts"], START_COLUMNS), "\n", flush=True)
        for server in every:
            stack.enter_context(running(server))
        result["loads"] = []
        for load in loads(served):
            check_answers(every, load)
            for connections in CONNECTIONS if load.images == 1 else (1,):
                rows = measure(every, load, connections, chosen.rounds, chosen.seconds, folder)
                result["loads"] += rows
                print(
                    markdown(rows, COLUMNS if load.images == 1 else {**COLUMNS, "images_per_second": "images/s"}),
                    "\n",
                    flush=True,
                )
        result["metrics"] = metrics_growth(every[0])
        print(
            "/metrics: {lines_before} lines, {lines_after} after {paths} random paths ({bytes_after} bytes)".format(
                **result["metrics"]
            )
        )
    if chosen.json:
        chosen.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
