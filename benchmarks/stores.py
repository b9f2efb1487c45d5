"""What the prediction log's database and MLflow's server take: rows and trials a second, bytes per picture.

    python -m benchmarks.stores --database-url postgresql+psycopg://digits@localhost/digits
    python -m benchmarks.stores --tracking-uri http://localhost:5000

The database gets batches of the size that the service's log writes, from one and from several processes, each as one
worker of a service. MLflow gets trials as `make sweep` tracks them, also from one and from several processes. The rows
and the experiment stay: use a database and a server of your own for this.
"""

import argparse
import json
import multiprocessing
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import sqlalchemy as sql

from pipeline.tracking import experiment_id, flatten
from records import database
from serving.prediction_log.log import BATCH
from serving.prediction_log.rows import PICTURE_BYTES, Answered, write

MODELS = ("mlp", "cnn")  # a picture has one row in `pictures` and one row for each of these in `predictions`
EPOCHS = 8  # of a trial
EXPERIMENT = "benchmark-of-stores"


@dataclass(frozen=True)
class Row:
    """What a store took from some processes in some seconds. `bytes_each`: on disk; None where it is not known."""

    store: str
    kind: str
    processes: int
    per_second: float
    bytes_each: int | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database-url", help="SQLAlchemy URL of a database for the prediction log")
    parser.add_argument("--tracking-uri", help="address of an MLflow server")
    parser.add_argument("--seconds", type=float, default=10, help="length of each measurement")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 4], help="numbers of processes to measure with")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    options = parser.parse_args()
    if not options.database_url and not options.tracking_uri:
        parser.error("give --database-url, --tracking-uri, or both")
    rows = []
    if options.database_url:
        engine = database.connect(database.parse_url(options.database_url))
        database.migrate(engine)
        for processes in options.processes:
            before = count(engine), stored_bytes(engine)
            rate = measure(partial(log_pictures, options.database_url), processes, options.seconds)
            pictures, grown = count(engine) - before[0], stored_bytes(engine) - before[1]
            rows.append(Row(engine.dialect.name, "pictures", processes, rate, round(grown / pictures)))
    if options.tracking_uri:
        os.environ["MLFLOW_TRACKING_URI"] = options.tracking_uri
        experiment_id(EXPERIMENT)
        for processes in options.processes:
            rows.append(Row("MLflow", "trials", processes, measure(track_trials, processes, options.seconds), None))
    print("| store | what | processes | per second | bytes each |\n|---|---|---:|---:|---:|")
    for row in rows:
        size = f"{row.bytes_each:,}" if row.bytes_each else ""
        print(f"| {row.store} | {row.kind} | {row.processes} | {row.per_second:,.1f} | {size} |")
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))


def measure(work: Callable[[float], tuple[int, float]], processes: int, seconds: float) -> float:
    """Run `work` in several processes at the same time: the sum of their rates, in units a second.

    `work` takes the number of seconds, and returns how many units it finished and how long that took, in seconds.
    """
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        pool.map(time.sleep, [0.1] * processes)  # the processes have started
        done = pool.map(work, [seconds] * processes, chunksize=1)
    return sum(units / took for units, took in done)


def log_pictures(url: str, seconds: float) -> tuple[int, float]:
    """Write batches of answers, as a worker's log does. Returns the number of pictures and the seconds."""
    engine = database.connect(database.parse_url(url))
    random = np.random.default_rng()
    answers = [[(model, "1", 3, 0.99, False, None)] for model in MODELS]
    start, pictures = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        batch = [
            Answered(
                secrets.token_hex(24), "mnist", "/predict", secrets.token_hex(16), time.time(), 1.0,
                random.integers(0, 256, PICTURE_BYTES, np.uint8).tobytes(), answers,
            )
            for _ in range(BATCH)
        ]  # fmt: skip
        write(engine, batch)
        pictures += len(batch)
    engine.dispose()
    return pictures, time.perf_counter() - start


def track_trials(seconds: float) -> tuple[int, float]:
    """Track trials without training: parameters and the metrics of each epoch. Returns their number and the seconds."""
    import mlflow

    from pipeline.params import load_params
    from pipeline.tracking import connect

    connect()
    mlflow.set_experiment(EXPERIMENT)
    parameters = flatten(load_params().models["cnn"].model_dump())
    start, trials = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        with mlflow.start_run(run_name=f"trial-{trials}"):
            mlflow.log_params(parameters)
            for epoch in range(EPOCHS):
                mlflow.log_metrics({"loss": 0.1, "accuracy": 0.9, "val_loss": 0.1, "val_accuracy": 0.9}, step=epoch)
        trials += 1
    return trials, time.perf_counter() - start


def count(engine: sql.Engine) -> int:
    """The number of pictures in the log."""
    with engine.connect() as connection:
        return int(connection.execute(sql.select(sql.func.count()).select_from(database.pictures)).scalar_one())


def stored_bytes(engine: sql.Engine) -> int:
    """The bytes that the database takes on disk."""
    query = "select pg_database_size(current_database())"
    if engine.dialect.name == "sqlite":
        query = "select page_count * page_size from pragma_page_count(), pragma_page_size()"
    with engine.connect() as connection:
        return int(connection.execute(sql.text(query)).scalar_one())


if __name__ == "__main__":
    main()
