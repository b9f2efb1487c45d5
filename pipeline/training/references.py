"""`make references`: train the models that others describe, as they describe them, and set them beside ours.

Writes docs/references.json, which the comparison draws, and docs/references.md. Names as arguments train only these.
"""

import time
from typing import Any

import click
import numpy as np

from pipeline import tracking
from pipeline.console import PipelineError, run_main, say
from pipeline.data.datasets import load_dataset
from pipeline.data.idx import read_raw, read_source
from pipeline.data.splits import Split, validation_mask
from pipeline.files import read_json, write_json, write_text
from pipeline.params import Params, flatten, load_params
from pipeline.paths import EVALUATIONS, MODELS, REFERENCES, REPORTS
from pipeline.reporting.rendering import render
from recognition.classifier import Classifier
from recognition.native_output import hide_native_output

with hide_native_output():
    import keras

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from pipeline.params import Model, Optimizer, Schedule, parse_settings, read_yaml
from pipeline.paths import REFERENCE_MODELS
from pipeline.training.architectures import multiply_adds, with_probabilities
from pipeline.training.export import export
from pipeline.training.loop import cpu_seconds, fit, uses_bfloat16

QUICK_IMAGES = 600
Row = dict[str, Any]


class Reference(Model):
    """A model that others describe: as an entry of `models:`, with what the description says and leaves open."""

    described: str
    stated: str
    open: str | None = None
    validation_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    architecture: str = "plain"
    optimizer: Optimizer = Optimizer(name="adam", learning_rate=0.001)
    schedule: Schedule = Schedule(name="constant")
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    seed: int = 1
    threads: Annotated[int, Field(ge=1)] = 2


def load_references(path: Path = REFERENCE_MODELS) -> dict[str, Reference]:
    """Read `references.yaml`: name to entry. Raises PipelineError with one line for each key that is wrong."""
    return {name: parse_settings(path, Reference, entry, name) for name, entry in read_yaml(path).items()}


@click.command()
@click.argument("names", nargs=-1)
@click.option("--quick", is_flag=True, help="one epoch of few images, to try the way")
@click.option("--table", is_flag=True, help="train none; only set what is known beside our models as they are now")
def main(names: tuple[str, ...], quick: bool, table: bool) -> None:
    params, references = load_params(), load_references()
    if unknown := set(names) - references.keys():
        raise PipelineError(f"references: {min(unknown)} is unknown; known are {', '.join(references)}")
    title = load_dataset(read_source()["dataset"]).title
    rows = known_rows(title, quick)
    for name in [] if table else names or references:
        rows[name] = train_one(name, references[name], params, title, quick)
        write([rows[known] for known in references if known in rows], params, title, quick)
    write([rows[known] for known in references if known in rows], params, title, quick)
    say("docs/references.json and docs/references.md are up to date")


def write(rows: list[Row], params: Params, title: str, quick: bool) -> None:
    """Both files, from the rows of the references and from what was measured of our models."""
    write_json(REFERENCES, {"quick": quick, "models": rows})
    own = [row for row in map(our_row, params.models) if row]
    text = render("references.md", rows=rows, own=own, title=title, quick=quick)
    write_text(REFERENCES.with_suffix(".md"), text)


def known_rows(title: str, quick: bool) -> dict[str, Row]:
    """Rows of earlier runs on the same dataset, by name."""
    if quick or not REFERENCES.exists():
        return {}
    content = read_json(REFERENCES)
    return {row["name"]: row for row in content["models"] if row["dataset"] == title and not content["quick"]}


def train_one(name: str, settings: Reference, params: Params, title: str, quick: bool) -> Row:
    """Train one reference on the published training images, none of ours among them, and measure it on test images."""
    import mlflow

    dataset = read_source()["dataset"]
    images, labels = read_raw("train")
    test_images, test_labels = read_raw("test")
    share = settings.validation_share or params.data.validation_share
    held = validation_mask(images, share)
    val = Split(dataset, images[held], labels[held])
    train = (
        Split(dataset, images[~held], labels[~held]) if settings.validation_share else Split(dataset, images, labels)
    )
    if quick:
        settings = settings.model_copy(update={"epochs": 1, "batch_size": 32})
        train = Split(dataset, train.images[:QUICK_IMAGES], train.labels[:QUICK_IMAGES])
    bfloat16 = uses_bfloat16(settings.precision)
    with tracking.run(dataset, name, {"reference": name, "dataset": dataset, "data_digest": train.digest()}):
        mlflow.log_params(flatten(settings, "reference"))
        cpu, wall = cpu_seconds(), time.perf_counter()
        network, _ = fit(name, settings, len(load_dataset(dataset).classes), bfloat16, train, val)
        cpu, wall = cpu_seconds() - cpu, time.perf_counter() - wall
        exported = export(with_probabilities(network, 1.0), val, params.export)
        answers = Classifier(exported.content).probabilities(test_images).argmax(axis=1)
        row = {
            "name": name,
            "dataset": title,
            "described": settings.described,
            "open": settings.open,
            "stated": settings.stated,
            "accuracy": float(np.mean(answers == test_labels)),
            "cpu_seconds": round(cpu),
            "seconds": round(wall),
            "precision": "bfloat16" if bfloat16 else "float32",
            "parameters": network.count_params(),
            "multiply_adds": multiply_adds(network),
            "bytes": len(exported.content),
        }
        mlflow.log_metrics({key: row[key] for key in ("cpu_seconds", "parameters", "multiply_adds", "bytes")})
        mlflow.log_metric("test.accuracy", row["accuracy"])
    say(f"{name}: {row['accuracy']:.2%} of {len(test_labels):,} test images right (stated: {settings.stated})")
    keras.backend.clear_session()
    return row


def our_row(name: str) -> Row | None:
    """The same of one of our models, as it was last evaluated; None where it was not."""
    try:
        accuracy = read_json(REPORTS / name / "metrics.json")["test"]["accuracy"]
        cpu = read_json(MODELS / name / "run.json").get("cpu_seconds", "")
        return {**read_json(EVALUATIONS / name / "cost.json"), "name": name, "accuracy": accuracy, "cpu_seconds": cpu}
    except FileNotFoundError:
        return None


if __name__ == "__main__":
    run_main(main)
