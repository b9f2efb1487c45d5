"""`digits seeds`: train one entry of `models:` with several seeds, for the mean and the spread of its accuracy."""

import json
from typing import Any

import numpy as np

from pipeline import tracking
from pipeline.console import PipelineError, say, text_to_stderr
from pipeline.data.datasets import load_dataset
from pipeline.data.splits import Split, load_split
from pipeline.evaluation.statistics import mean_interval
from pipeline.params import Export, Model, load_params
from pipeline.training import parallel
from recognition.classifier import Classifier
from recognition.native_output import hide_native_output

Row = dict[str, Any]


def main(name: str, count: int, as_json: bool) -> None:
    """Train the entry `name` with `count` seeds, from its own on, and print mean and interval of the accuracy.

    The accuracy is that of the exported model on the validation images. Each training and the summary are runs in
    MLflow. An interrupted command continues.
    """
    params = load_params()
    if name not in params.models:
        raise PipelineError(f"seeds: unknown model {name}; known: {', '.join(params.models)}")
    settings = params.models[name]
    parallel.require_shared("MLFLOW_TRACKING_URI", tracking.tracking_uri())
    train, tune, val = (load_split(split) for split in ("train", "tune", "val"))
    # The members of an ensemble have consecutive seeds
    chosen = [settings.seed + index * settings.ensemble_size for index in range(count)]
    with text_to_stderr(as_json):
        progress = parallel.Progress(f"seeds-{name}", [settings.model_dump(), train.digest()])
        rows: dict[str, Row] = progress.results
        calls = [(seed,) for seed in chosen if str(seed) not in rows]
        classes = len(load_dataset(train.dataset).classes)
        shared = (name, settings, classes, params.export, tracking.git_commit(), train, tune, val)
        for (seed,), row in parallel.run(train_seed, calls, shared, settings.threads, at_most=len(calls)):
            progress.add(str(seed), row)
            say(f"{name} with seed {seed}: {row['accuracy']:.2%} of {len(val.labels):,} validation images correct")
        summary = summarize(name, train.dataset, [{"seed": seed, **rows[str(seed)]} for seed in chosen])
        progress.finish()
        low, high = summary["accuracy_low"], summary["accuracy_high"]
        say(f"{name}: mean of {count} seeds {summary['accuracy']:.2%}, 95% interval {low:.2%} to {high:.2%}")
    if as_json:
        say(json.dumps(summary))


def train_seed(
    name: str,
    settings: Model,
    classes: int,
    limits: Export,
    commit: str,
    train: Split,
    tune: Split,
    val: Split,
    seed: int,
) -> Row:
    """Train with one seed as a run in MLflow. Returns the accuracy on `val` and the costs."""
    import mlflow

    with hide_native_output():  # here, because the process that hands out trainings needs no TensorFlow
        import keras

        from pipeline.training.architectures import with_probabilities
        from pipeline.training.export import export
        from pipeline.training.loop import fit, measured_seconds

    settings = settings.model_copy(update={"seed": seed})
    tags = {"seeds": name, "seed": str(seed), "dataset": train.dataset, "git_commit": commit}
    note = f"Training of `{name}` with seed {seed}, for the spread of the accuracy."
    tracking.end_interrupted(train.dataset, seeds=name, seed=str(seed))
    keras.backend.clear_session()
    with tracking.run(train.dataset, f"{name}-seed-{seed}", tags, note):
        mlflow.log_params(tracking.flatten(settings.model_dump()))
        with measured_seconds() as seconds:
            network, _ = fit(name, settings, classes, train, tune)
        litert, _ = export(with_probabilities(network, 1.0), tune, limits)  # a temperature changes no prediction
        predictions = Classifier(litert).probabilities(val.images).argmax(axis=1)
        accuracy = float(np.mean(predictions == val.labels))
        mlflow.log_metrics(tracking.grouped("cost", seconds) | {"val/accuracy": accuracy})
    return {"accuracy": accuracy, **seconds}


def summarize(name: str, dataset: str, rows: list[Row]) -> Row:
    """Mean accuracy with Student's t interval at 95%, logged as a run of its own."""
    import mlflow

    accuracies = np.array([row["accuracy"] for row in rows])
    low, high = mean_interval(accuracies)
    figures = {"accuracy": float(accuracies.mean()), "accuracy_low": low, "accuracy_high": high}
    note = f"Mean validation accuracy of `{name}` over {len(rows)} seeds, with a 95% interval."
    with tracking.run(dataset, f"{name}-seeds", {"seeds": name, "dataset": dataset}, note):
        mlflow.log_param("seeds", [row["seed"] for row in rows])
        mlflow.log_metrics(tracking.grouped("val", figures))
    return {"model": name, "dataset": dataset, **figures, "seeds": rows}
