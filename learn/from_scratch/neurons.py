"""A single neuron: inner product, pre-activation, the perceptron and its decision boundary."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


def inner_product(x: Array, w: Array) -> float:
    """Formula 1: inner product. `x`, `w`: (d,)."""
    return float(sum(x_i * w_i for x_i, w_i in zip(x, w, strict=True)))


def pre_activation(x: Array, w: Array, b: float) -> float:
    """Formula 2: pre-activation of a neuron, the weighted sum of its inputs plus the bias. `x`, `w`: (d,)."""
    return inner_product(x, w) + b


def perceptron(x: Array, w: Array, b: float) -> int:
    """Formula 3: output of the perceptron, 1 or 0 (Rosenblatt 1958). `x`, `w`: (d,)."""
    return int(pre_activation(x, w, b) > 0)


def signed_distance(x: Array, w: Array, b: float) -> float:
    """Formula 4: signed distance from the decision boundary, positive where the output is 1. `x`, `w`: (d,)."""
    return pre_activation(x, w, b) / float(np.sqrt(inner_product(w, w)))


def perceptron_update(x: Array, target: int, w: Array, b: float) -> tuple[Array, float]:
    """Formula 5: perceptron learning rule (Rosenblatt 1958). `x`, `w`: (d,), `target`: 0 or 1.

    Returns the new weights and the new bias.
    """
    error = target - perceptron(x, w, b)
    return w + error * x, b + error
