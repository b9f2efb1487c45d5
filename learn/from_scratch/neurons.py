"""One neuron: the inner product, Rosenblatt's perceptron and the line it draws."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


def inner_product(x: Array, w: Array) -> float:
    """Formula 1: inner product. `x`, `w`: (d,)."""
    return float(sum(x_i * w_i for x_i, w_i in zip(x, w, strict=True)))


def weighted_sum(x: Array, w: Array, b: float) -> float:
    """Formula 2: weighted sum of a neuron. `x`, `w`: (d,)."""
    return inner_product(x, w) + b


def perceptron(x: Array, w: Array, b: float) -> int:
    """Formula 3: perceptron, 1 or 0. `x`, `w`: (d,)."""
    return int(weighted_sum(x, w, b) > 0)


def signed_distance(x: Array, w: Array, b: float) -> float:
    """Formula 4: signed distance from the boundary, positive on the side answered 1. `x`, `w`: (d,)."""
    return weighted_sum(x, w, b) / float(np.sqrt(inner_product(w, w)))


def perceptron_update(x: Array, target: int, w: Array, b: float) -> tuple[Array, float]:
    """Formula 5: perceptron learning rule (Rosenblatt 1958). `x`, `w`: (d,); returns the new (w, b)."""
    error = target - perceptron(x, w, b)
    return w + error * x, b + error
