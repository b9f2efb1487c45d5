"""Out-of-distribution (OOD) score of an image, from a model's probabilities and measures of the image, with NumPy only.

The measures are compared with those of real digits of the predicted class. A network with one small hidden layer
combines these distances with the probabilities. `pipeline/evaluation/ood_fit.py` fits it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recognition.image_format import IMAGE_SIZE

Floats = NDArray[np.float32]
Images = NDArray[np.uint8]
BitLines = NDArray[np.uint32]
Probabilities = NDArray[np.floating[Any]]

CELLS = 49  # a grid of 7x7 cells of 4x4 pixels; the first measures are the ink in each cell
MAX_DISTANCE = 6.0  # standard deviations; greater distances are clipped
ARRAYS = ("mean", "deviation", "hidden", "hidden_bias", "output")


def _sum_weights() -> Floats:
    """Weights (784, 55) of sums over pixels: ink of each cell, all ink, its four moments, ink of the outer cells."""
    rows, columns = np.divmod(np.arange(IMAGE_SIZE * IMAGE_SIZE), IMAGE_SIZE)
    cells = np.eye(CELLS)[rows // 4 * 7 + columns // 4]
    border = (np.minimum(rows, columns) < 4) | (np.maximum(rows, columns) >= IMAGE_SIZE - 4)
    sums = [cells, np.ones(IMAGE_SIZE * IMAGE_SIZE), rows, columns, rows**2, columns**2, border]
    return np.column_stack(sums).astype(np.float32)


def _mirrored_pixels() -> NDArray[np.intp]:
    """Pixel indices (2, 3, 392): halves of the image and their mirror images left-right, top-bottom and under both."""
    indices = np.arange(IMAGE_SIZE * IMAGE_SIZE).reshape(IMAGE_SIZE, IMAGE_SIZE)
    middle = IMAGE_SIZE // 2
    left, top = indices[:, :middle], indices[:middle]
    right, bottom, last = indices[:, ::-1][:, :middle], indices[::-1][:middle], indices[::-1, ::-1][:middle]
    return np.stack([part.ravel() for part in (left, top, top, right, bottom, last)]).reshape(2, 3, -1)


SUM_WEIGHTS = _sum_weights()
MIRRORED_PIXELS = _mirrored_pixels()


def image_measures(images: Images) -> Floats:
    """Measures of each image, float32 (n, 65), from uint8 (n, 28, 28), ink bright.

    Ink of each cell; then all ink, grey pixels and changes per inked pixel, changes by row and by column (sum,
    maximum), height, width, ink of the outer cells, Euler number (components minus holes), variance of the ink by row
    and by column, differences from the image mirrored left-right, top-bottom and both. The centre of mass is excluded:
    MNIST's is off by half a pixel, and the score would use that to recognise MNIST's digits.
    """
    flat = images.reshape(-1, IMAGE_SIZE * IMAGE_SIZE)
    ink = flat * np.float32(1 / 255)
    sums = ink @ SUM_WEIGHTS
    total = np.maximum(sums[:, CELLS : CELLS + 1], np.float32(1e-3))
    moments = sums[:, CELLS + 1 : CELLS + 5] / total
    lines = pack_lines(images)
    changes = np.bitwise_count(lines ^ (lines << 1))
    line_changes = np.add.reduce(changes, axis=2)
    edges = line_changes[:, :1] + line_changes[:, 1:]
    pixels = np.add.reduce(np.bitwise_count(lines[:, 0]), axis=1, keepdims=True)
    inked = np.maximum(pixels, 1)
    grey = np.add.reduce((flat - np.uint8(41)) < 174, axis=1, keepdims=True)  # 41 to 214: lower values wrap around
    halves = ink.take(MIRRORED_PIXELS, axis=1)
    mirrored = np.add.reduce(np.abs(halves[:, 0] - halves[:, 1]), axis=2)
    measures = np.empty((len(images), CELLS + 16), np.float32)
    measures[:, :CELLS] = sums[:, :CELLS]
    measures[:, CELLS : CELLS + 1] = total
    rest = measures[:, CELLS + 1 :]
    rest[:, :1] = grey / inked
    rest[:, 1:2] = edges / inked
    rest[:, 2:4] = line_changes
    rest[:, 4:6] = np.maximum.reduce(changes, axis=2)
    rest[:, 6:8] = np.add.reduce(lines != 0, axis=2)
    rest[:, 8:9] = sums[:, CELLS + 5 :]
    rest[:, 9:10] = count_corners(lines[:, 0]) - edges / 2 - pixels  # Euler's formula: corners - edges + areas
    rest[:, 10:12] = moments[:, 2:] - moments[:, :2] * moments[:, :2]
    rest[:, 12:] = mirrored * (2 / total)
    return measures


def pack_lines(images: Images) -> BitLines:
    """Packs the inked pixels (above 127) of rows and columns into uint32 (n, 2, 28), which makes counting 8x faster."""
    inked = np.empty((len(images), 2, IMAGE_SIZE, IMAGE_SIZE), np.bool_)
    np.greater(images, 127, out=inked[:, 0])
    inked[:, 1] = inked[:, 0].transpose(0, 2, 1)
    packed: BitLines = np.packbits(inked, axis=3, bitorder="little").view("<u4")[..., 0]
    return packed


def count_corners(rows: BitLines) -> NDArray[np.integer[Any]]:
    """Number (n, 1) of distinct corners of the inked pixels, taken as squares, from packed rows uint32 (n, 28)."""
    padded = np.zeros((len(rows), IMAGE_SIZE + 2), np.uint32)
    padded[:, 1:-1] = rows | (rows << 1)
    return np.add.reduce(np.bitwise_count(padded[:, 1:] | padded[:, :-1]), axis=1, keepdims=True)


@dataclass(frozen=True)
class OODScore:
    """A fitted score. Images with a score of at least `threshold` are rejected.

    `mean`, `deviation`: (classes, 65), the measures of real digits by class. The network: `hidden` (features, units),
    `hidden_bias` and `output` (units,), `bias`. A score for segments of numbers has their shapes as further inputs.
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
        """Creates the score from the lists in a model's card. Raises KeyError if one is missing."""
        mean, deviation, hidden, hidden_bias, output = (np.asarray(card[name], np.float32) for name in ARRAYS)
        return cls(mean, deviation, hidden, hidden_bias, output, float(card["bias"]), float(card["threshold"]))

    def __call__(self, probabilities: Probabilities, images: Images, shapes: Floats | None = None) -> Floats:
        """Scores (n,), the log-odds of being out of distribution, for (n, classes) and uint8 (n, 28, 28).

        `shapes`: the further inputs, float32 (n, SHAPES).
        """
        inputs = features(probabilities, images, self.mean, self.deviation)
        inputs = inputs if shapes is None else np.hstack([inputs, shapes])
        score: Floats = np.maximum(inputs @ self.hidden + self.hidden_bias, 0) @ self.output + np.float32(self.bias)
        return score

    def rejects(self, probabilities: Probabilities, images: Images) -> NDArray[np.bool_]:
        """Mask (n,) of the images that are out of distribution."""
        return np.asarray(self(probabilities, images) >= self.threshold)


def features(probabilities: Probabilities, images: Images, mean: Floats, deviation: Floats) -> Floats:
    """Inputs of the network, float32 (n, 34 + classes): log-probabilities and distances from the predicted class.

    Distances are in standard deviations of the class. The cells contribute their mean square and its root, every
    other measure its signed distance and the square.
    """
    classes = probabilities.argmax(axis=1)
    distances = (image_measures(images) - mean[classes]) / deviation[classes]
    distances = np.minimum(np.maximum(distances, -MAX_DISTANCE), MAX_DISTANCE)
    squares = distances * distances
    cells = np.add.reduce(squares[:, :CELLS], axis=1, keepdims=True) / np.float32(CELLS)
    logarithms = np.log(np.maximum(probabilities, 1e-6))
    parts = [logarithms, cells, np.sqrt(cells), distances[:, CELLS:], squares[:, CELLS:]]
    return np.concatenate(parts, axis=1, dtype=np.float32)
