"""The charts, pictures and tables of the comparison report. `python -m pipeline.reporting.comparison` opens it."""

import contextlib
import webbrowser
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from pipeline.console import PipelineError, run_main, say
from pipeline.data.datasets import Dataset
from pipeline.data.splits import Split
from pipeline.evaluation.statistics import Correct, Probabilities
from pipeline.files import read_json
from pipeline.params import Compare
from pipeline.paths import DERIVED, REFERENCES, REPORTS
from pipeline.reporting import charts

CHARTS = "comparison.charts"  # no model can have that name, so it collides with no model's folder


def main() -> None:
    """Open the report in a browser, and name it in any case."""
    if not (REPORTS / "comparison.html").exists():
        raise PipelineError("there is no reports/comparison.html yet; run: make repro")
    say(str(REPORTS / "comparison.html"))
    with contextlib.suppress(webbrowser.Error):
        webbrowser.open((REPORTS / "comparison.html").as_uri())


def draw_charts(models: dict[str, dict[str, Any]], dataset: Dataset, splits: dict[str, Split]) -> dict[str, Markup]:
    """The report's charts as SVG, by name."""
    counts = {
        name: np.bincount(split.labels, minlength=len(dataset.classes)).tolist() for name, split in splits.items()
    }
    found = {name: model["evaluation"] for name, model in models.items()}
    thresholds = {name: evaluation["metrics"]["val"]["threshold"] for name, evaluation in found.items()}
    costs = {
        name: {**model["cost"], "kilobytes": model["cost"]["bytes"] / 1000, **found[name]["metrics"]["test"]}
        for name, model in models.items()
    }
    references = load_references(dataset)

    def each(key: str) -> dict[str, Any]:
        return {name: evaluation[key] for name, evaluation in found.items()}

    figures = {
        "learning": charts.learning_curves({name: model["history"] for name, model in models.items()}),
        "reliability": charts.reliability_diagram(each("reliability"), each("reliability_before_temperature")),
        "risk and coverage": charts.risk_coverage(each("risk_coverage"), thresholds),
        "robustness": charts.robustness_bars(
            {name: metrics["robustness"] for name, metrics in each("metrics").items()}
        ),
        "multiply-adds": charts.accuracy_against("multiply_adds", "multiply-adds for one image", costs, references),
        "size": charts.accuracy_against("kilobytes", "size of the file (kB)", costs, references),
        "classes": charts.classes_per_split(counts, dataset.classes),
    }
    for change in charts.UNITS:
        curves = {name: curve[change] for name, curve in each("sensitivity").items()}
        figures[f"sensitivity to {change}"] = charts.sensitivity_curve(curves, change)
    for index, (name, evaluation) in enumerate(found.items()):
        matrix = np.array(evaluation["per_class"]["test"]["confusion"])
        figures[f"confusion of {name}"] = charts.confusion(matrix, dataset.classes, index)
    return {name: charts.figure_to_svg(figure, name) for name, figure in figures.items()}


def load_references(dataset: Dataset) -> list[dict[str, Any]]:
    """Other people's models from docs/references.json, where there is one: name, accuracy (share) and costs.

    An entry may name its `dataset`; without one it is about MNIST.
    """
    if not REFERENCES.exists():
        return []
    content = read_json(REFERENCES)
    entries = content["models"] if isinstance(content, dict) else content
    mine = [entry for entry in entries if entry.get("dataset", "MNIST").lower() == dataset.title.lower()]
    return [{**entry, "kilobytes": (entry.get("bytes") or 0) / 1000} for entry in mine]


def find_pictures(
    models: dict[str, dict[str, Any]], test: Split, dataset: Dataset, settings: Compare
) -> dict[str, list[dict[str, Any]]]:
    """Test images worth a look: samples, each model's most confident mistakes, those that only one model gets right."""
    right = {name: model["test"].argmax(axis=1) == test.labels for name, model in models.items()}
    alone = np.sum(list(right.values()), axis=0) == 1
    samples = np.linspace(0, len(test.labels) - 1, min(settings.pictures, len(test.labels))).astype(int)
    order = {}
    for name, model in models.items():
        confidence = model["test"].max(axis=1)

        def surest(chosen: Correct, confidence: Probabilities = confidence) -> NDArray[np.intp]:
            places = np.flatnonzero(chosen)
            return places[np.argsort(-confidence[places], kind="stable")]

        order[f"Most confident mistakes of {name}"] = surest(~right[name])
        if len(models) > 1:
            order[f"Only {name} is right"] = surest(alone & right[name])
    order["Samples"] = samples
    return {
        title: [describe(int(index), models, test, dataset) for index in indices[: settings.pictures]]
        for title, indices in order.items()
    }


def corrupted_example() -> dict[str, NDArray[np.uint8]]:
    """The first test image under each corruption, uint8 (28, 28)."""
    with np.load(DERIVED / "corrupted.npz") as corrupted:
        return {name: corrupted[name][0] for name in corrupted.files}


def describe(index: int, models: dict[str, dict[str, Any]], test: Split, dataset: Dataset) -> dict[str, Any]:
    """One picture with its label and every model's answer."""

    def answer(probabilities: Probabilities) -> dict[str, Any]:
        best = int(probabilities[index].argmax())
        return {
            "class": dataset.classes[best],
            "confidence": float(probabilities[index, best]),
            "right": best == test.labels[index],
        }

    return {
        "image": test.images[index],
        "index": index,
        "label": dataset.classes[test.labels[index]],
        "answers": {name: answer(model["test"]) for name, model in models.items()},
    }


if __name__ == "__main__":
    run_main(main)
