"""Latencies of other clients while one client sends the most expensive requests that the service's limits allow.

    python -m benchmarks.limits --seconds 10

For each route, the script starts the service with its default limits and the prediction log, sends every candidate of
benchmarks/worst_requests.py once, and repeats the slowest one over 8 connections with wrk (Debian: apt-get install
wrk). Meanwhile two clients ask for `/livez` and `/predict` at a fixed rate. The table shows their latencies in ms.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from benchmarks.loads import wrk
from benchmarks.worst_requests import ROUTES, Request, encoded, requests_for
from pipeline.deployment import bento_server
from pipeline.files import read_json
from pipeline.paths import REPORTS

AIMS_MS = {"/livez": 250, "/predict": 1000}  # at the 99th percentile
CONNECTIONS = 8
INTERVAL = 0.05  # seconds between two requests of a probe
TIMEOUT = 60.0


@dataclass(frozen=True)
class Probe:
    """What one of the other clients saw. `failed`: answers with another status than 200, or none."""

    latencies_ms: list[float]
    failed: int

    def percentile(self, share: float) -> float:
        """Latency in ms that this percentage of the requests did not exceed."""
        return round(float(np.percentile(self.latencies_ms, share)), 1)


def send(url: str, body: bytes, content_type: str = "image/png") -> int:
    """Sends a request, POST unless the body is empty. Returns the status, or 0 without an answer."""
    request = urllib.request.Request(url, body or None, {"Content-Type": content_type} if body else {})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:  # noqa: S310 (loopback)
            response.read()
            return int(response.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except OSError:
        return 0


def probe(url: str, body: bytes, seconds: float) -> Probe:
    """Sends a request every INTERVAL, each over a new connection.

    A latency counts from the time at which the request was due: a stalled service is not asked less often.
    """
    latencies, failed = [], 0
    start = time.perf_counter()
    for number in range(round(seconds / INTERVAL)):
        due = start + number * INTERVAL
        time.sleep(max(0.0, due - time.perf_counter()))
        failed += send(url, body) != 200
        latencies.append(1000 * (time.perf_counter() - due))
    return Probe(latencies, failed)


def slowest(url: str, candidates: list[Request]) -> Request:
    """The request that takes the service the longest."""

    def seconds(request: Request) -> float:
        began = time.perf_counter()
        send(url, request.body, request.content_type)
        return time.perf_counter() - began

    return max(candidates, key=seconds) if len(candidates) > 1 else candidates[0]


def measure(tag: str, route: str | None, seconds: float, folder: Path) -> dict[str, Any]:
    """Latencies of the probes while a route is attacked (None: no route); one table row."""
    probed = {"/livez": b"", "/predict": drawn_digit()}
    settings = {
        "DIGITS_LOG_PREDICTIONS": "true",
        "DIGITS_DATABASE_URL": f"sqlite:///{folder / 'digits.db'}",
        "DIGITS_LOG_LEVEL": "error",
    }
    with bento_server.serving(tag, settings) as url, ThreadPoolExecutor() as threads:
        for path, body in probed.items():
            if send(url + path, body) != 200:
                sys.exit(f"{path} does not answer with status 200")
        worst = slowest(url + route, requests_for(route)) if route else None
        attack = (
            threads.submit(wrk, url + route, worst.body, worst.content_type, CONNECTIONS, seconds, folder)
            if route and worst
            else None
        )
        probes = {path: threads.submit(probe, url + path, body, seconds) for path, body in probed.items()}
        sent = attack.result() if attack else {"requests": 0, "seconds": seconds}
        seen = {path: waiting.result() for path, waiting in probes.items()}
    row: dict[str, Any] = {
        "route": route or "none",
        "request": worst.name if worst else "",
        "per_second": round(sent["requests"] / sent["seconds"], 1),
    }
    for path, found in seen.items():
        row |= {
            f"{path} p50": found.percentile(50),
            f"{path} p99": found.percentile(99),
            f"{path} failed": found.failed,
        }
    row["aims"] = "met" if all(row[f"{path} p99"] <= aim for path, aim in AIMS_MS.items()) else "missed"
    return row


def drawn_digit() -> bytes:
    """A PNG file of a seven on 280 x 280 pixels, as large as the page sends its drawings."""
    image = Image.new("L", (280, 280), 255)
    ImageDraw.Draw(image).line([(70, 60), (210, 60), (120, 230)], fill=0, width=20)
    return encoded(image, "PNG")


def main() -> None:
    """Attacks one route after another and prints a row for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=10, help="duration of each attack (default: %(default)s)")
    parser.add_argument("--routes", nargs="*", choices=ROUTES, default=ROUTES, help="attack only these routes")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    chosen = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is not installed; run apt-get install wrk")
    tag = read_json(REPORTS / "bento.json")["bento"]
    rows: list[dict[str, Any]] = []
    for route in (None, *chosen.routes):
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(tag, route, chosen.seconds, Path(folder)))
        if len(rows) == 1:
            print("| " + " | ".join(rows[0]) + " |\n|" + "---|" * len(rows[0]))
        print("| " + " | ".join(map(str, rows[-1].values())) + " |", flush=True)
    if chosen.json:
        chosen.json.write_text(json.dumps({"aims_ms": AIMS_MS, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
