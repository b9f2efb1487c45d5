"""From logits to probabilities to one number: softmax, cross-entropy and temperature."""

import numpy as np
from numpy.typing import NDArray

from learn.from_scratch.neurons import Array


def softmax(logits: Array) -> Array:
    """Formula 14: softmax of each row. `logits`: (n, k); returns probabilities (n, k)."""
    # Subtracting the row's largest logit changes nothing in the quotient and keeps exp from overflowing.
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: Array = powers / powers.sum(axis=-1, keepdims=True)
    return probabilities


def cross_entropy(logits: Array, labels: NDArray[np.integer]) -> float:
    """Formula 15: cross-entropy, mean over the batch. `logits`: (n, k), `labels`: (n,) in 0..k-1."""
    # log(softmax) written out: taking the log of a probability that has rounded to 0 would give infinity.
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_normaliser = np.log(np.exp(shifted).sum(axis=1))
    return float(np.mean(log_normaliser - shifted[np.arange(len(labels)), labels]))


def softmax_jacobian(logits: Array) -> Array:
    """Formula 16: derivatives of softmax. `logits`: (k,); returns (k, k), row i holds those of p_i."""
    p = softmax(logits)
    return np.diag(p) - np.outer(p, p)


def cross_entropy_gradient(logits: Array, labels: NDArray[np.integer]) -> Array:
    """Formula 17: derivative of the mean cross-entropy by the logits. Shapes as in 15; returns (n, k)."""
    one_hot: Array = np.eye(logits.shape[1], dtype=logits.dtype)[labels]
    return (softmax(logits) - one_hot) / len(labels)


def tempered_softmax(logits: Array, temperature: float) -> Array:
    """Formula 35: softmax at a temperature above 0. `logits`: (n, k); returns probabilities (n, k)."""
    return softmax(logits / temperature)
