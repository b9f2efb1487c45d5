"""Stage `evaluate@NAME`: everything that is said of one model, from the exported file's answers alone."""

import statistics as times
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from pipeline.console import run_main, say
from pipeline.data.datasets import load_dataset
from pipeline.data.splits import Split, load_split
from pipeline.evaluation.metrics import judge, rounded
from pipeline.evaluation.ood_fit import fit_and_test, to_card
from pipeline.evaluation.robustness import corruption_errors, right_when_corrupted, sensitivity
from pipeline.evaluation.statistics import (
    Labels,
    Probabilities,
)
from pipeline.files import read_json, replacing, sha256, write_json, write_text
from pipeline.params import Evaluate, load_params
from pipeline.paths import EVALUATIONS, MODELS, REPORTS
from pipeline.reporting.rendering import render
from recognition.classifier import Classifier

EVALUATED = ("test", "val")


def main(name: str) -> None:
    params = load_params()
    model, folder = MODELS / name / "model.tflite", EVALUATIONS / name
    classifier, record = Classifier(model), read_json(MODELS / name / "run.json")
    splits = {split: load_split(split) for split in EVALUATED}
    answers = {split: classifier.probabilities(data.images) for split, data in splits.items()}
    dataset = load_dataset(splits["val"].dataset)
    with threadpool_limits(1):  # sums over several threads round otherwise: the same bytes everywhere
        score, rates = fit_and_test(classifier, answers, splits, params.evaluate.false_rejection_rate)
    details = judge(answers, splits, dataset, record["temperature"], params.evaluate)
    details["metrics"] |= {"not_a_digit": rates, "robustness": corruption_errors(classifier, splits["test"].labels)}
    details["sensitivity"] = sensitivity(classifier, splits["test"].labels)
    details = rounded({"dataset": splits["val"].dataset, "digest": sha256(model), **details})
    costs = cost(name, model, classifier, splits["val"], params.evaluate)
    write_json(folder / "evaluation.json", details)
    write_json(folder / "ood_score.json", to_card(score))
    write_json(folder / "cost.json", costs)
    with replacing(folder / "predictions.npz") as file:
        corrupted = right_when_corrupted(classifier, splits["val"].labels)
        np.savez_compressed(file, val=answers["val"], test=answers["test"], right_when_corrupted=corrupted)
    save_known_digits(folder / "known_digits.npz", answers["val"], splits["val"], len(dataset.classes))
    write_json(REPORTS / name / "metrics.json", details["metrics"])
    write_confusion(REPORTS / name / "confusion.csv", answers["test"], splits["test"].labels, dataset.classes)
    rows = pd.DataFrame(details["metrics"]["robustness"].items(), columns=["corruption", "error"])
    rows.to_csv(REPORTS / name / "robustness.csv", index=False)
    pd.DataFrame(details["reliability"]).to_csv(REPORTS / name / "reliability.csv", index=False)
    known = {"name": name, "dataset": dataset, "settings": params.models[name], "record": record, "cost": costs}
    images = {split: len(data.labels) for split, data in splits.items()}
    card = render("model_card.md", **known, images=images, evaluation=details)
    write_text(REPORTS / name / "model_card.md", card)
    test = details["metrics"]["test"]
    low, high = test["accuracy_low"], test["accuracy_high"]
    say(f"{name}: {test['accuracy']:.2%} on the test set (95% interval {low:.2%} to {high:.2%})")


def write_confusion(path: Path, probabilities: Probabilities, labels: Labels, classes: list[str]) -> None:
    """One row per test image, as `dvc plots` draws a confusion matrix from it."""
    names = np.array(classes)
    rows = pd.DataFrame({"label": names[labels], "predicted": names[probabilities.argmax(axis=1)]})
    path.parent.mkdir(parents=True, exist_ok=True)
    rows.to_csv(path, index=False)


def cost(name: str, model: Path, classifier: Classifier, val: Split, settings: Evaluate) -> dict[str, Any]:
    """What one answer costs: parameters, multiply-adds, bytes on disk, latency of a single image in microseconds."""
    record = read_json(MODELS / name / "run.json")
    spent = []
    for index in range(settings.latency_calls):
        image = val.images[index % len(val.images)][None]
        start = time.perf_counter_ns()
        classifier.probabilities(image)
        spent.append((time.perf_counter_ns() - start) / 1000)
    return {
        "parameters": record["parameters"],
        "multiply_adds": record["multiply_adds"],
        "bytes": model.stat().st_size,
        "format": record["export"]["format"],
        "latency_median_us": round(times.median(spent), 1),
        "latency_p99_us": round(float(np.quantile(spent, 0.99)), 1),
    }


def save_known_digits(path: Path, probabilities: NDArray[np.float32], val: Split, classes: int) -> None:
    """For each class the validation image that was answered right with most confidence: any copy must repeat it."""
    confidence = np.where(probabilities.argmax(axis=1) == val.labels, probabilities.max(axis=1), -1)
    chosen = [int(np.argmax(np.where(val.labels == label, confidence, -2))) for label in range(classes)]
    with replacing(path) as file:
        np.savez(file, images=val.images[chosen], labels=val.labels[chosen], probabilities=probabilities[chosen])


if __name__ == "__main__":
    run_main(main)
