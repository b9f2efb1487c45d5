"""`make references`: train the reference models of references.yaml and compare them with the project's models.

Writes docs/references.json, which the comparison report reads, and docs/references.md. A quick run, whose results mean
nothing, writes reports/references-quick.json and .md instead.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer
from numpy.typing import NDArray
from pydantic import Field

from pipeline import tracking
from pipeline.console import PipelineError, run_main, say
from pipeline.data.datasets import load_dataset
from pipeline.data.idx import read_raw, read_source
from pipeline.data.splits import Split, validation_mask
from pipeline.files import read_json, write_json, write_text
from pipeline.params import Model, Optimizer, Params, Schedule, load_params
from pipeline.paths import EVALUATIONS, QUICK_REFERENCES, REFERENCE_MODELS, REFERENCES, REPORTS
from pipeline.reporting.measurements import read_run
from pipeline.reporting.rendering import render
from pipeline.settings import parse_settings, read_yaml
from recognition.classifier import Classifier
from recognition.native_output import hide_native_output

with hide_native_output():
    import keras

from pipeline.training import device, parallel
from pipeline.training.architectures import multiply_adds, with_probabilities
from pipeline.training.export import export
from pipeline.training.loop import fit, measured_seconds

QUICK_IMAGES = 600
Row = dict[str, Any]


class Reference(Model):
    """A published model: an entry of `models:` with its description, the published accuracy and the open choices."""

    described: str
    stated: str
    open: str | None = None
    validation_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    architecture: str = "plain"
    optimizer: Optimizer = Optimizer(name="adam", learning_rate=0.001, beta_2=0.999)
    schedule: Schedule = Schedule(name="constant")
    ensemble_size: Annotated[int, Field(ge=1)] = 1
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    seed: int = 1
    threads: Annotated[int, Field(ge=1)] = 2


def load_references(path: Path = REFERENCE_MODELS) -> dict[str, Reference]:
    """Read `references.yaml`: entries by name. Raises PipelineError with one line for each invalid key."""
    return parse_settings(path, dict[str, Reference], read_yaml(path))


def main(
    names: Annotated[list[str] | None, typer.Argument()] = None,
    quick: Annotated[bool, typer.Option("--quick")] = False,
    table: Annotated[bool, typer.Option("--table")] = False,
) -> None:
    """Train the reference models NAMES (default: all) and write docs/references.json and docs/references.md.

    `quick` trains one epoch on few images to test the command and writes reports/references-quick.*. `table` trains
    nothing and writes the table with the current results of our models.
    """
    params, references = load_params(), load_references()
    if unknown := set(names or ()) - references.keys():
        raise PipelineError(f"references: unknown model {min(unknown)}; known: {', '.join(references)}")
    parallel.require_shared("MLFLOW_TRACKING_URI", tracking.tracking_uri())
    dataset = read_source()["dataset"]
    title = load_dataset(dataset).title
    rows = {} if quick else earlier_rows(title)
    if not table:
        train_missing(params, {name: references[name] for name in names or references}, rows, dataset, quick)
    path = write(rows, params, title, quick)
    say(f"results: {path.parent.name}/{path.name} and {path.parent.name}/{path.stem}.md")


def train_missing(
    params: Params, chosen: dict[str, Reference], rows: dict[str, Row], dataset: str, quick: bool
) -> None:
    """Train the models `chosen`, except those that an interrupted run with the same plan has trained.

    Adds their results to `rows`, and writes both files after each model.
    """
    title, classes = load_dataset(dataset).title, len(load_dataset(dataset).classes)
    test_images, test_labels = read_raw("test")
    shared = (params, dataset, classes, quick, tracking.git_commit(), *read_raw("train"), test_images, test_labels)
    progress = parallel.Progress("references", [title, quick, {name: chosen[name].model_dump() for name in chosen}])
    calls = [(name, chosen[name]) for name in chosen if name not in progress.results]
    threads = max((settings.threads for _, settings in calls), default=1)
    rows |= progress.results
    for (name, _), row in parallel.run(train, calls, shared, threads, at_most=len(calls)):
        rows[name] = {"name": name, "dataset": title, **row}
        progress.add(name, rows[name])
        write(rows, params, title, quick)
        share = f"{row['accuracy']:.2%} of {len(test_labels):,} test images correct"
        say(f"{name}: {share} (published: {row['stated']})")
    progress.finish()


def earlier_rows(title: str) -> dict[str, Row]:
    """Results of earlier full runs on the same dataset, by name."""
    if not REFERENCES.exists():
        return {}
    content = read_json(REFERENCES)
    return {row["name"]: row for row in content["models"] if row["dataset"] == title and not content["quick"]}


def write(rows: dict[str, Row], params: Params, title: str, quick: bool) -> Path:
    """Write both files, with the rows in the order of references.yaml. Returns the path of the JSON file."""
    path = QUICK_REFERENCES if quick else REFERENCES
    ordered = [rows[name] for name in load_references() if name in rows]
    own = [row for row in map(own_row, params.models) if row]
    write_json(path, {"quick": quick, "models": ordered})
    text = render("references.md", rows=ordered, own=own, title=title, quick=quick)
    write_text(path.with_suffix(".md"), text)
    return path


def own_row(name: str) -> Row | None:
    """The same figures of one of our models from its last evaluation; None if it was not evaluated."""
    try:
        accuracy = read_json(REPORTS / name / "metrics.json")["test"]["accuracy"]
        cpu = read_run(name).get("cpu_seconds", "")
        return {**read_json(EVALUATIONS / name / "cost.json"), "name": name, "accuracy": accuracy, "cpu_seconds": cpu}
    except FileNotFoundError:
        return None


def train(
    params: Params,
    dataset: str,
    classes: int,
    quick: bool,
    commit: str,
    images: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    test_images: NDArray[np.uint8],
    test_labels: NDArray[np.uint8],
    name: str,
    settings: Reference,
) -> Row:
    """Train on the published training images only, measure on the published test images, track the run in MLflow.

    Images: uint8 (n, 28, 28), ink bright; labels: uint8 (n,).
    """
    import mlflow

    held_out = validation_mask(images, settings.validation_share or params.data.validation_share)
    used = ~held_out if settings.validation_share else np.ones(len(labels), bool)
    training, val = (Split(dataset, images[mask], labels[mask]) for mask in (used, held_out))
    if quick:
        settings = settings.model_copy(update={"epochs": 1, "batch_size": 32})
        training = Split(dataset, training.images[:QUICK_IMAGES], training.labels[:QUICK_IMAGES])
    tags = {"reference": name, "dataset": dataset, "data_digest": training.digest(), "git_commit": commit}
    note = f"Published model: {settings.described}. Published test accuracy: {settings.stated}."
    tracking.end_interrupted(dataset, reference=name)
    with tracking.run(dataset, name, tags, note):
        mlflow.log_params(tracking.flatten(settings.model_dump()))
        with measured_seconds() as seconds:
            network, _ = fit(name, settings, classes, training, val)
        litert, _ = export(with_probabilities(network, 1.0), val, params.export)
        predictions = Classifier(litert).probabilities(test_images).argmax(axis=1)
        accuracy = float(np.mean(predictions == test_labels))
        costs = {
            "cpu_seconds": seconds["cpu_seconds"],
            "parameters": network.count_params(),
            "multiply_adds": multiply_adds(network),
            "bytes": len(litert),
        }
        mlflow.log_metrics(tracking.grouped("cost", costs) | {"test/accuracy": accuracy})
    keras.backend.clear_session()
    described = settings.model_dump(include={"described", "open", "stated"})
    precision = device.description(settings.precision)["precision"]
    return {**described, "accuracy": accuracy, **costs, "seconds": seconds["wall_seconds"], "precision": precision}


if __name__ == "__main__":
    run_main(main)
