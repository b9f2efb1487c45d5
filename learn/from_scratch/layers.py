"""Dense layers and activation functions: forward and backward pass."""

import numpy as np

from learn.from_scratch.neurons import Array


def dense(x: Array, weights: Array, bias: Array) -> Array:
    """Formula 6: dense layer. `x`: (n, d), `weights`: (d, k), `bias`: (k,); returns (n, k)."""
    return x @ weights + bias


def collapse(first: tuple[Array, Array], second: tuple[Array, Array]) -> tuple[Array, Array]:
    """Formula 7: two dense layers without an activation function between them, as one layer.

    Each layer is a pair of weights (d, k) and bias (k,).
    """
    (weights_1, bias_1), (weights_2, bias_2) = first, second
    return weights_1 @ weights_2, bias_1 @ weights_2 + bias_2


def sigmoid(z: Array) -> Array:
    """Formula 8: sigmoid, element-wise."""
    # The exponent is never positive, so exp cannot overflow.
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1 / (1 + e), e / (1 + e))


def sigmoid_derivative(z: Array) -> Array:
    """Formula 9: derivative of the sigmoid, element-wise."""
    return sigmoid(z) * (1 - sigmoid(z))


def tanh(z: Array) -> Array:
    """Formula 10: hyperbolic tangent, element-wise."""
    return 2 * sigmoid(2 * z) - 1


def tanh_derivative(z: Array) -> Array:
    """Formula 11: derivative of the hyperbolic tangent, element-wise."""
    return 1 - tanh(z) ** 2


def relu(z: Array) -> Array:
    """Formula 12: rectified linear unit (ReLU), element-wise."""
    return np.maximum(z, 0)


def relu_derivative(z: Array) -> Array:
    """Formula 13: derivative of ReLU, element-wise; 0 at 0, as in TensorFlow."""
    return (z > 0).astype(z.dtype)


def activation_gradient(d_output: Array, derivative: Array) -> Array:
    """Formula 19: backward pass of an activation function. `d_output`, `derivative`, result: (n, k)."""
    return d_output * derivative


def dense_gradient_one(x: Array, delta: Array, weights: Array) -> tuple[Array, Array, Array]:
    """Formula 20: backward pass of a dense layer, one example. `x`: (d,), `delta`: (k,), `weights`: (d, k).

    Returns the derivatives of the loss with respect to weights (d, k), bias (k,) and x (d,).
    """
    return np.outer(x, delta), delta, weights @ delta


def dense_gradient(x: Array, delta: Array, weights: Array) -> tuple[Array, Array, Array]:
    """Formula 21: backward pass of a dense layer, a batch. `x`: (n, d), `delta`: (n, k), `weights`: (d, k).

    Returns the derivatives of the loss with respect to weights (d, k), bias (k,) and x (n, d).
    """
    return x.T @ delta, delta.sum(axis=0), delta @ weights.T
