"""Weight initialization, dropout and batch normalization."""

import numpy as np

from learn.from_scratch.neurons import Array


def glorot_uniform(inputs: int, outputs: int, rng: np.random.Generator) -> Array:
    """Formula 29: Glorot initialization (Glorot and Bengio 2010). Returns weights (inputs, outputs)."""
    limit = np.sqrt(6 / (inputs + outputs))
    return rng.uniform(-limit, limit, (inputs, outputs))


def he_normal(inputs: int, outputs: int, rng: np.random.Generator) -> Array:
    """Formula 30: He initialization for ReLU (arXiv:1502.01852). Returns weights (inputs, outputs)."""
    return rng.normal(0, np.sqrt(2 / inputs), (inputs, outputs))


def dropout(x: Array, rate: float, uniform: Array) -> Array:
    """Formula 31: dropout during training (arXiv:1207.0580). `x`: any shape.

    `uniform`: random numbers from [0, 1) in the shape of `x`; elements with a number below `rate` become 0.
    """
    return x * (uniform >= rate) / (1 - rate)


def batch_normalize(x: Array, scale: Array, shift: Array, epsilon: float = 1e-3) -> Array:
    """Formula 32: batch normalization during training (arXiv:1502.03167). `x`: (n, d), `scale`, `shift`: (d,)."""
    return scale * _standardize(x, epsilon) + shift


def batch_normalize_gradient(
    x: Array, d_output: Array, scale: Array, epsilon: float = 1e-3
) -> tuple[Array, Array, Array]:
    """Formula 33: backward pass of batch normalization. `x`, `d_output`: (n, d), `scale`: (d,).

    Returns the derivatives of the loss with respect to x (n, d), scale (d,) and shift (d,).
    """
    standardized = _standardize(x, epsilon)
    d_scale, d_shift = (d_output * standardized).sum(axis=0), d_output.sum(axis=0)
    factor = scale / np.sqrt(x.var(axis=0) + epsilon)
    return factor * (d_output - d_shift / len(x) - standardized * d_scale / len(x)), d_scale, d_shift


def running_average(average: Array, batch_value: Array, momentum: float = 0.99) -> Array:
    """Formula 34: running average of a batch statistic (mean or variance), for inference. Both: (d,)."""
    return momentum * average + (1 - momentum) * batch_value


def _standardize(x: Array, epsilon: float) -> Array:
    standardized: Array = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + epsilon)
    return standardized
