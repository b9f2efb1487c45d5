"""Optimizers: gradient descent, momentum and Adam. Each function updates one array of any shape."""

import numpy as np

from learn.from_scratch.neurons import Array


def gradient_descent(parameters: Array, gradient: Array, learning_rate: float) -> Array:
    """Formula 24: one step of gradient descent. Returns the new parameters."""
    return parameters - learning_rate * gradient


def momentum_velocity(velocity: Array, gradient: Array, momentum: float = 0.9) -> Array:
    """Formula 25: velocity of momentum (Polyak 1964). It replaces the gradient in formula 24."""
    return momentum * velocity + gradient


def adam_moments(
    mean: Array, square: Array, gradient: Array, beta_1: float = 0.9, beta_2: float = 0.999
) -> tuple[Array, Array]:
    """Formula 26: Adam's running averages of the gradient and of its square (arXiv:1412.6980)."""
    return beta_1 * mean + (1 - beta_1) * gradient, beta_2 * square + (1 - beta_2) * gradient**2


def adam_bias_correction(
    mean: Array, square: Array, step: int, beta_1: float = 0.9, beta_2: float = 0.999
) -> tuple[Array, Array]:
    """Formula 27: Adam's bias correction of both averages, which start at 0. `step` counts from 1."""
    return mean / (1 - beta_1**step), square / (1 - beta_2**step)


def adam_update(
    parameters: Array, mean: Array, square: Array, learning_rate: float = 0.001, epsilon: float = 1e-8
) -> Array:
    """Formula 28: one step of Adam with the corrected averages. Returns the new parameters."""
    return parameters - learning_rate * mean / (np.sqrt(square) + epsilon)
