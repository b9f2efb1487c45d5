"""Throughput on Ray and in plain processes, and the memory of a batch prediction.

    python -m benchmarks.scaling [--rounds 3] [--model models/mlp/model.tflite] [--memory]

Batch prediction (parts of 256 pictures of 160x160 pixels) and trainings (a small MLP) run with one and two workers: in
plain processes that share nothing, and as Ray tasks on as many nodes with one CPU. The rounds alternate between both,
because other load on the machine changes. The rate counts from the moment when all workers are warm. With --memory,
`digits predict` reads 100,000 and 1,000,000 rows of 28x28 pixels, and the peak memory of its largest process is shown.
"""

import argparse
import io
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
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
Interval = tuple[float, float]  # start and end of a call, seconds since the epoch


def digits() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """scikit-learn's digits as uint8 (1797, 28, 28), ink bright, and their labels."""
    found = load_digits()
    images = np.kron(found.images * 15.9, np.ones((1, 3, 3))).astype(np.uint8)
    return np.pad(images, ((0, 0), (2, 2), (2, 2))), found.target.astype(np.uint8)


def png(image: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(255 - image).resize((160, 160)).save(stream, "PNG")
    return stream.getvalue()


def timed_part(model: Portable, schema: pa.Schema, name: str, part: Rows) -> Interval:
    start = time.time()
    predict_part(model, schema, name, part)
    return start, time.time()


def timed_training(split: Split, number: int) -> Interval:
    from pipeline.training.loop import fit_member

    changes = {"arguments": {"widths": [64]}, "minimum_steps": 0, "batch_size": 32, "epochs": 6, "threads": 1}
    settings = load_params().models["mlp"].model_copy(update={**changes, "seed": number})
    start = time.time()
    fit_member("mlp", settings, 10, split, split, None, 0)
    return start, time.time()


def rate(intervals: list[Interval], workers: int) -> float:
    """Calls per second after the first two of each worker."""
    ends = sorted(end for _, end in intervals)[2 * workers - 1 :]
    return (len(ends) - 1) / (ends[-1] - ends[0])


def loop(function: Callable[..., Interval], shared: tuple[Any, ...], calls: list[tuple[Any, ...]], queue: Any) -> None:
    import mlflow

    mlflow.set_tracking_uri(os.environ["MLFLOW_TRACKING_URI"])
    queue.put([function(*shared, *call) for call in calls])


def plain(function: Callable[..., Interval], shared: tuple[Any, ...], calls: list[Any], workers: int) -> float:
    """The rate of processes that each do their share."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    processes = [
        context.Process(target=loop, args=(function, shared, calls[index::workers], queue)) for index in range(workers)
    ]
    for process in processes:
        process.start()
    intervals = [interval for _ in processes for interval in queue.get()]
    for process in processes:
        process.join()
    return rate(intervals, workers)


def on_ray(function: Callable[..., Interval], shared: tuple[Any, ...], calls: list[Any], workers: int) -> float:
    """The rate of tasks on a cluster with as many nodes."""
    import ray

    with running_cluster(workers) as cluster:
        os.environ["RAY_ADDRESS"] = cluster.address
        intervals = [interval for _, interval in parallel.run(function, calls, shared, ahead=True)]
        ray.shutdown()
        del os.environ["RAY_ADDRESS"]
    return rate(intervals, workers)


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
    parser.add_argument("--parts", type=int, default=24, help="parts of a batch prediction in each measurement")
    parser.add_argument("--trainings", type=int, default=12, help="trainings in each measurement")
    parser.add_argument("--memory", action="store_true", help="measure the memory instead of the throughput")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        if options.memory:
            for rows in (100_000, 1_000_000):
                print(f"{rows:,} rows: {memory(options.model, rows, Path(folder)):,.0f} MB", flush=True)
            return 0
        return compare(options.model, options.rounds, options.parts, options.trainings)


def compare(model: Path, rounds: int, parts: int, trainings: int) -> int:
    """Print the table. Returns 1 if Ray keeps less than MIN_SHARE of a rate."""
    from pipeline import tracking

    tracking.connect()
    images, labels = digits()
    part = Rows(0, pa.array([png(image) for image in images[:PART_SIZE]]))
    schema = pa.schema([pa.field("row", pa.int64()), *COLUMNS])
    kinds: list[tuple[str, Callable[..., Interval], tuple[Any, ...], list[Any]]] = [
        ("parts of 256 pictures", timed_part, (Portable(load_file(model)), schema), [("", part)] * parts),
        ("trainings", timed_training, (Split("optdigits", images, labels),), [(seed,) for seed in range(trainings)]),
    ]
    worst = 1.0
    print("| work | workers | plain processes, per s | Ray, per s | share |\n|---|---|---|---|---|")
    for title, function, shared, calls in kinds:
        for workers in (1, 2):
            measured = [
                (plain(function, shared, calls, workers), on_ray(function, shared, calls, workers))
                for _ in range(rounds)
            ]
            without, with_ray = (statistics.median(rates) for rates in zip(*measured, strict=True))
            share = statistics.median(ray / process for process, ray in measured)
            worst = min(worst, share)
            print(f"| {title} | {workers} | {without:.3g} | {with_ray:.3g} | {share:.2f} |", flush=True)
    return int(worst < MIN_SHARE)


if __name__ == "__main__":
    raise SystemExit(main())
