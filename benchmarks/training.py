"""Training time to a target accuracy: the default CNN, and a plain CNN in Keras and in PyTorch, on the same cores.

    uv pip install -r benchmarks/requirements-training.txt
    python -m benchmarks.training

Each model trains in its own process, one after another. After every quarter of an epoch the test accuracy is measured;
this time does not count, and no decision depends on it. The table shows the CPU time and the wall time to each target.
The plain CNNs stop at 99%, after 12 epochs, or after ten times the CPU time that the default CNN takes to reach 99%.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TextIO

import numpy as np

GOALS = (0.97, 0.98, 0.99, 0.995)
OURS, KERAS, TORCH = "ours", "keras", "pytorch"
TITLES = {OURS: "default CNN", KERAS: "plain CNN, Keras", TORCH: "plain CNN, PyTorch"}
PLAIN = "cnn-32-64"  # the plain CNN's entry in pipeline/training/references.yaml
PLAIN_EPOCHS = 12  # maximum; training stops as soon as `PLAIN_GOAL` is reached
PLAIN_GOAL = 0.99
MAX_RATIO = 10  # of a plain CNN's CPU time to that of the default CNN up to `PLAIN_GOAL`; it is stopped then
MIN_SPEEDUP = 4  # of the default CNN over both plain CNNs at `PLAIN_GOAL`, in CPU time
Point = dict[str, float]


class Reached(Exception):
    """The target accuracy or the time limit is reached."""


class Clock:
    """CPU time and wall time of training. It is paused while the test accuracy is measured."""

    def __init__(
        self,
        accuracy: Callable[[], float],
        steps: int,
        output: TextIO | None = None,
        goal: float = 1.0,
        limit: float = math.inf,
    ) -> None:
        """Calls `accuracy` after each quarter of an epoch of `steps` and prints to `output` (default: standard output).

        Stops at the accuracy `goal` or after `limit` seconds of CPU time.
        """
        self.accuracy, self.output, self.goal, self.limit = accuracy, output, goal, limit
        self.quarters = {round(steps * part / 4): part / 4 for part in (1, 2, 3, 4)}
        self.cpu = self.wall = 0.0
        self.start()

    def start(self) -> None:
        """Starts or resumes the clock."""
        self._cpu, self._wall = time.process_time(), time.perf_counter()

    def step(self, epoch: int, step: int) -> None:
        """Prints one line of JSON at the end of each quarter of an epoch. `epoch` and `step` are counted from 0.

        Raises Reached at the target accuracy or the time limit.
        """
        if step + 1 not in self.quarters:
            return
        self.cpu += time.process_time() - self._cpu
        self.wall += time.perf_counter() - self._wall
        epochs = epoch + self.quarters[step + 1]
        point = {"epochs": epochs, "cpu": self.cpu, "wall": self.wall, "accuracy": self.accuracy()}
        print(json.dumps(point), file=self.output, flush=True)
        if point["accuracy"] >= self.goal or self.cpu >= self.limit:
            raise Reached
        self.start()


def train_with_keras(name: str, epochs: int | None, limit: float) -> None:
    """Trains the default CNN of params.yaml or the plain CNN with the pipeline's training loop, without tracking."""
    import mlflow

    from pipeline.data.splits import load_split
    from pipeline.params import Model, load_params
    from pipeline.training.loop import fit
    from pipeline.training.references import load_references
    from recognition.native_output import hide_native_output

    with hide_native_output():
        import keras

    mlflow.log_metrics = lambda metrics, **rest: None
    settings: Model = load_params().models["cnn"] if name == OURS else load_references()[PLAIN]
    if epochs or name == KERAS:
        settings = settings.model_copy(update={"epochs": epochs or PLAIN_EPOCHS})
    train, val, test = (load_split(split) for split in ("train", "val", "test"))
    images = test.images.astype(np.float32) / 255
    points = os.fdopen(os.dup(1), "w")  # a copy, because training hides standard output

    class Check(keras.callbacks.Callback):  # type: ignore[misc]  # keras has no types
        def on_train_begin(self, logs: Any = None) -> None:
            goal = PLAIN_GOAL if name == KERAS else 1.0
            self.clock = Clock(self.accuracy, len(train.labels) // settings.batch_size, points, goal, limit)

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.epoch = epoch
            self.clock.start()  # the time for the validation images does not count

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.clock.step(self.epoch, batch)

        def accuracy(self) -> float:
            predictions = self.model.predict(images, batch_size=500, verbose=0).argmax(axis=1)
            return float(np.mean(predictions == test.labels))

    with suppress(Reached):
        fit(name, settings, 10, train, val, [Check()])


def train_with_torch(epochs: int | None, limit: float) -> None:
    """Trains the plain CNN with a plain PyTorch loop."""
    import torch
    from torch import nn

    from pipeline.data.splits import load_split
    from pipeline.training.references import load_references

    settings = load_references()[PLAIN]
    torch.manual_seed(settings.seed)
    torch.set_num_threads(settings.threads)
    train, test = load_split("train"), load_split("test")
    images, labels = torch.tensor(train.images)[:, None] / 255, torch.tensor(train.labels, dtype=torch.long)
    test_images, test_labels = torch.tensor(test.images)[:, None] / 255, torch.tensor(test.labels, dtype=torch.long)
    network = nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(9216, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.optimizer.learning_rate)
    loss = nn.CrossEntropyLoss()

    def accuracy() -> float:
        with torch.no_grad():
            predictions = torch.cat([network(part).argmax(dim=1) for part in test_images.split(500)])
        return float((predictions == test_labels).float().mean())

    steps = len(labels) // settings.batch_size
    clock = Clock(accuracy, steps, goal=PLAIN_GOAL, limit=limit)
    for epoch in range(epochs or PLAIN_EPOCHS):
        order = torch.randperm(len(labels))
        for step in range(steps):
            batch = order[step * settings.batch_size : (step + 1) * settings.batch_size]
            optimizer.zero_grad()
            loss(network(images[batch]), labels[batch]).backward()
            optimizer.step()
            try:
                clock.step(epoch, step)
            except Reached:
                return


def run(name: str, epochs: int | None, limit: float = math.inf) -> list[Point]:
    """Trains one model in a new process for at most `limit` CPU-seconds; prints and returns its points."""
    command = [sys.executable, "-m", "benchmarks.training", "--only", name]
    command += ["--epochs", str(epochs)] if epochs else []
    command += ["--limit", str(limit)]
    points: list[Point] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if not line.startswith("{"):
                continue
            point = json.loads(line)
            points.append(point)
            words = "{epochs:5.2f} epochs {cpu:7.1f} CPU-s {wall:7.1f} s {accuracy:.2%}".format(**point)
            print(f"{TITLES[name]:20s} {words}", flush=True)
    if process.returncode:
        raise SystemExit(f"training of the {TITLES[name]} failed with status {process.returncode}")
    return points


def reached(points: list[Point], goal: float) -> Point | None:
    """The first point with at least this test accuracy, or None."""
    return next((point for point in points if point["accuracy"] >= goal), None)


def table(results: dict[str, list[Point]]) -> str:
    """Markdown table of the seconds to each goal and the speed-ups; "> x" is a lower bound (goal not reached)."""
    lines = ["| test accuracy | unit | " + " | ".join(TITLES[name] for name in results) + " | speed-up over others |"]
    lines.append("|---:|---|" + "---:|" * (len(results) + 1))
    for goal in GOALS:
        for unit, words in (("cpu", "CPU-s"), ("wall", "s")):
            seconds = {
                name: (point[unit] if (point := reached(points, goal)) else None) for name, points in results.items()
            }
            cells = [f"{value:.1f}" if value is not None else "never" for value in seconds.values()]
            lines.append(
                f"| {goal:.1%} | {words} | {' | '.join(cells)} | {', '.join(ratios(seconds, results, unit))} |"
            )
    return "\n".join(lines)


def ratios(seconds: dict[str, float | None], results: dict[str, list[Point]], unit: str) -> list[str]:
    """Speed-up of the default CNN over each other model; a lower bound if that model did not reach the goal."""
    own = seconds.get(OURS)
    if own is None:
        return ["-"]
    others = [name for name in seconds if name != OURS]
    return [
        f"{value / own:.1f}" if (value := seconds[name]) is not None else f"> {results[name][-1][unit] / own:.1f}"
        for name in others
    ]


def main() -> None:
    """Prints every point and the table. Exits with status 1 if the speed-up at 99% is below `MIN_SPEEDUP`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(TITLES), help="train this model in this process, print JSON")
    parser.add_argument("--epochs", type=int, help="number of epochs of every model, instead of its own")
    parser.add_argument("--limit", type=float, default=math.inf, help="CPU-seconds, with --only")
    parser.add_argument("--without", choices=list(TITLES), nargs="*", default=[], help="models to skip")
    arguments = parser.parse_args()
    if arguments.only:
        if arguments.only == TORCH:
            train_with_torch(arguments.epochs, arguments.limit)
        else:
            train_with_keras(arguments.only, arguments.epochs, arguments.limit)
        return
    print(f"CPU: {cpu_name()}, {len(os.sched_getaffinity(0))} cores")
    results = {OURS: run(OURS, arguments.epochs)} if OURS not in arguments.without else {}
    own = reached(results.get(OURS, []), PLAIN_GOAL)
    limit = MAX_RATIO * own["cpu"] if own else math.inf
    results |= {name: run(name, arguments.epochs, limit) for name in (KERAS, TORCH) if name not in arguments.without}
    print(table(results))
    others = [point for name in results if name != OURS and (point := reached(results[name], PLAIN_GOAL))]
    if own and any(point["cpu"] < MIN_SPEEDUP * own["cpu"] for point in others):
        raise SystemExit(f"the speed-up of the default CNN at 99% is below {MIN_SPEEDUP}")


def cpu_name() -> str:
    """Name of the CPU, from /proc/cpuinfo."""
    try:
        with open("/proc/cpuinfo") as information:  # noqa: PTH123
            return next(line.split(": ")[1].strip() for line in information if line.startswith("model name"))
    except (OSError, StopIteration):
        return "unknown"


if __name__ == "__main__":
    main()
