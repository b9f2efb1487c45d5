"""Stage `evaluate@NAME`: computes all metrics of one model from the exported file."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from pipeline.console import run_main, say
from pipeline.data.datasets import Dataset, load_dataset
from pipeline.data.splits import Split, load_split
from pipeline.evaluation import metrics
from pipeline.evaluation.calibration import Probabilities
from pipeline.evaluation.ood_fit import fit_and_evaluate, fit_whole_digit_score, to_card
from pipeline.evaluation.reference import REFERENCE_FILE, make_reference, save_reference
from pipeline.files import read_json, replacing, sha256, write_json, write_text
from pipeline.params import load_params
from pipeline.paths import DERIVED, EVALUATIONS, MODELS, REPORTS
from pipeline.reporting.rendering import render
from recognition.classifier import Classifier


def main(name: str) -> None:
    params = load_params()
    settings, file, folder = params.evaluate, MODELS / name / "model.tflite", EVALUATIONS / name
    classifier, training = Classifier(file), read_json(MODELS / name / "training.json")
    splits = {split: load_split(split) for split in ("test", "val", "tune")}
    splits |= {split: load_split(split, DERIVED) for split in ("calibration", "forms")}
    test, val = splits["test"], splits["val"]
    dataset = load_dataset(val.dataset)
    probabilities = {split: classifier.probabilities(data.images) for split, data in splits.items()}
    with threadpool_limits(1):  # the order of summation, and so the last digits, depend on the number of threads
        rate = settings.false_rejection_rate
        ood_score, ood_rates, rejected = fit_and_evaluate(classifier, probabilities, splits, rate)
        whole_digit_score = fit_whole_digit_score(classifier)
    details = metrics.compute_metrics(probabilities, splits, dataset, training["temperature"], settings)
    details["metrics"]["out_of_distribution"] = ood_rates
    threshold, bins = details["metrics"]["val"]["threshold"], settings.calibration_bins
    seen = metrics.seen_corruptions(params.models[name].augmentation)
    errors, corrupted = metrics.corruption_metrics(classifier, test.labels, seen, threshold, bins)
    details["metrics"] |= {"robustness": errors, "corrupted": corrupted}
    if len(labels := splits["forms"].labels):
        details["metrics"]["forms"] = metrics.derived_metrics(probabilities["forms"], labels, threshold, bins)
    details["seen_corruptions"] = seen
    details["sensitivity"] = metrics.sensitivity(classifier, test.labels)
    evaluation = metrics.rounded({"dataset": val.dataset, "digest": sha256(file), **details})
    cost = metrics.cost(file, training)
    latency = metrics.measure_latency(classifier, val.images, settings.latency_calls)
    evidence = {
        "val": probabilities["val"],
        "test": probabilities["test"],
        "corruption_accuracy": metrics.corruption_accuracy(classifier, val.labels),
        "ood_rejected": rejected,
    }
    uncertain = probabilities["val"].max(axis=1) < evaluation["metrics"]["val"]["threshold"]
    uncertain |= ood_score.rejects(probabilities["val"], val.images)
    reference = make_reference(load_split("train").images, val, probabilities["val"], uncertain)

    write_json(folder / "evaluation.json", evaluation)
    write_json(folder / "ood_score.json", to_card(ood_score))
    write_json(folder / "whole_digit_score.json", to_card(whole_digit_score))
    write_json(folder / "cost.json", cost)
    # Not a DVC output, because it differs between two runs; the digest names the model that it belongs to
    write_json(folder / "latency.json", {"digest": evaluation["digest"], **latency})
    with replacing(folder / "predictions.npz") as output:
        np.savez_compressed(output, **evidence)  # type: ignore[arg-type]  # names are keywords
    with replacing(folder / "known_digits.npz") as output:
        np.savez(output, **known_digits(probabilities["val"], val))  # type: ignore[arg-type]  # names are keywords
    save_reference(folder / REFERENCE_FILE, reference)
    images = {split: len(data.labels) for split, data in splits.items()}
    card = {"settings": params.models[name], "record": training, "cost": cost, "images": images}
    write_reports(REPORTS / name, card, evaluation, probabilities["test"], test, dataset)
    figures = evaluation["metrics"]["test"]
    interval = f"95% interval {figures['accuracy_low']:.2%} to {figures['accuracy_high']:.2%}"
    say(f"{name}: test accuracy {figures['accuracy']:.2%} ({interval})")


def known_digits(probabilities: Probabilities, val: Split) -> dict[str, NDArray[Any]]:
    """Images, labels and probabilities of the most confident correct validation image of each class."""
    confidence = np.where(probabilities.argmax(axis=1) == val.labels, probabilities.max(axis=1), -1)
    classes = range(probabilities.shape[1])
    chosen = [int(np.argmax(np.where(val.labels == label, confidence, -2))) for label in classes]
    return {"images": val.images[chosen], "labels": val.labels[chosen], "probabilities": probabilities[chosen]}


def write_reports(
    folder: Path,
    details: dict[str, Any],
    evaluation: dict[str, Any],
    probabilities: Probabilities,
    test: Split,
    dataset: Dataset,
) -> None:
    """Write `model_card.md`, `metrics.json`, `confusion.csv`, `robustness.csv` and `reliability.csv` to `folder`.

    `details`: further values of the card's template; `probabilities`: (n, classes), for the images of `test`.
    """
    write_json(folder / "metrics.json", evaluation["metrics"])
    card = render("model_card.md", name=folder.name, dataset=dataset, evaluation=evaluation, **details)
    write_text(folder / "model_card.md", card)
    names = np.array(dataset.classes)
    errors = evaluation["metrics"]["robustness"]
    seen = [name in evaluation["seen_corruptions"] for name in errors]
    for table, rows in (
        ("confusion", {"label": names[test.labels], "predicted": names[probabilities.argmax(axis=1)]}),
        ("robustness", {"corruption": [*errors], "error": [*errors.values()], "seen": seen}),
        ("reliability", evaluation["reliability"]),
    ):
        pd.DataFrame(rows).to_csv(folder / f"{table}.csv", index=False)


if __name__ == "__main__":
    run_main(main)
