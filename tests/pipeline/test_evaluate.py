"""The reports of one model, and the known digits that verify copies of it."""

from pathlib import Path

import numpy as np

from pipeline import evaluate
from pipeline.data.datasets import load_dataset
from pipeline.data.splits import Split
from pipeline.files import read_json
from tests.conftest import drawn_digits


def test_the_tables_of_a_model(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(evaluate, "render", lambda template, **values: f"{template} of {values['name']}")
    dataset = load_dataset("mnist").model_copy(update={"classes": ["a", "b", "c"]})
    probabilities = np.array([[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1]])
    test = Split("mnist", np.zeros((3, 28, 28), np.uint8), np.array([0, 1, 1], np.uint8))
    metrics = {"robustness": {"mean_error": 0.2, "fog": 0.2}}
    reliability = [{"confidence": 0.7, "accuracy": 0.5}]
    evaluation = {"metrics": metrics, "reliability": reliability, "seen_corruptions": ["fog"]}
    evaluate.write_reports(tmp_path / "cnn", {}, evaluation, probabilities, test, dataset)
    assert {path.name: path.read_text().splitlines() for path in (tmp_path / "cnn").glob("*.csv")} == {
        "confusion.csv": ["label,predicted", "a,a", "b,a", "b,b"],
        "robustness.csv": ["corruption,error,seen", "mean_error,0.2,False", "fog,0.2,True"],
        "reliability.csv": ["confidence,accuracy", "0.7,0.5"],
    }
    assert read_json(tmp_path / "cnn" / "metrics.json") == metrics
    assert (tmp_path / "cnn" / "model_card.md").read_text() == "model_card.md of cnn"


def test_known_digits_are_the_most_confident_correct_images() -> None:
    images, labels = drawn_digits(3)
    probabilities = np.full((30, 10), 0.05, np.float32)
    probabilities[np.arange(30), labels] = 0.55
    probabilities[4, 1] = 0.9  # the second image of class 1 has the highest confidence
    probabilities[6, 2], probabilities[6, 3] = 0.1, 0.99  # the first image of class 2 is confident and wrong
    known = evaluate.known_digits(probabilities, Split("mnist", images, labels))
    assert known["labels"].tolist() == list(range(10))
    assert np.array_equal(known["images"][1], images[4])
    assert np.array_equal(known["images"][2], images[7])
    assert np.array_equal(known["probabilities"][1], probabilities[4])
