"""Compares the service with other servers that have the same model: throughput, latency, CPU time, start, memory.

    make benchmark-serving                     # sets up .venv/benchmarks, then runs this script
    python benchmarks/serving.py --rounds 5 --seconds 4 --json serving.json

The script starts every server with one worker, without limits and log lines, and loads it with wrk (Debian: apt-get
install wrk). Only "BentoML, batchable" has the default settings, as in BentoML's documentation. The servers alternate
within each round, so that other work on the machine slows all of them. The tables show medians over the rounds; "ours /
this" is the median ratio of requests per second. "CPU ms" is the CPU time of all processes of a server per request,
which depends little on other work.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.loads import Load, Measured, check_answers, loads, metrics_growth, run_wrk
from benchmarks.servers import OURS, PEERS, Server, running, servers
from pipeline.files import read_json
from pipeline.paths import BENTOML_HOME, REPORTS
from pipeline.registry import versions

CONNECTIONS = (1, 8, 64)
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
    "rss_mb": "RSS MB",
    "pss_mb": "PSS MB",
}


def median(rows: list[Measured], field: str) -> float:
    """Median of one field over the rounds."""
    return float(statistics.median(getattr(row, field) for row in rows))


def measure(
    started: list[Server], load: Load, connections: int, rounds: int, seconds: float, folder: Path
) -> list[dict[str, Any]]:
    """Measures all servers that have the route, in a rotating order; one table row per server."""
    measured = [server for server in started if load.route in server.paths]
    results: dict[str, list[Measured]] = {server.name: [] for server in measured}
    for index in range(rounds):
        first = index % len(measured)
        for server in measured[first:] + measured[:first]:
            results[server.name].append(run_wrk(server, load, connections, seconds, folder))
    rows = []
    for name, own in results.items():
        pairs = zip(results[OURS], own, strict=True)
        ratios = [ours.per_second / max(other.per_second, 1e-9) for ours, other in pairs]
        rows.append(
            {
                "load": load.name,
                "connections": connections,
                "server": name,
                "per_second": round(median(own, "per_second"), 1),
                "images_per_second": round(median(own, "per_second") * load.images, 1),
                "p50_ms": round(median(own, "p50_ms"), 3),
                "p99_ms": round(median(own, "p99_ms"), 3),
                "p99_by_p50": round(statistics.median(row.p99_ms / max(row.p50_ms, 1e-9) for row in own), 2),
                "cpu_ms": round(median(own, "cpu_ms"), 3),
                "ratio": round(statistics.median(ratios), 2),
                "errors": sum(row.errors for row in own),
            }
        )
    return rows


def starts(all_servers: list[Server], rounds: int) -> list[dict[str, Any]]:
    """Start time, CPU time and memory of each server when it is ready; medians over the rounds."""
    costs: dict[str, list[dict[str, float]]] = {server.name: [] for server in all_servers}
    for _ in range(rounds):
        for server in all_servers:
            with running(server) as cost:
                costs[server.name].append(cost)
    keys = ("cpu_seconds", "seconds", "rss_mb", "pss_mb")
    return [
        {"server": name, **{key: round(statistics.median(cost[key] for cost in own), 2) for key in keys}}
        for name, own in costs.items()
    ]


def markdown(rows: list[dict[str, Any]], columns: dict[str, str]) -> str:
    """A Markdown table. `columns` maps keys of the rows to headings."""
    lines = ["| " + " | ".join(columns.values()) + " |", "|" + "---|" * len(columns)]
    lines += [
        "| " + " | ".join(f"{row[key]:,}" if isinstance(row[key], (int, float)) else row[key] for key in columns) + " |"
        for row in rows
    ]
    return "\n".join(lines)


def main() -> None:
    """Measures all servers and prints the tables."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=5, help="number of rounds (default: %(default)s)")
    options.add_argument("--seconds", type=int, default=4, help="duration of each measurement (default: %(default)s)")
    options.add_argument("--starts", type=int, default=3, help="starts of each server (default: %(default)s)")
    options.add_argument("--only", default="", help="measure only servers with these name prefixes (comma-separated)")
    options.add_argument("--json", type=Path, help="also write all results to this file")
    chosen = options.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is not installed; run apt-get install wrk")
    if not PEERS.exists():
        sys.exit(f"{PEERS} does not exist; run make benchmark-serving to create it")
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
