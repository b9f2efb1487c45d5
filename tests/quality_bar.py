"""After `make run`: hold the trained models against the quality bars of the dataset, and the service against its data.

Usage: python -m tests.quality_bar URL
"""

import sys

import numpy as np
import requests

from pipeline.datasets import load_split
from pipeline.files import read_json
from pipeline.params import load_dataset, load_params
from pipeline.paths import REPORTS

LEAST_TEST_ACCURACY = {"mnist": {"mlp": 0.985, "cnn": 0.994}}
SERVED_IMAGES = 256


def main(url: str) -> None:
    params = load_params()
    comparison = read_json(REPORTS / "comparison.json")
    name = params.data.dataset
    assert comparison["dataset"] == name, f"trained on {comparison['dataset']}, not on {name}: no mirror was reached"
    bars = load_dataset(name)
    for model, figures in comparison["models"].items():
        val, test = figures["val"]["accuracy"], figures["test"]["accuracy"]
        least = LEAST_TEST_ACCURACY.get(name, {}).get(model, 0.0)
        print(f"{model}: validation {val:.2%} (bar {bars.bar(model):.2%}), test {test:.2%} (least {least:.2%})")
        assert val >= bars.bar(model) and test >= least
    served = requests.get(f"{url}/model", timeout=10).json()
    assert served["dataset"] == name and set(served["models"]) == set(params.models)
    split = load_split("test")
    body = {"images": split.images[:SERVED_IMAGES].tolist()}
    results = requests.post(f"{url}/predict_pixels", json=body, timeout=60).json()["results"]
    right = np.mean([row["prediction"] for row in results] == split.labels[:SERVED_IMAGES])
    print(f"served by {served['champion']}: {right:.2%} of {SERVED_IMAGES} test images right")
    assert right >= 0.98


if __name__ == "__main__":
    main(sys.argv[1])
