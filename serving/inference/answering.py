"""The models' answers to requests, timed and counted for Prometheus."""

import time
from collections import Counter
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recognition.model import Model
from serving.telemetry import metrics

Rows = list[dict[str, Any]]


def answer(model: Model, images: NDArray[np.uint8]) -> Rows:
    """Answers images, uint8 (n, 28, 28), as `Model.answer` does. May be called from any thread."""
    started = time.perf_counter()
    rows = model.answer(images)
    _seconds(model.name).observe(time.perf_counter() - started)
    name, version, classes = model.name, str(model.version), model.card["classes"]
    for (prediction, reason), count in Counter((row["prediction"], row["reason"]) for row in rows).items():
        _predictions(name, version, str(classes[prediction])).inc(count)
        if reason is not None:
            _uncertain(name, version, reason).inc(count)
    return rows


# Looked up once: `labels` takes longer than the count
_seconds = lru_cache(maxsize=None)(metrics.MODEL_SECONDS.labels)
_predictions = lru_cache(maxsize=None)(metrics.PREDICTIONS.labels)
_uncertain = lru_cache(maxsize=None)(metrics.UNCERTAIN_PREDICTIONS.labels)
