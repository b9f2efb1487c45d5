"""The multilayer perceptron as a list of layers: forward, backward, and a slow check of the two."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from learn.from_scratch.layers import activation_gradient, dense, dense_gradient, relu, relu_derivative
from learn.from_scratch.losses import cross_entropy_gradient
from learn.from_scratch.neurons import Array


class Layer(NamedTuple):
    """A dense layer's numbers, or the loss's derivatives by them."""

    weights: Array  # (inputs, outputs)
    bias: Array  # (outputs,)


def forward(network: list[Layer], x: Array) -> tuple[list[Array], list[Array]]:
    """Formula 18: forward pass. `x`: (n, d).

    Returns the weighted sums Z_1..Z_L, the last being the logits (n, k), and the inputs A_0..A_(L-1).
    """
    sums: list[Array] = []
    inputs = [x]
    for layer in network:
        sums.append(dense(inputs[-1], *layer))
        inputs.append(relu(sums[-1]))
    return sums, inputs[:-1]  # the last ReLU is not part of the network: its sums are the logits


def backward(network: list[Layer], x: Array, labels: NDArray[np.integer]) -> list[Layer]:
    """Formula 22: back-propagation of the mean cross-entropy. `x`: (n, d), `labels`: (n,).

    Returns the derivatives in the network's own shape.
    """
    sums, inputs = forward(network, x)
    delta = cross_entropy_gradient(sums[-1], labels)
    gradients: list[Layer] = []
    for index in reversed(range(len(network))):
        d_weights, d_bias, d_input = dense_gradient(inputs[index], delta, network[index].weights)
        gradients.insert(0, Layer(d_weights, d_bias))
        if index:
            delta = activation_gradient(d_input, relu_derivative(sums[index - 1]))
    return gradients


def numerical_gradient(function: Callable[[Array], float], x: Array, step: float = 1e-5) -> Array:
    """Formula 23: central differences. `x`: any shape, float64; returns the derivatives in that shape."""
    gradient = np.empty_like(x)
    for index in np.ndindex(x.shape):
        nudge = np.zeros_like(x)
        nudge[index] = step
        gradient[index] = (function(x + nudge) - function(x - nudge)) / (2 * step)
    return gradient
