"""Throughput on Ray and in plain processes, and the memory of a batch prediction.

    python -m benchmarks.scaling [--rounds 3] [--seconds 30] [--work parts] [--memory]

Batch prediction (parts of 256 pictures of 160x160 pixels) and trainings (a small MLP) run with one and two workers: in
plain processes that share nothing, and as Ray tasks on as many nodes with one CPU. Both sides are measured in the same
way: from the moment when every worker has finished two calls, for `--seconds`, while all of them work. So the start of
processes and imports do not count, on neither side. The sides alternate, and change their order in each round, because
other load on the machine changes. The share is the median of the rounds' ratios.

CPU-s: user and system time of all processes of a side for each call; on Ray with the calling process and everything
that `ray start` runs, on the same machine. It depends less on other load than the rates do.

With --memory, `digits predict` reads 100,000 and 1,000,000 rows of 28x28 pixels, and the peak memory of its largest
process is shown.
"""

import argparse
import io
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import repeat, takewhile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from benchmarks.ray_cluster import running_cluster
from pipeline.batch.predict import COLUMNS, Portable, load_file, predict_part
from pipeline.batch.sources import PART_SIZE, Rows
from pipeline.data.splits import Split
from pipeline.params import load_params
from pipeline.training import parallel

MIN_SHARE = 0.9  # of the throughput of plain processes that Ray must keep
Call = tuple[Any, ...]
End = tuple[int, float]  # process id of the worker that ran a call, and when it ended: seconds since the epoch


class Measured(NamedTuple):
    rate: float  # calls per second
    cpu: float  # CPU seconds per call, of all processes


def digits() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """scikit-learn's digits as uint8 (1797, 28, 28), ink bright, and their labels."""
    found = load_digits()
    images = np.kron(found.images * 15.9, np.ones((1, 3, 3))).astype(np.uint8)
    return np.pad(images, ((0, 0), (2, 2), (2, 2))), found.target.astype(np.uint8)


def png(image: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(255 - image).resize((160, 160)).save(stream, "PNG")
    return stream.getvalue()


def timed_part(model: Portable, schema: pa.Schema, name: str, part: Rows) -> End:
    predict_part(model, schema, name, part)
    return os.getpid(), time.time()


def timed_training(split: Split, seed: int) -> End:
    from pipeline.training.loop import fit_member

    changes = {"arguments": {"widths": [64]}, "minimum_steps": 0, "batch_size": 32, "epochs": 6, "threads": 1}
    settings = load_params().models["mlp"].model_copy(update={**changes, "seed": seed})
    fit_member("mlp", settings, 10, split, split, None, 0)
    return os.getpid(), time.time()


def cpu_seconds() -> float:
    """User and system time of this process and of all that it started, directly or not."""
    total = 0.0
    for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            total += sum(process.cpu_times()[:2])
    return total


def measure(ends: Iterable[End], workers: int, seconds: float, stop: Callable[[], None]) -> Measured:
    """Measure for `seconds` from the moment when each worker has finished two calls, then call `stop`."""
    times: dict[int, list[float]] = defaultdict(list)
    begin = before = used = 0.0  # used: CPU seconds per second
    for worker, end in ends:
        if used:
            continue  # calls that were under way
        times[worker].append(end)
        if begin and time.time() > begin + seconds:
            used = (cpu_seconds() - before) / (time.time() - begin)
            stop()
        elif not begin and sum(len(found) >= 2 for found in times.values()) >= workers:
            begin, before = time.time(), cpu_seconds()
            times = defaultdict(list, {worker: found[-1:] for worker, found in times.items()})
    steady = [found for found in times.values() if len(found) >= 2]
    rate = sum((len(found) - 1) / (found[-1] - found[0]) for found in steady)
    return Measured(rate, used / rate)


def loop(function: Callable[..., End], arguments: tuple[Any, ...], queue: Any, stopped: Any) -> None:
    import mlflow

    mlflow.set_tracking_uri(os.environ["MLFLOW_TRACKING_URI"])
    while not stopped.is_set():
        queue.put(function(*arguments))
    queue.put(None)


def plain(function: Callable[..., End], shared: tuple[Any, ...], call: Call, workers: int, seconds: float) -> Measured:
    """Processes that repeat the call."""
    context = multiprocessing.get_context("spawn")
    queue, stopped = context.Queue(), context.Event()
    processes = [
        context.Process(target=loop, args=(function, (*shared, *call), queue, stopped)) for _ in range(workers)
    ]
    for process in processes:
        process.start()

    def ends() -> Iterator[End]:
        left = workers
        while left:
            end = queue.get(timeout=600)
            if end is None:
                left -= 1
            else:
                yield end

    measured = measure(ends(), workers, seconds, stopped.set)
    for process in processes:
        process.join()
    return measured


def on_ray(function: Callable[..., End], shared: tuple[Any, ...], call: Call, workers: int, seconds: float) -> Measured:
    """Tasks that repeat the call, on a cluster with as many nodes."""
    import ray

    stopped = threading.Event()
    calls = takewhile(lambda _: not stopped.is_set(), repeat(call))
    with running_cluster(workers) as cluster:
        os.environ["RAY_ADDRESS"] = cluster.address
        ends = (end for _, end in parallel.run(function, calls, shared, ahead=True))
        measured = measure(ends, workers, seconds, stopped.set)
        ray.shutdown()
        del os.environ["RAY_ADDRESS"]
    return measured


def memory(model: Path, rows: int, folder: Path) -> float:
    """Peak memory in MB of `digits predict` over `rows` rows of 28x28 pixels."""
    images = digits()[0].reshape(-1, 784)
    block = pa.table({"pixels": pa.FixedSizeListArray.from_arrays(images[:1000].ravel(), 784)})
    source = folder / f"{rows}.parquet"
    with pq.ParquetWriter(source, block.schema) as writer:
        for _ in range(rows // 1000):
            writer.write_table(block)
    command = [sys.executable, "-m", "pipeline.batch.predict", str(source), "--model", str(model)]
    process = subprocess.Popen([*command, "--output", str(folder / "out.parquet")], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"digits predict ended with status {status}")
    source.unlink()
    return usage.ru_maxrss / 1000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", type=Path, default=Path("models/mlp/model.tflite"))
    parser.add_argument("--seconds", type=float, default=30, help="length of each measurement")
    parser.add_argument("--work", choices=["parts", "trainings"], help="measure one of them only")
    parser.add_argument("--memory", action="store_true", help="measure the memory instead of the throughput")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        if options.memory:
            for rows in (100_000, 1_000_000):
                print(f"{rows:,} rows: {memory(options.model, rows, Path(folder)):,.0f} MB", flush=True)
            return 0
        return compare(options.model, options.rounds, options.seconds, options.work)


def compare(model: Path, rounds: int, seconds: float, work: str | None) -> int:
    """Print the table. Returns 1 if Ray keeps less than MIN_SHARE of a rate."""
    from pipeline import tracking

    tracking.connect()
    images, labels = digits()
    part = Rows(0, pa.array([png(image) for image in images[:PART_SIZE]]))
    schema = pa.schema([pa.field("row", pa.int64()), *COLUMNS])
    kinds: list[tuple[str, Callable[..., End], tuple[Any, ...], Call]] = [
        ("parts of 256 pictures", timed_part, (Portable(load_file(model)), schema), ("", part)),
        ("trainings", timed_training, (Split("optdigits", images, labels),), (1,)),
    ]
    worst = 1.0
    print("| work | workers | plain processes, per s | Ray, per s | share | CPU-s, plain | CPU-s, Ray | of CPU-s |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for title, function, shared, call in [kind for kind in kinds if not work or kind[0].startswith(work)]:
        for workers in (1, 2):
            rows = []
            for number in range(rounds):
                sides = (plain, on_ray) if number % 2 == 0 else (on_ray, plain)
                found = {side: side(function, shared, call, workers, seconds) for side in sides}
                rows.append([*found[plain], *found[on_ray], found[on_ray].rate / found[plain].rate])
                rows[-1].append(found[plain].cpu / found[on_ray].cpu)
                print(*(f"{value:.3g}" for value in rows[-1]), file=sys.stderr, flush=True)
            rate, cpu, ray_rate, ray_cpu, share, cpu_share = (
                statistics.median(column) for column in zip(*rows, strict=True)
            )
            worst = min(worst, share)
            print(
                f"| {title} | {workers} | {rate:.3g} | {ray_rate:.3g} | {share:.2f} |"
                f" {cpu:.3g} | {ray_cpu:.3g} | {cpu_share:.2f} |",
                flush=True,
            )
    return int(worst < MIN_SHARE)


if __name__ == "__main__":
    raise SystemExit(main())
