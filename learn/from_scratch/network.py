"""The multilayer perceptron as a list of layers: forward pass, backpropagation and a numerical gradient check."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from learn.from_scratch.layers import activation_gradient, dense, dense_gradient, relu, relu_derivative
from learn.from_scratch.losses import cross_entropy_gradient
from learn.from_scratch.neurons import Array


class Layer(NamedTuple):
    """Parameters of a dense layer, or the derivatives of the loss with respect to them."""

    weights: Array  # (inputs, outputs)
    bias: Array  # (outputs,)


def forward(network: list[Layer], x: Array) -> tuple[list[Array], list[Array]]:
    """Formula 18: forward pass. `x`: (n, d).

    Returns the pre-activations Z_1..Z_L and the layer inputs A_0..A_(L-1). The logits are Z_L, shape (n, k).
    """
    pre_activations: list[Array] = []
    inputs = [x]
    for layer in network:
        pre_activations.append(dense(inputs[-1], *layer))
        inputs.append(relu(pre_activations[-1]))
    return pre_activations, inputs[:-1]  # the logits are not followed by ReLU


def backward(network: list[Layer], x: Array, labels: NDArray[np.integer]) -> list[Layer]:
    """Formula 22: backpropagation of the mean cross-entropy. `x`: (n, d), `labels`: (n,).

    Returns the derivatives of the loss in the same structure as `network`.
    """
    pre_activations, inputs = forward(network, x)
    delta = cross_entropy_gradient(pre_activations[-1], labels)
    gradients: list[Layer] = []
    for index in reversed(range(len(network))):
        d_weights, d_bias, d_input = dense_gradient(inputs[index], delta, network[index].weights)
        gradients.insert(0, Layer(d_weights, d_bias))
        if index:
            delta = activation_gradient(d_input, relu_derivative(pre_activations[index - 1]))
    return gradients


def numerical_gradient(function: Callable[[Array], float], x: Array, step: float = 1e-5) -> Array:
    """Formula 23: gradient by central differences. `x`: any shape, float64; returns the same shape."""
    gradient = np.empty_like(x)
    for index in np.ndindex(x.shape):
        change = np.zeros_like(x)
        change[index] = step
        gradient[index] = (function(x + change) - function(x - change)) / (2 * step)
    return gradient
