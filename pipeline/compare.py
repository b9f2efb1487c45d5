"""Stage `compare`: the models side by side, the verdict, and the report that people read."""

import contextlib
import webbrowser
from typing import Any

import numpy as np
import pandas as pd

from pipeline import plots
from pipeline.datasets import Split, load_split
from pipeline.files import read_json, write_json, write_text
from pipeline.params import Compare, Dataset, load_dataset, load_params
from pipeline.paths import EVALUATIONS, MODELS, REPORTS
from pipeline.rendering import render
from pipeline.statistics import Probabilities
from pipeline.terminal import PipelineError, say, stage
from pipeline.verdict import judge


def main(argument: str = "") -> None:
    if argument == "--open":
        show()
        return
    params = load_params()
    splits = {name: load_split(name) for name in ("train", "val", "test")}
    dataset_name = splits["val"].dataset
    dataset = load_dataset(dataset_name)
    models = {name: load_model(name) for name in params.models}
    correct = {name: model["val"].argmax(axis=1) == splits["val"].labels for name, model in models.items()}
    verdict = judge(correct, {name: model["cost"] for name, model in models.items()}, params.compare)
    comparison = {
        "dataset": dataset_name,
        "title": dataset.title,
        "verdict": verdict.to_json(),
        "models": {
            name: {**model["evaluation"]["metrics"], "cost": model["cost"], "digest": model["evaluation"]["digest"]}
            for name, model in models.items()
        },
    }
    write_json(REPORTS / "comparison.json", comparison)
    tables = {"comparison": comparison, "dataset": dataset, "images": {n: len(s.labels) for n, s in splits.items()}}
    write_text(REPORTS / "comparison.md", render("comparison.md", **tables))
    charts = draw_charts(models, dataset, splits)
    galleries = find_pictures(models, splits["test"], dataset, params.compare)
    write_text(REPORTS / "comparison.html", render("comparison.html", **tables, charts=charts, galleries=galleries))
    say(verdict.reason)
    say("report: reports/comparison.html")


def show() -> None:
    """Open the report in a browser, and name it in any case."""
    if not (REPORTS / "comparison.html").exists():
        raise PipelineError("there is no reports/comparison.html yet; run: make repro")
    say(str(REPORTS / "comparison.html"))
    with contextlib.suppress(webbrowser.Error):
        webbrowser.open((REPORTS / "comparison.html").as_uri())


def load_model(name: str) -> dict[str, Any]:
    """All that was measured of one model, with its probabilities (n, classes) on `val` and `test`."""
    folder = EVALUATIONS / name
    with np.load(folder / "predictions.npz") as predictions:
        return {
            "evaluation": read_json(folder / "evaluation.json"),
            "cost": read_json(folder / "cost.json"),
            "history": pd.read_csv(MODELS / name / "history.csv"),
            "val": predictions["val"],
            "test": predictions["test"],
        }


def draw_charts(models: dict[str, dict[str, Any]], dataset: Dataset, splits: dict[str, Split]) -> dict[str, Any]:
    """The report's charts as SVG, by name."""
    svg = plots.figure_to_svg
    counts = {
        name: np.bincount(split.labels, minlength=len(dataset.classes)).tolist() for name, split in splits.items()
    }
    return {
        "learning": svg(
            plots.learning_curves({name: model["history"] for name, model in models.items()}), "Learning curves"
        ),
        "reliability": svg(
            plots.reliability_diagram({name: model["evaluation"]["reliability"] for name, model in models.items()}),
            "Reliability diagram",
        ),
        "confusion": {
            name: svg(
                plots.confusion(
                    np.array(model["evaluation"]["per_class"]["test"]["confusion"]), dataset.classes, index
                ),
                f"Confusion matrix of {name}",
            )
            for index, (name, model) in enumerate(models.items())
        },
        "classes": svg(plots.classes_per_split(counts, dataset.classes), "Images of each class"),
    }


def find_pictures(
    models: dict[str, dict[str, Any]], test: Split, dataset: Dataset, settings: Compare
) -> dict[str, list[dict[str, Any]]]:
    """Test images worth a look: samples, those on which the models disagree, each model's most confident mistakes."""
    answers = {name: model["test"].argmax(axis=1) for name, model in models.items()}
    stacked = np.stack(list(answers.values()))
    doubt = np.min([model["test"].max(axis=1) for model in models.values()], axis=0)
    disagree = np.flatnonzero((stacked != stacked[0]).any(axis=0))
    order = {
        "Samples": np.linspace(0, len(test.labels) - 1, min(settings.pictures, len(test.labels))).astype(int),
        "Where the models disagree": disagree[np.argsort(-doubt[disagree], kind="stable")],
    }
    for name, model in models.items():
        wrong = np.flatnonzero(answers[name] != test.labels)
        confidence = model["test"].max(axis=1)
        order[f"Most confident mistakes of {name}"] = wrong[np.argsort(-confidence[wrong], kind="stable")]
    return {
        title: [describe(int(index), models, test, dataset) for index in indices[: settings.pictures]]
        for title, indices in order.items()
    }


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
    stage(main)
