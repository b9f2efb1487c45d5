"""Stage `compare`: selects a model and writes the comparison report."""

import shutil
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.console import run_main, say
from pipeline.data.datasets import load_dataset
from pipeline.data.splits import load_split
from pipeline.evaluation.model_selection import Evidence, select_model
from pipeline.files import read_json, write_json, write_text
from pipeline.params import load_params
from pipeline.paths import DERIVED, EVALUATIONS, MODELS, REPORTS
from pipeline.reporting.charts import MANY
from pipeline.reporting.comparison import (
    CHARTS,
    draw_charts,
    find_images,
    first_corrupted,
    frequent_confusions,
    seen_by,
)
from pipeline.reporting.rendering import render


def main() -> None:
    params = load_params()
    splits = {name: load_split(name) for name in ("train", "tune", "val", "test")}
    val = splits["val"]
    dataset = load_dataset(val.dataset)
    models = {name: load_results(name) for name in params.models}
    evidence = {name: evidence_of(model, val.labels) for name, model in models.items()}
    selection = select_model(evidence, params.selection)
    comparison: dict[str, Any] = {
        "dataset": val.dataset,
        "title": dataset.title,
        "headline": selection.headline,
        "selection": asdict(selection),
        "models": {
            name: {**model["evaluation"]["metrics"], "cost": model["cost"], "digest": model["evaluation"]["digest"]}
            for name, model in models.items()
        },
    }
    charts = draw_charts(models, dataset, splits)
    content = {
        "comparison": comparison,
        "dataset": dataset,
        "images": {name: len(split.labels) for name, split in splits.items()},
        "per_class": {name: model["evaluation"]["per_class"]["test"]["classes"] for name, model in models.items()},
        "charts": charts,
        "confusions": {name: confusions_of(model, dataset.classes) for name, model in models.items()},
        "galleries": find_images(models, splits["test"], dataset, params.compare.pictures),
        "corrupted": first_corrupted(),
        "seen": seen_by(models),
        "forms": load_split("forms", DERIVED).images[: params.compare.pictures],
    }

    write_json(REPORTS / "comparison.json", comparison)
    for file in ("comparison.md", "comparison.html"):
        write_text(REPORTS / file, render(file, **content))
    shutil.rmtree(REPORTS / CHARTS, ignore_errors=True)
    for name, chart in charts.items():
        write_text(REPORTS / CHARTS / f"{name}.svg", chart)
    say(comparison["headline"])
    say("report: reports/comparison.html")


def confusions_of(model: dict[str, Any], classes: list[str]) -> list[dict[str, Any]]:
    """The most frequent errors of a model on the test images; empty if its confusion matrix is small."""
    matrix = np.array(model["evaluation"]["per_class"]["test"]["confusion"])
    return frequent_confusions(matrix, classes) if len(classes) > MANY else []


def evidence_of(model: dict[str, Any], labels: NDArray[np.uint8]) -> Evidence:
    """The evidence for a model's selection, from its results; `labels`: of the validation images."""
    clean = model["val"].argmax(axis=1) == labels
    return Evidence(clean, model["corruption_accuracy"], model["ood_rejected"], np.zeros(0, bool), model["cost"])


def load_results(name: str) -> dict[str, Any]:
    """Results of one model: training history, evaluation, cost, and the arrays of `predictions.npz`."""
    folder = EVALUATIONS / name
    with np.load(folder / "predictions.npz") as predictions:
        return {
            **predictions,
            "evaluation": read_json(folder / "evaluation.json"),
            "cost": read_json(folder / "cost.json"),
            "history": pd.read_csv(MODELS / name / "history.csv"),
        }


if __name__ == "__main__":
    run_main(main)
