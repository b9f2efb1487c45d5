"""The tables of one model, in the form that `dvc plots` draws."""

from pathlib import Path

import numpy as np

from pipeline.data.datasets import load_dataset
from pipeline.data.splits import Split
from pipeline.files import read_json
from pipeline.reporting import model_card


def test_the_tables_of_a_model(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(model_card, "render", lambda template, **values: f"{template} of {values['name']}")
    dataset = load_dataset("mnist").model_copy(update={"classes": ["a", "b", "c"]})
    probabilities = np.array([[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1]])
    test = Split("mnist", np.zeros((3, 28, 28), np.uint8), np.array([0, 1, 1], np.uint8))
    metrics = {"robustness": {"mean_error": 0.2, "fog": 0.2}}
    evaluation = {"metrics": metrics, "reliability": [{"confidence": 0.7, "accuracy": 0.5}]}
    model_card.write_model_reports(tmp_path / "cnn", {}, evaluation, probabilities, test, dataset)
    assert {path.name: path.read_text().splitlines() for path in (tmp_path / "cnn").glob("*.csv")} == {
        "confusion.csv": ["label,predicted", "a,a", "b,a", "b,b"],
        "robustness.csv": ["corruption,error", "mean_error,0.2", "fog,0.2"],
        "reliability.csv": ["confidence,accuracy", "0.7,0.5"],
    }
    assert read_json(tmp_path / "cnn" / "metrics.json") == metrics
    assert (tmp_path / "cnn" / "model_card.md").read_text() == "model_card.md of cnn"
