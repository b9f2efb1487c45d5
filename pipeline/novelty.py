"""Whether a picture is a digit at all: a score from a model's own probabilities and the picture, in NumPy alone.

Measures of the picture are compared with those of real digits of the class that the model names; a network with one
small hidden layer weighs how far each is off, together with the probabilities. Fitted in `pipeline/refusal.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Images = NDArray[np.uint8]
Probabilities = NDArray[np.floating[Any]]

SIDE = 28
FIELDS = 49  # measures that are the ink of one field of 7x7
FAR = 6.0  # standard deviations; what lies farther counts as that far
ARRAYS = ("mean", "deviation", "hidden", "hidden_bias", "output")


def _sums() -> Floats:
    """Weights (784, 54) that give as sums over pixels: ink by field, its four moments, ink in the outer fields."""
    rows, columns = np.divmod(np.arange(SIDE * SIDE), SIDE)
    fields = np.eye(FIELDS)[rows // 4 * 7 + columns // 4]
    border = (np.minimum(rows, columns) < 4) | (np.maximum(rows, columns) >= SIDE - 4)
    return np.column_stack([fields, rows, columns, rows**2, columns**2, border]).astype(np.float32)


SUMS = _sums()


def picture_measures(images: Images) -> Floats:
    """Measures of each picture, float32 (n, 65), from uint8 (n, 28, 28), ink bright.

    Ink in each of 7x7 fields; then: all ink, grey pixels and changes for each inked pixel, changes by row and by
    column (sum, most), height, width, ink in the outer fields, pieces minus holes (Euler number), the ink's variance
    by row and column, and how much it differs from its mirror images and from itself upside down. Where the ink lies
    is left out: MNIST's centre is half a pixel off, and a score would take that for the mark of a digit.
    """
    count = len(images)
    flat = images.reshape(count, SIDE * SIDE)
    ink = flat * np.float32(1 / 255)
    sums = ink @ SUMS
    total = np.maximum(sums[:, :FIELDS].sum(axis=1, keepdims=True), np.float32(1e-3))
    centre = sums[:, FIELDS : FIELDS + 2] / total
    variance = sums[:, FIELDS + 2 : FIELDS + 4] / total - centre * centre
    inked = images > 127
    pixels = np.maximum(inked.sum(axis=(1, 2)), 1)[:, None]
    lines = np.concatenate([inked, inked.transpose(0, 2, 1)], axis=1)  # 28 rows, then 28 columns
    changes = (lines[:, :, 1:] != lines[:, :, :-1]).sum(axis=2).reshape(count, 2, SIDE)
    both = changes.sum(axis=2)
    grey = ((flat - np.uint8(41)) < 174).sum(axis=1)[:, None]  # 41 to 214: below 41 a uint8 wraps around
    mirrored = 2 * np.abs(ink.take(HALF, axis=1) - ink.take(MIRRORED, axis=1)).sum(axis=2)
    groups = [
        sums[:, :FIELDS],
        total,
        grey / pixels,
        both.sum(axis=1, keepdims=True) / pixels,
        both,
        changes.max(axis=2),
        lines.any(axis=2).reshape(count, 2, SIDE).sum(axis=2),
        sums[:, FIELDS + 4 :],
        euler_number(inked)[:, None],
        variance,
        mirrored / total,
    ]
    return np.concatenate(groups, axis=1, dtype=np.float32)


def _pairs() -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pixels (3, 392) and those that take their places in the picture mirrored, upside down, and both."""
    places = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    left, top, first = places[:, : SIDE // 2], places[: SIDE // 2], places[: SIDE // 2]
    right, bottom, last = (
        places[:, : SIDE // 2 - 1 : -1],
        places[: SIDE // 2 - 1 : -1],
        places[: SIDE // 2 - 1 : -1, ::-1],
    )
    return np.stack([left.ravel(), top.ravel(), first.ravel()]), np.stack([right.ravel(), bottom.ravel(), last.ravel()])


HALF, MIRRORED = _pairs()


def euler_number(inked: NDArray[np.bool_]) -> NDArray[np.floating[Any]]:
    """Pieces minus holes of bool (n, 28, 28), (n,); ink that touches at corners is one piece.

    A quarter of the 2x2 fields with one inked pixel, minus those with three, minus twice those with a diagonal two.
    Gray: Local properties of binary images in two dimensions (1971).
    """
    padded = np.zeros((len(inked), SIDE + 2, SIDE + 2), np.uint8)
    padded[:, 1:-1, 1:-1] = inked
    pattern = padded[:, :-1] + 2 * padded[:, 1:]  # a column of two as a number; then two columns
    pattern = pattern[:, :, :-1] + 4 * pattern[:, :, 1:]
    weights: NDArray[np.floating[Any]] = QUARTERS[pattern].sum(axis=(1, 2))
    return weights


QUARTERS = np.array([0, 1, 1, 0, 1, 0, -2, -1, 1, -2, 0, -1, 0, -1, -1, 0], np.float32) / 4


@dataclass(frozen=True)
class NonDigitScore:
    """A fitted score.

    `mean`, `deviation`: of each measure for each class, (classes, 65); `hidden`: (features, units), `hidden_bias` and
    `output`: (units,), `bias`: the network; `threshold`: the score from which on a picture is taken for no digit.
    """

    mean: Floats
    deviation: Floats
    hidden: Floats
    hidden_bias: Floats
    output: Floats
    bias: float
    threshold: float

    @classmethod
    def from_card(cls, card: Mapping[str, Any]) -> "NonDigitScore":
        """From the plain lists of a model's card."""
        mean, deviation, hidden, hidden_bias, output = (np.asarray(card[name], np.float32) for name in ARRAYS)
        return cls(mean, deviation, hidden, hidden_bias, output, float(card["bias"]), float(card["threshold"]))

    def __call__(self, probabilities: Probabilities, images: Images) -> Floats:
        """The score of each picture, (n,): the log-odds that it is no digit."""
        found = features(probabilities, images, self.mean, self.deviation)
        score: Floats = np.maximum(found @ self.hidden + self.hidden_bias, 0) @ self.output + np.float32(self.bias)
        return score

    def refuses(self, probabilities: Probabilities, images: Images) -> NDArray[np.bool_]:
        """Which pictures are taken for no digit, (n,)."""
        return np.asarray(self(probabilities, images) >= self.threshold)


def features(probabilities: Probabilities, images: Images, mean: Floats, deviation: Floats) -> Floats:
    """What the network weighs, (n, 34 + classes): log-probabilities, each measure's distance from the class's own.

    Distances are in the class's standard deviations; of the fields their mean square and its root, of the other
    measures the signed distance and its square.
    """
    classes = probabilities.argmax(axis=1)
    off = (picture_measures(images) - mean[classes]) / deviation[classes]
    off = np.minimum(np.maximum(off, -FAR), FAR)
    squares = off * off
    fields = squares[:, :FIELDS] @ np.full((FIELDS, 1), 1 / FIELDS, np.float32)
    logarithms = np.log(np.maximum(probabilities, 1e-6))
    parts = [logarithms, fields, np.sqrt(fields), off[:, FIELDS:], squares[:, FIELDS:]]
    return np.concatenate(parts, axis=1, dtype=np.float32)
