"""Charts and images of the comparison report."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from pipeline.data.datasets import Dataset
from pipeline.data.splits import Split
from pipeline.files import read_json
from pipeline.paths import DERIVED, REFERENCES
from pipeline.reporting import charts

CONFUSIONS = 12  # of each model
CHARTS = "comparison.charts"  # a folder of `reports`; model names cannot contain a dot


def draw_charts(models: dict[str, dict[str, Any]], dataset: Dataset, splits: dict[str, Split]) -> dict[str, Markup]:
    """The charts of the report as SVG, by name; `models`: the results of each model, as `compare` loads them."""

    def each(*keys: str) -> dict[str, Any]:
        values = {name: model["evaluation"] for name, model in models.items()}
        for key in keys:
            values = {name: value[key] for name, value in values.items()}
        return values

    counts = {name: np.bincount(split.labels, minlength=len(dataset.classes)) for name, split in splits.items()}
    results = {name: {**each("metrics", "test")[name], **model["cost"]} for name, model in models.items()}
    references = load_references(dataset)
    figures = {
        "learning": charts.learning_curves({name: model["history"] for name, model in models.items()}),
        "reliability": charts.reliability_diagram(each("reliability"), each("reliability_before_temperature")),
        "risk and coverage": charts.risk_coverage(each("risk_coverage"), each("metrics", "val", "threshold")),
        "robustness": charts.robustness_bars(each("metrics", "robustness")),
        "multiply-adds": charts.accuracy_against("multiply_adds", "multiply-adds per image", results, references),
        "size": charts.accuracy_against("bytes", "file size (bytes)", results, references),
        "classes": charts.classes_per_split(counts, dataset.classes),
    }
    for change in charts.UNITS:
        figures[f"sensitivity to {change}"] = charts.sensitivity_curve(each("sensitivity", change), change)
    for index, (name, matrix) in enumerate(each("per_class", "test", "confusion").items()):
        figures[f"confusion of {name}"] = charts.confusion(np.array(matrix), dataset.classes, index)
    return {name: charts.figure_to_svg(figure, name) for name, figure in figures.items()}


def frequent_confusions(matrix: NDArray[np.integer[Any]], classes: Sequence[str]) -> list[dict[str, Any]]:
    """The most frequent errors: label, prediction, number of images, and their share of the images with this label.

    `matrix`: counts (classes, classes), rows are labels and columns are predictions.
    """
    errors = matrix * (1 - np.eye(len(matrix), dtype=int))
    order = np.argsort(-errors, axis=None, kind="stable")[:CONFUSIONS]
    pairs = [divmod(int(index), len(matrix)) for index in order if errors.flat[index]]
    return [
        {"label": classes[row], "prediction": classes[column], "images": int(errors[row, column]),
         "share": errors[row, column] / matrix[row].sum()}
        for row, column in pairs
    ]  # fmt: skip


def load_references(dataset: Dataset) -> list[dict[str, Any]]:
    """Reference models for `dataset` from docs/references.json, if it exists: name, accuracy (0..1) and costs.

    An entry without a `dataset` belongs to MNIST.
    """
    if not REFERENCES.exists():
        return []
    entries = read_json(REFERENCES)["models"]
    return [entry for entry in entries if entry.get("dataset", "MNIST").lower() == dataset.title.lower()]


def find_images(
    models: dict[str, dict[str, Any]], test: Split, dataset: Dataset, count: int
) -> dict[str, list[dict[str, Any]]]:
    """At most `count` test images for each title, with their label and all predictions.

    The most confident errors of each model, the images that only this model classifies correctly, and samples.
    """
    correct = {name: model["test"].argmax(axis=1) == test.labels for name, model in models.items()}
    only_one = np.sum(list(correct.values()), axis=0) == 1
    chosen = {}
    for name, model in models.items():
        by_confidence = np.argsort(-model["test"].max(axis=1), kind="stable")
        chosen[f"Most confident errors of {name}"] = by_confidence[~correct[name][by_confidence]]
        if len(models) > 1:
            chosen[f"Only {name} is correct"] = by_confidence[(only_one & correct[name])[by_confidence]]
    chosen["Samples"] = np.linspace(0, len(test.labels) - 1, min(count, len(test.labels))).astype(int)

    def describe(index: int) -> dict[str, Any]:
        predictions = {}
        for name, model in models.items():
            row = model["test"][index]
            predicted = dataset.classes[row.argmax()]
            predictions[name] = {"class": predicted, "confidence": row.max(), "correct": correct[name][index]}
        label = dataset.classes[test.labels[index]]
        return {"image": test.images[index], "index": index, "label": label, "predictions": predictions}

    return {title: [describe(index) for index in indices[:count]] for title, indices in chosen.items()}


def seen_by(models: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
    """Under each corruption, the models whose training includes this kind of change."""
    seen = {name: model["evaluation"]["seen_corruptions"] for name, model in models.items()}
    corruptions = next(iter(models.values()))["evaluation"]["metrics"]["robustness"]
    return {corruption: [name for name in seen if corruption in seen[name]] for corruption in corruptions}


def first_corrupted() -> dict[str, NDArray[np.uint8]]:
    """The first test image under each corruption, uint8 (28, 28)."""
    with np.load(DERIVED / "corrupted.npz") as corrupted:
        return {name: corrupted[name][0] for name in corrupted.files}
