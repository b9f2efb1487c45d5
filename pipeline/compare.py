"""Stage `compare`: the models side by side, the verdict, and the report that people read."""

import shutil
from typing import Any

import numpy as np
import pandas as pd

from pipeline.console import run_main, say
from pipeline.data.datasets import load_dataset
from pipeline.data.splits import load_split
from pipeline.evaluation.model_selection import headline, judge
from pipeline.files import read_json, write_json, write_text
from pipeline.params import load_params
from pipeline.paths import EVALUATIONS, MODELS, REPORTS
from pipeline.reporting.comparison import CHARTS, corrupted_example, draw_charts, find_pictures
from pipeline.reporting.rendering import render


def main() -> None:
    params = load_params()
    splits = {name: load_split(name) for name in ("train", "val", "test")}
    dataset_name = splits["val"].dataset
    dataset = load_dataset(dataset_name)
    models = {name: load_model(name) for name in params.models}
    correct = {name: model["val"].argmax(axis=1) == splits["val"].labels for name, model in models.items()}
    corrupted = {name: model["right_when_corrupted"] for name, model in models.items()}
    verdict = judge(correct, corrupted, {name: model["cost"] for name, model in models.items()}, params.compare)
    comparison: dict[str, Any] = {
        "dataset": dataset_name,
        "title": dataset.title,
        "headline": headline(verdict, {name: float(right.mean()) for name, right in correct.items()}),
        "verdict": verdict.to_json(),
        "models": {
            name: {**model["evaluation"]["metrics"], "cost": model["cost"], "digest": model["evaluation"]["digest"]}
            for name, model in models.items()
        },
    }
    write_json(REPORTS / "comparison.json", comparison)
    per_class = {name: model["evaluation"]["per_class"]["test"]["classes"] for name, model in models.items()}
    images = {name: len(split.labels) for name, split in splits.items()}
    names = " and ".join(filter(None, [", ".join([*models][:-1]), [*models][-1]]))
    tables = {"comparison": comparison, "dataset": dataset, "images": images, "per_class": per_class, "names": names}
    write_text(REPORTS / "comparison.md", render("comparison.md", **tables))
    charts = draw_charts(models, dataset, splits)
    shutil.rmtree(REPORTS / CHARTS, ignore_errors=True)
    for name, chart in charts.items():
        write_text(REPORTS / CHARTS / f"{name}.svg", chart)
    pictures = {
        "galleries": find_pictures(models, splits["test"], dataset, params.compare),
        "corrupted": corrupted_example(),
    }
    write_text(REPORTS / "comparison.html", render("comparison.html", **tables, charts=charts, **pictures))
    say(comparison["headline"])
    say("report: reports/comparison.html")


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
            "right_when_corrupted": predictions["right_when_corrupted"],
        }


if __name__ == "__main__":
    run_main(main)
