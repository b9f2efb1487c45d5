"""Walking downhill: gradient descent, momentum and Adam, for one array of parameters of any shape."""

import numpy as np

from learn.from_scratch.neurons import Array


def gradient_descent(parameters: Array, gradient: Array, learning_rate: float) -> Array:
    """Formula 24: gradient descent, one step."""
    return parameters - learning_rate * gradient


def momentum_velocity(velocity: Array, gradient: Array, friction: float = 0.9) -> Array:
    """Formula 25: velocity of momentum (Polyak 1964); it takes the gradient's place in formula 24."""
    return friction * velocity + gradient


def adam_moments(
    mean: Array, square: Array, gradient: Array, beta_1: float = 0.9, beta_2: float = 0.999
) -> tuple[Array, Array]:
    """Formula 26: Adam's running means of the gradient and of its square (arXiv:1412.6980)."""
    return beta_1 * mean + (1 - beta_1) * gradient, beta_2 * square + (1 - beta_2) * gradient**2


def adam_unbiased(
    mean: Array, square: Array, step: int, beta_1: float = 0.9, beta_2: float = 0.999
) -> tuple[Array, Array]:
    """Formula 27: Adam's correction of the means for having started at 0. `step` counts from 1."""
    return mean / (1 - beta_1**step), square / (1 - beta_2**step)


def adam_update(
    parameters: Array, mean: Array, square: Array, learning_rate: float = 0.001, epsilon: float = 1e-8
) -> Array:
    """Formula 28: Adam, one step with the corrected means."""
    return parameters - learning_rate * mean / (np.sqrt(square) + epsilon)
