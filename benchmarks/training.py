"""How soon a model is good: our CNN, and a plain CNN in Keras and in PyTorch, trained on the same cores in one run.

    uv pip install -r benchmarks/requirements-training.txt
    python -m benchmarks.training

Each trains in a process of its own, one after the other. Every quarter epoch the test images are answered, off the
clock; the table gives the processor time and the wall time until so many were right. Nothing is chosen by them. The
plain ones end when 99% are right, after 12 epochs, or when they have taken ten times as long as ours to 99%.
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
TITLES = {OURS: "our CNN", KERAS: "plain CNN, Keras", TORCH: "plain CNN, PyTorch"}
PLAIN = "cnn-32-64"  # the entry of pipeline/training/references.yaml that both plain ones are
PLAIN_EPOCHS = 12  # that they train at most; they end as soon as `PLAIN_GOAL` is reached
PLAIN_GOAL = 0.99
MOST_RATIO = 10  # so many times as long as ours to `PLAIN_GOAL` they may take, in processor time
LEAST_RATIO = 4  # so much sooner than both ours has to be right in 99%, in processor time
Point = dict[str, float]


class Reached(Exception):
    """As many are right as were to be, or time is up."""


class Clock:
    """Processor and wall time of training alone: stands still while the test images are answered."""

    def __init__(
        self,
        accuracy: Callable[[], float],
        steps: int,
        output: TextIO | None = None,
        goal: float = 1.0,
        most: float = math.inf,
    ) -> None:
        """`steps` of an epoch, after whose quarters `accuracy` is asked; `output`: standard output unless given.

        Ends at the accuracy `goal`, or after `most` seconds of processor time.
        """
        self.accuracy, self.output, self.goal, self.most = accuracy, output, goal, most
        self.quarters = {round(steps * part / 4): part / 4 for part in (1, 2, 3, 4)}
        self.cpu = self.wall = 0.0
        self.start()

    def start(self) -> None:
        """Run on from now."""
        self._cpu, self._wall = time.process_time(), time.perf_counter()

    def step(self, epoch: int, step: int) -> None:
        """After each step of an epoch, both counted from 0: at a quarter's end one line of JSON.

        Raises Reached when the goal is, or time is up.
        """
        if step + 1 not in self.quarters:
            return
        self.cpu += time.process_time() - self._cpu
        self.wall += time.perf_counter() - self._wall
        epochs = epoch + self.quarters[step + 1]
        point = {"epochs": epochs, "cpu": self.cpu, "wall": self.wall, "accuracy": self.accuracy()}
        print(json.dumps(point), file=self.output, flush=True)
        if point["accuracy"] >= self.goal or self.cpu >= self.most:
            raise Reached
        self.start()


def train_with_keras(name: str, epochs: int | None, most: float) -> None:
    """Our CNN as params.yaml has it, or the plain one: through the pipeline's own training, which is not tracked."""
    import mlflow

    from pipeline.data.splits import load_split
    from pipeline.params import Model, load_params
    from pipeline.training.loop import fit, uses_bfloat16
    from pipeline.training.references import load_references
    from recognition.native_output import hide_native_output

    with hide_native_output():
        import keras

    mlflow.log_metrics = lambda metrics, step: None
    settings: Model = load_params().models["cnn"] if name == OURS else load_references()[PLAIN]
    if epochs or name == KERAS:
        settings = settings.model_copy(update={"epochs": epochs or PLAIN_EPOCHS})
    train, val, test = (load_split(split) for split in ("train", "val", "test"))
    images = test.images.astype(np.float32) / 255
    points = os.fdopen(os.dup(1), "w")  # training keeps what libraries write to standard output off the screen

    class Check(keras.callbacks.Callback):  # type: ignore[misc]  # keras has no types
        def on_train_begin(self, logs: Any = None) -> None:
            goal = PLAIN_GOAL if name == KERAS else 1.0
            self.clock = Clock(self.accuracy, len(train.labels) // settings.batch_size, points, goal, most)

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.epoch = epoch
            self.clock.start()  # answering the validation images was not training

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.clock.step(self.epoch, batch)

        def accuracy(self) -> float:
            answers = self.model.predict(images, batch_size=500, verbose=0).argmax(axis=1)
            return float(np.mean(answers == test.labels))

    with suppress(Reached):
        fit(name, settings, 10, uses_bfloat16(settings.precision), train, val, [Check()])


def train_with_torch(epochs: int | None, most: float) -> None:
    """The plain CNN in a plain loop."""
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
            answers = torch.cat([network(part).argmax(dim=1) for part in test_images.split(500)])
        return float((answers == test_labels).float().mean())

    steps = len(labels) // settings.batch_size
    clock = Clock(accuracy, steps, goal=PLAIN_GOAL, most=most)
    for epoch in range(epochs or PLAIN_EPOCHS):
        order = torch.randperm(len(labels))
        for step in range(steps):
            chosen = order[step * settings.batch_size : (step + 1) * settings.batch_size]
            optimizer.zero_grad()
            loss(network(images[chosen]), labels[chosen]).backward()
            optimizer.step()
            try:
                clock.step(epoch, step)
            except Reached:
                return


def run(name: str, epochs: int | None, most: float = math.inf) -> list[Point]:
    """Train one in a new process, for `most` seconds of processor time; its points, each printed when it is known."""
    command = [sys.executable, "-m", "benchmarks.training", "--only", name]
    command += ["--epochs", str(epochs)] if epochs else []
    command += ["--most", str(most)]
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
        raise SystemExit(f"{TITLES[name]} ended with status {process.returncode}")
    return points


def reached(points: list[Point], goal: float) -> Point | None:
    """The first point at which so many test images were right; None if there was none."""
    return next((point for point in points if point["accuracy"] >= goal), None)


def table(results: dict[str, list[Point]]) -> str:
    """Seconds to each goal as Markdown, with how many times sooner ours was; "> x" where the others never got there."""
    lines = ["| test images right | unit | " + " | ".join(TITLES[name] for name in results) + " | sooner than others |"]
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
    """How many times longer than ours each other took, or at least took."""
    own = seconds.get(OURS)
    if own is None:
        return ["-"]
    others = [name for name in seconds if name != OURS]
    return [
        f"{value / own:.1f}" if (value := seconds[name]) is not None else f"> {results[name][-1][unit] / own:.1f}"
        for name in others
    ]


def main() -> None:
    """Print every point, then the table; ends with status 1 when ours is not `LEAST_RATIO` times sooner at 99%."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(TITLES), help="train this one here and print its points as JSON")
    parser.add_argument("--epochs", type=int, help="instead of each one's own")
    parser.add_argument("--most", type=float, default=math.inf, help="processor seconds, with --only")
    parser.add_argument("--without", choices=list(TITLES), nargs="*", default=[], help="leave some out")
    arguments = parser.parse_args()
    if arguments.only:
        if arguments.only == TORCH:
            train_with_torch(arguments.epochs, arguments.most)
        else:
            train_with_keras(arguments.only, arguments.epochs, arguments.most)
        return
    print(f"processor: {processor()}, {len(os.sched_getaffinity(0))} cores")
    results = {OURS: run(OURS, arguments.epochs)} if OURS not in arguments.without else {}
    own = reached(results.get(OURS, []), PLAIN_GOAL)
    most = MOST_RATIO * own["cpu"] if own else math.inf
    results |= {name: run(name, arguments.epochs, most) for name in (KERAS, TORCH) if name not in arguments.without}
    print(table(results))
    others = [point for name in results if name != OURS and (point := reached(results[name], PLAIN_GOAL))]
    if own and any(point["cpu"] < LEAST_RATIO * own["cpu"] for point in others):
        raise SystemExit(f"ours is less than {LEAST_RATIO} times sooner at 99%")


def processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        with open("/proc/cpuinfo") as information:  # noqa: PTH123
            return next(line.split(": ")[1].strip() for line in information if line.startswith("model name"))
    except (OSError, StopIteration):
        return "unknown"


if __name__ == "__main__":
    main()
