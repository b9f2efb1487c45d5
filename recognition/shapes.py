"""Columns of the shapes of segments, see `segmentation.segment_shapes`, and a score by hand."""

from enum import IntEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray


class Shape(IntEnum):
    """Columns. Lengths are in heights of the line, costs in nats."""

    WIDTH = 0
    HEIGHT = 1
    ASPECT = 2
    INK = 3
    LENGTH = 4
    LEFT_CUT = 5
    RIGHT_CUT = 6
    INNER_CUT = 7
    INNER_CUTS = 8
    JOIN = 9
    GAP = 10
    SHARE = 11


SHAPES: Final = len(Shape)
NO_CUT: Final = 5.0  # nats; more than almost every cut
NO_GAP: Final = -1.0
MIN_SLICE_HEIGHT: Final = 0.7  # of the line's height; a lower slice is not a digit, but may look like one when enlarged
WIDTH_PENALTY: Final = 4.0  # nats per unit of width over height above MAX_ASPECT
MAX_ASPECT: Final = 0.9  # width over height of most digits


def penalty(shapes: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Penalties in nats (n,), chosen by hand: for cuts, joined components, broad segments, low slices.

    Only for segmentation without a classifier, and for models without a score that was fitted to shapes.
    """
    broad = WIDTH_PENALTY * np.maximum(shapes[:, Shape.ASPECT] - MAX_ASPECT, 0)
    low_slice = (shapes[:, Shape.SHARE] % 1 > 0.01) & (shapes[:, Shape.HEIGHT] < MIN_SLICE_HEIGHT)
    return np.asarray(np.where(low_slice, 1e3, broad) + shapes[:, Shape.LEFT_CUT] + shapes[:, Shape.JOIN], np.float64)
