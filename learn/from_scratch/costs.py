"""What a layer costs: numbers to learn, and multiplications to classify one image."""

from typing import NamedTuple


class Cost(NamedTuple):
    """Cost of a layer."""

    parameters: int
    multiplications: int


def dense_cost(inputs: int, outputs: int) -> Cost:
    """Formula 45: cost of a dense layer with bias."""
    return Cost(inputs * outputs + outputs, inputs * outputs)


def convolution_cost(kernel: int, inputs: int, outputs: int, size: int) -> Cost:
    """Formula 46: cost of a convolution with bias, square kernel; `size`: side of its output."""
    weights = kernel * kernel * inputs * outputs
    return Cost(weights + outputs, weights * size * size)
