"""The exported model file: its cost, and known digits by which a copy of it is verified."""

import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.data.splits import Split
from pipeline.evaluation.calibration import Probabilities
from recognition.classifier import Classifier


def measure_cost(
    file: Path, classifier: Classifier, run: dict[str, Any], images: NDArray[np.uint8], calls: int
) -> dict[str, Any]:
    """Parameters, multiply-adds, file size (bytes), and the latency of one image (microseconds) over `calls` calls."""
    latencies = []
    for index in range(calls):
        image = images[index % len(images)][None]
        start = time.perf_counter_ns()
        classifier.probabilities(image)
        latencies.append((time.perf_counter_ns() - start) / 1000)
    return {
        "parameters": run["parameters"],
        "multiply_adds": run["multiply_adds"],
        "bytes": file.stat().st_size,
        "format": run["export"]["format"],
        "latency_median_us": round(statistics.median(latencies), 1),
        "latency_p99_us": round(float(np.quantile(latencies, 0.99)), 1),
    }


def known_digits(probabilities: Probabilities, val: Split) -> dict[str, NDArray[Any]]:
    """Images, labels and probabilities of the most confident correct validation image of each class."""
    confidence = np.where(probabilities.argmax(axis=1) == val.labels, probabilities.max(axis=1), -1)
    classes = range(probabilities.shape[1])
    chosen = [int(np.argmax(np.where(val.labels == label, confidence, -2))) for label in classes]
    return {"images": val.images[chosen], "labels": val.labels[chosen], "probabilities": probabilities[chosen]}
