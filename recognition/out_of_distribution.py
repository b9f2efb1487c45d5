"""Whether a picture is a digit at all: a score from a model's own probabilities and the picture, in NumPy alone.

Measures of the picture are compared with those of real digits of the class that the model names; a network with one
small hidden layer weighs how far each is off, together with the probabilities. `pipeline/evaluation/ood_fit.py`
fits it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Images = NDArray[np.uint8]
Lines = NDArray[np.uint32]
Probabilities = NDArray[np.floating[Any]]

SIDE = 28
FIELDS = 49  # measures that are the ink of one field of 7x7
FAR = 6.0  # standard deviations; what lies farther counts as that far
ARRAYS = ("mean", "deviation", "hidden", "hidden_bias", "output")


def _sums() -> Floats:
    """Weights (784, 55) that give as sums over pixels: ink by field, all, its four moments, ink in the outer fields."""
    rows, columns = np.divmod(np.arange(SIDE * SIDE), SIDE)
    fields = np.eye(FIELDS)[rows // 4 * 7 + columns // 4]
    border = (np.minimum(rows, columns) < 4) | (np.maximum(rows, columns) >= SIDE - 4)
    sums = [fields, np.ones(SIDE * SIDE), rows, columns, rows**2, columns**2, border]
    return np.column_stack(sums).astype(np.float32)


SUMS = _sums()


def picture_measures(images: Images) -> Floats:
    """Measures of each picture, float32 (n, 65), from uint8 (n, 28, 28), ink bright.

    Ink in each of 7x7 fields; then: all ink, grey pixels and changes for each inked pixel, changes by row and by
    column (sum, most), height, width, ink in the outer fields, pieces minus holes (Euler number), the ink's variance
    by row and column, and how much it differs from its mirror images and from itself upside down. Where the ink lies
    is left out: MNIST's centre is half a pixel off, and a score would take that for the mark of a digit.
    """
    flat = images.reshape(-1, SIDE * SIDE)
    ink = flat * np.float32(1 / 255)
    sums = ink @ SUMS
    total = np.maximum(sums[:, FIELDS : FIELDS + 1], np.float32(1e-3))
    moments = sums[:, FIELDS + 1 : FIELDS + 5] / total
    lines = pack_lines(images)
    changes = np.bitwise_count(lines ^ (lines << 1))
    both = np.add.reduce(changes, axis=2)
    edges = both[:, :1] + both[:, 1:]
    pixels = np.add.reduce(np.bitwise_count(lines[:, 0]), axis=1, keepdims=True)
    inked = np.maximum(pixels, 1)
    grey = np.add.reduce((flat - np.uint8(41)) < 174, axis=1, keepdims=True)  # 41 to 214: below, a uint8 wraps around
    halves = ink.take(HALVES, axis=1)
    mirrored = np.add.reduce(np.abs(halves[:, 0] - halves[:, 1]), axis=2)
    measures = np.empty((len(images), FIELDS + 16), np.float32)
    measures[:, :FIELDS] = sums[:, :FIELDS]
    measures[:, FIELDS : FIELDS + 1] = total
    rest = measures[:, FIELDS + 1 :]
    rest[:, :1] = grey / inked
    rest[:, 1:2] = edges / inked
    rest[:, 2:4] = both
    rest[:, 4:6] = np.maximum.reduce(changes, axis=2)
    rest[:, 6:8] = np.add.reduce(lines != 0, axis=2)
    rest[:, 8:9] = sums[:, FIELDS + 5 :]
    rest[:, 9:10] = count_corners(lines[:, 0]) - edges / 2 - pixels  # corners - edges + areas: Euler's formula
    rest[:, 10:12] = moments[:, 2:] - moments[:, :2] * moments[:, :2]
    rest[:, 12:] = mirrored * (2 / total)
    return measures


def pack_lines(images: Images) -> Lines:
    """The inked pixels (above 127) of rows and of columns as bits: uint32 (n, 2, 28), the first pixel the lowest bit.

    A line in one number makes counting eight times as fast as pixels one by one.
    """
    inked = np.empty((len(images), 2, SIDE, SIDE), np.bool_)
    np.greater(images, 127, out=inked[:, 0])
    inked[:, 1] = inked[:, 0].transpose(0, 2, 1)
    packed: Lines = np.packbits(inked, axis=3, bitorder="little").view("<u4")[..., 0]
    return packed


def _halves() -> NDArray[np.intp]:
    """Pixels (2, 3, 392): halves, and what takes their places in the picture mirrored, upside down, and both."""
    places = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    middle = SIDE // 2
    left, top = places[:, :middle], places[:middle]
    right, bottom, last = places[:, ::-1][:, :middle], places[::-1][:middle], places[::-1, ::-1][:middle]
    return np.stack([part.ravel() for part in (left, top, top, right, bottom, last)]).reshape(2, 3, -1)


HALVES = _halves()


def count_corners(rows: Lines) -> NDArray[np.integer[Any]]:
    """Corners of all inked squares, (n, 1), those of several squares once; `rows`: bits, uint32 (n, 28)."""
    wide = rows | (rows << 1)
    corners = np.empty((len(rows), SIDE + 1), np.uint32)
    corners[:, :-1] = wide
    corners[:, -1] = 0
    corners[:, 1:] |= wide
    return np.add.reduce(np.bitwise_count(corners), axis=1, keepdims=True)


@dataclass(frozen=True)
class OODScore:
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
    def from_card(cls, card: Mapping[str, Any]) -> "OODScore":
        """From the plain lists of a model's card."""
        mean, deviation, hidden, hidden_bias, output = (np.asarray(card[name], np.float32) for name in ARRAYS)
        return cls(mean, deviation, hidden, hidden_bias, output, float(card["bias"]), float(card["threshold"]))

    def __call__(self, probabilities: Probabilities, images: Images) -> Floats:
        """The score of each picture, (n,): the log-odds that it is no digit."""
        found = features(probabilities, images, self.mean, self.deviation)
        score: Floats = np.maximum(found @ self.hidden + self.hidden_bias, 0) @ self.output + np.float32(self.bias)
        return score

    def rejects(self, probabilities: Probabilities, images: Images) -> NDArray[np.bool_]:
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
    fields = np.add.reduce(squares[:, :FIELDS], axis=1, keepdims=True) / np.float32(FIELDS)
    logarithms = np.log(np.maximum(probabilities, 1e-6))
    parts = [logarithms, fields, np.sqrt(fields), off[:, FIELDS:], squares[:, FIELDS:]]
    return np.concatenate(parts, axis=1, dtype=np.float32)
