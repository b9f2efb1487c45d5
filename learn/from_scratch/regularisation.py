"""What makes training start well and end well: initialisation, dropout and batch normalisation."""

import numpy as np

from learn.from_scratch.neurons import Array


def glorot_uniform(inputs: int, outputs: int, rng: np.random.Generator) -> Array:
    """Formula 29: Glorot's initialisation (Glorot and Bengio 2010). Returns (inputs, outputs)."""
    limit = np.sqrt(6 / (inputs + outputs))
    return rng.uniform(-limit, limit, (inputs, outputs))


def he_normal(inputs: int, outputs: int, rng: np.random.Generator) -> Array:
    """Formula 30: He's initialisation for ReLU (arXiv:1502.01852). Returns (inputs, outputs)."""
    return rng.normal(0, np.sqrt(2 / inputs), (inputs, outputs))


def dropout(x: Array, rate: float, uniform: Array) -> Array:
    """Formula 31: dropout while training (arXiv:1207.0580). `uniform`: draws from [0, 1) in x's shape."""
    return x * (uniform >= rate) / (1 - rate)


def batch_normalise(x: Array, scale: Array, shift: Array, epsilon: float = 1e-3) -> Array:
    """Formula 32: batch normalisation in training (arXiv:1502.03167). `x`: (n, d), `scale`, `shift`: (d,)."""
    return scale * _standardise(x, epsilon) + shift


def batch_normalise_gradient(
    x: Array, d_output: Array, scale: Array, epsilon: float = 1e-3
) -> tuple[Array, Array, Array]:
    """Formula 33: back through batch normalisation. Shapes as in formula 32.

    Returns the loss's derivatives by x (n, d), scale (d,) and shift (d,).
    """
    standard = _standardise(x, epsilon)
    d_scale, d_shift = (d_output * standard).sum(axis=0), d_output.sum(axis=0)
    factor = scale / np.sqrt(x.var(axis=0) + epsilon)
    return factor * (d_output - d_shift / len(x) - standard * d_scale / len(x)), d_scale, d_shift


def running_average(average: Array, batch_value: Array, momentum: float = 0.99) -> Array:
    """Formula 34: running average of a batch statistic, used in its place when predicting. Both: (d,)."""
    return momentum * average + (1 - momentum) * batch_value


def _standardise(x: Array, epsilon: float) -> Array:
    standard: Array = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + epsilon)
    return standard
