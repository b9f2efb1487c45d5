"""The cost of a layer: its parameters, and its multiplications for one image."""

from typing import NamedTuple


class Cost(NamedTuple):
    """Number of trainable parameters, and of multiplications for one image."""

    parameters: int
    multiplications: int


def dense_cost(inputs: int, outputs: int) -> Cost:
    """Formula 45: cost of a dense layer with bias."""
    return Cost(inputs * outputs + outputs, inputs * outputs)


def convolution_cost(kernel: int, inputs: int, outputs: int, size: int) -> Cost:
    """Formula 46: cost of a convolution with bias and square kernels.

    `kernel`, `size`: side length of the kernel and of the output in pixels; `inputs`, `outputs`: channels.
    """
    weights = kernel * kernel * inputs * outputs
    return Cost(weights + outputs, weights * size * size)
