"""Stage `evaluate@NAME`: computes all metrics of one model from the exported file."""

import numpy as np
from threadpoolctl import threadpool_limits

from pipeline.console import run_main, say
from pipeline.data.datasets import load_dataset
from pipeline.data.splits import load_split
from pipeline.evaluation.exported_model import known_digits, measure_cost
from pipeline.evaluation.metrics import compute_metrics, rounded
from pipeline.evaluation.ood_fit import fit_and_evaluate, to_card
from pipeline.evaluation.robustness import corruption_accuracy, corruption_errors, sensitivity
from pipeline.files import read_json, replacing, sha256, write_json
from pipeline.params import load_params
from pipeline.paths import EVALUATIONS, MODELS, REPORTS
from pipeline.reporting.model_card import write_model_reports
from recognition.classifier import Classifier


def main(name: str) -> None:
    params = load_params()
    settings, file, folder = params.evaluate, MODELS / name / "model.tflite", EVALUATIONS / name
    classifier, run = Classifier(file), read_json(MODELS / name / "run.json")
    splits = {split: load_split(split) for split in ("test", "val")}
    test, val = splits["test"], splits["val"]
    dataset = load_dataset(val.dataset)
    probabilities = {split: classifier.probabilities(data.images) for split, data in splits.items()}
    with threadpool_limits(1):  # the order of summation, and so the last digits, depend on the number of threads
        ood_score, ood_rates = fit_and_evaluate(classifier, probabilities, splits, settings.false_rejection_rate)
    details = compute_metrics(probabilities, splits, dataset, run["temperature"], settings)
    details["metrics"]["out_of_distribution"] = ood_rates
    details["metrics"]["robustness"] = corruption_errors(classifier, test.labels)
    details["sensitivity"] = sensitivity(classifier, test.labels)
    evaluation = rounded({"dataset": val.dataset, "digest": sha256(file), **details})
    cost = measure_cost(file, classifier, run, val.images, settings.latency_calls)
    share = corruption_accuracy(classifier, val.labels)

    write_json(folder / "evaluation.json", evaluation)
    write_json(folder / "ood_score.json", to_card(ood_score))
    write_json(folder / "cost.json", cost)
    with replacing(folder / "predictions.npz") as output:
        np.savez_compressed(output, val=probabilities["val"], test=probabilities["test"], right_when_corrupted=share)
    with replacing(folder / "known_digits.npz") as output:
        np.savez(output, **known_digits(probabilities["val"], val))  # type: ignore[arg-type]  # names are keywords
    images = {split: len(data.labels) for split, data in splits.items()}
    card = {"settings": params.models[name], "record": run, "cost": cost, "images": images}
    write_model_reports(REPORTS / name, card, evaluation, probabilities["test"], test, dataset)
    figures = evaluation["metrics"]["test"]
    interval = f"95% interval {figures['accuracy_low']:.2%} to {figures['accuracy_high']:.2%}"
    say(f"{name}: test accuracy {figures['accuracy']:.2%} ({interval})")


if __name__ == "__main__":
    run_main(main)
