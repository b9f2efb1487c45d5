"""Stage `evaluate@NAME`: everything that is said of one model, from the exported file's answers alone."""

import json
import statistics as times
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support
from threadpoolctl import threadpool_limits

from pipeline.datasets import Split, load_split
from pipeline.files import read_json, replacing, sha256, write_json, write_text
from pipeline.inference import Classifier
from pipeline.params import Dataset, Evaluate, load_dataset, load_params
from pipeline.paths import EVALUATIONS, MODELS, REPORTS
from pipeline.refusal import fit_and_test, to_card
from pipeline.rendering import render
from pipeline.robustness import corruption_errors, right_when_corrupted, sensitivity
from pipeline.selective import at_threshold, before_temperature, risk_coverage
from pipeline.statistics import (
    Labels,
    Probabilities,
    accuracy_interval,
    brier_score,
    cross_entropy,
    expected_calibration_error,
    reliability,
    reliable_threshold,
)
from pipeline.terminal import say, stage

EVALUATED = ("test", "val")


def main(name: str) -> None:
    params = load_params()
    model, folder = MODELS / name / "model.tflite", EVALUATIONS / name
    classifier, record = Classifier(model), read_json(MODELS / name / "run.json")
    splits = {split: load_split(split) for split in EVALUATED}
    answers = {split: classifier.probabilities(data.images) for split, data in splits.items()}
    dataset = load_dataset(splits["val"].dataset)
    with threadpool_limits(1):  # sums over several threads round otherwise: the same bytes everywhere
        score, rates = fit_and_test(classifier, answers, splits, params.evaluate.refused_digits)
    details = judge(answers, splits, dataset, record["temperature"], params.evaluate)
    details["metrics"] |= {"not_a_digit": rates, "robustness": corruption_errors(classifier, splits["test"].labels)}
    details["sensitivity"] = sensitivity(classifier, splits["test"].labels)
    details = rounded({"dataset": splits["val"].dataset, "digest": sha256(model), **details})
    costs = cost(name, model, classifier, splits["val"], params.evaluate)
    write_json(folder / "evaluation.json", details)
    write_json(folder / "not_a_digit.json", to_card(score))
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


def judge(
    answers: dict[str, Probabilities],
    splits: dict[str, Split],
    dataset: Dataset,
    temperature: float,
    settings: Evaluate,
) -> dict[str, Any]:
    """All that follows from the answers (n, classes) to each split alone, from one array of them."""
    labels, bins = splits["test"].labels, settings.calibration_bins
    uncalibrated = before_temperature(answers["test"], temperature)
    metrics = {split: measure(answers[split], data.labels, settings) for split, data in splits.items()}
    threshold = reliable_threshold(answers["val"], splits["val"].labels, settings.reliable_accuracy)
    metrics["val"]["threshold"] = threshold
    metrics["test"] |= further_measures(answers["test"], uncalibrated, labels, dataset, threshold, settings)
    return {
        "metrics": metrics,
        "per_class": {split: per_class(answers[split], data.labels, dataset.classes) for split, data in splits.items()},
        "reliability": reliability(answers["test"], labels, bins),
        "reliability_before_temperature": reliability(uncalibrated, labels, bins),
        "risk_coverage": risk_coverage(answers["test"], labels),
    }


def measure(probabilities: Probabilities, labels: Labels, settings: Evaluate) -> dict[str, float]:
    """Accuracy with its interval, cross-entropy (nats), Brier score, calibration error; shares are 0..1."""
    correct = probabilities.argmax(axis=1) == labels
    low, high = accuracy_interval(correct)
    return {
        "accuracy": float(correct.mean()),
        "accuracy_low": low,
        "accuracy_high": high,
        "cross_entropy": cross_entropy(probabilities, labels),
        "brier": brier_score(probabilities, labels),
        "ece": expected_calibration_error(probabilities, labels, settings.calibration_bins),
    }


def further_measures(
    probabilities: Probabilities,
    uncalibrated: Probabilities,
    labels: Labels,
    dataset: Dataset,
    threshold: float,
    settings: Evaluate,
) -> dict[str, float]:
    """Of the test images alone: calibration error without the temperature, what the threshold leaves, label noise."""
    kept = at_threshold(probabilities, labels, threshold)
    correct = probabilities.argmax(axis=1) == labels
    found = {
        "ece_before_temperature": expected_calibration_error(uncalibrated, labels, settings.calibration_bins),
        "coverage_above_threshold": kept["coverage"],
        "accuracy_above_threshold": kept["accuracy"],
    }
    if dataset.contested_labels:
        found["accuracy_without_contested_labels"] = float(np.delete(correct, dataset.contested_labels).mean())
    return found


def per_class(probabilities: Probabilities, labels: Labels, classes: list[str]) -> dict[str, Any]:
    """Precision, recall, F1 and number of images by class, and the confusion matrix (rows: labels)."""
    predictions, numbers = probabilities.argmax(axis=1), list(range(len(classes)))
    measures = precision_recall_fscore_support(labels, predictions, labels=numbers, zero_division=0.0)
    table = {
        name: {
            "precision": round(float(precision), 6),
            "recall": round(float(recall), 6),
            "f1": round(float(f1), 6),
            "images": int(images),
        }
        for name, precision, recall, f1, images in zip(classes, *measures, strict=True)
    }
    return {"classes": table, "confusion": confusion_matrix(labels, predictions, labels=numbers).tolist()}


def rounded(content: Any) -> Any:
    """The same content with six digits behind the point: enough for every use, and readable in a diff."""
    return json.loads(json.dumps(content), parse_float=lambda text: round(float(text), 6))


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
    stage(main)
