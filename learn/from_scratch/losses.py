"""Softmax, cross-entropy and temperature scaling."""

import numpy as np
from numpy.typing import NDArray

from learn.from_scratch.neurons import Array


def softmax(logits: Array) -> Array:
    """Formula 14: softmax of each row. `logits`: (n, k) or (k,); returns probabilities in the same shape."""
    # The largest logit is subtracted to avoid overflow. It cancels in the quotient.
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: Array = powers / powers.sum(axis=-1, keepdims=True)
    return probabilities


def cross_entropy(logits: Array, labels: NDArray[np.integer]) -> float:
    """Formula 15: cross-entropy in nats, mean over the batch. `logits`: (n, k), `labels`: (n,) in 0..k-1."""
    # log(softmax(logits)) would be -inf where a probability rounds to 0, so the logarithm is expanded.
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_normalizer = np.log(np.exp(shifted).sum(axis=1))
    return float(np.mean(log_normalizer - shifted[np.arange(len(labels)), labels]))


def softmax_jacobian(logits: Array) -> Array:
    """Formula 16: Jacobian of softmax. `logits`: (k,); returns (k, k), row i holds the derivatives of p_i."""
    p = softmax(logits)
    return np.diag(p) - np.outer(p, p)


def cross_entropy_gradient(logits: Array, labels: NDArray[np.integer]) -> Array:
    """Formula 17: gradient of the mean cross-entropy with respect to the logits.

    `logits`: (n, k), `labels`: (n,) in 0..k-1; returns (n, k).
    """
    one_hot: Array = np.eye(logits.shape[1], dtype=logits.dtype)[labels]
    return (softmax(logits) - one_hot) / len(labels)


def tempered_softmax(logits: Array, temperature: float) -> Array:
    """Formula 35: softmax with a temperature above 0 (arXiv:1706.04599). `logits`: (n, k); returns (n, k)."""
    return softmax(logits / temperature)
