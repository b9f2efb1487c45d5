"""Train the NumPy network on the prepared images and track the run in MLflow: python -m learn.from_scratch"""

import time
from typing import Annotated

import numpy as np
import typer
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from threadpoolctl import threadpool_limits

from learn.from_scratch.network import Layer
from learn.from_scratch.neurons import Array
from learn.from_scratch.training import evaluate, initial_network, train
from pipeline import tracking
from pipeline.console import PipelineError, progress, run_main, say
from pipeline.data.splits import Split, load_split


def main(
    hidden: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Neurons in a hidden layer; repeat it for several layers. Default: 256."),
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Number of training epochs.")] = 10,
    batch_size: Annotated[int, typer.Option(min=1, help="Images per mini-batch.")] = 128,
    learning_rate: Annotated[float, typer.Option(min=1e-9, help="Of Adam at first; it falls linearly to 0.")] = 0.002,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random numbers.")] = 1,
) -> None:
    """Train a multilayer perceptron in NumPy only and print its test accuracy."""
    import mlflow

    hidden = hidden or [256]
    training, validation, test = (load_split(name) for name in ("train", "val", "test"))
    tags = {"model": "mlp-from-scratch", "dataset": training.dataset, "data_digest": training.digest()}
    note = "Multilayer perceptron in NumPy only (`python -m learn.from_scratch`)."
    with tracking.run(training.dataset, "mlp-from-scratch", tags, note):
        mlflow.log_params(
            {
                "hidden": tuple(hidden),
                "epochs": epochs,
                "batch_size": batch_size,
                "learning_rate": learning_rate,
                "seed": seed,
            }
        )
        rng = np.random.default_rng(seed)
        classes = int(training.labels.max()) + 1
        network = initial_network([features(training).shape[1], *hidden, classes], rng)
        with threadpool_limits(1):  # these matrices are too small to benefit from more threads
            network = fit(network, training, validation, epochs, batch_size, learning_rate, rng)
            loss, accuracy = evaluate(network, features(test), test.labels)
        mlflow.log_metrics({"test/loss": loss, "test/accuracy": accuracy, "cost/cpu_seconds": time.process_time()})
    say(
        f"from scratch: test accuracy {accuracy:.2%} ({len(test.labels):,} images), "
        f"{time.process_time():.0f} CPU seconds in total"
    )


def fit(
    network: list[Layer],
    training: Split,
    validation: Split,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    rng: np.random.Generator,
) -> list[Layer]:
    """Train, log the metrics of every epoch, and return the final network.

    Raises PipelineError if the loss is not finite.
    """
    import mlflow

    x, x_validation = features(training), features(validation)
    with progress(TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn()) as display:
        task = display.add_task("from scratch", total=epochs)
        snapshots = train(network, x, training.labels, epochs, batch_size, learning_rate, rng)
        for epoch, network in enumerate(snapshots):
            loss, accuracy = evaluate(network, x, training.labels)
            val_loss, val_accuracy = evaluate(network, x_validation, validation.labels)
            if not np.isfinite(loss):
                raise PipelineError(f"the loss is not finite after epoch {epoch}; use a lower --learning-rate")
            mlflow.log_metrics(
                {"loss": loss, "accuracy": accuracy, "val_loss": val_loss, "val_accuracy": val_accuracy},
                step=epoch,
            )
            display.update(task, advance=1, description=f"loss {loss:.4f} accuracy {val_accuracy:.4f}")
    return network


def features(split: Split) -> Array:
    """Images as rows of grey values in [0, 1]: float32 (n, height * width)."""
    return split.images.reshape(len(split.images), -1).astype(np.float32) / 255


if __name__ == "__main__":
    run_main(main)
