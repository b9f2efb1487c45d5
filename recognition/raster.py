"""Array operations: resampling, morphology, statistics, components. A plane is float32 (h, w); planes are (n, h, w)."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.float32]

MAX_COMPONENTS: Final = 400  # the largest; only these are compared in pairs


def scaled_size(width: int, height: int, scale: float) -> tuple[int, int]:
    """Width and height times `scale`, rounded to whole pixels, at least 1."""
    return max(1, round(width * scale)), max(1, round(height * scale))


def resize(array: NDArray[Any], width: int, height: int, kind: Image.Resampling = Image.Resampling.BOX) -> Floats:
    """Resamples a plane or planes with anti-aliasing to float32 ([n,] height, width)."""
    if array.shape[-2:] == (height, width):
        return np.asarray(array, np.float32)
    if array.ndim == 3:
        return np.stack([resize(plane, width, height, kind) for plane in array])
    plane = Image.fromarray(np.ascontiguousarray(array, np.float32))
    return np.asarray(plane.resize((width, height), kind))


def shrink(array: NDArray[Any], side: int) -> Floats:
    """Averages a plane or planes down so that no side exceeds `side`; keeps the aspect ratio and never enlarges."""
    height, width = array.shape[-2:]
    return resize(array, *scaled_size(width, height, min(1.0, side / max(height, width))))


def crop_to_ink(array: NDArray[Any]) -> tuple[NDArray[Any], int, int]:
    """The smallest part that contains all non-zero pixels, its top row and its left column; size 0 if all are zero."""
    rows, columns = np.flatnonzero(array.any(1)), np.flatnonzero(array.any(0))
    if not len(rows):
        return array[:0, :0], 0, 0
    return array[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], int(rows[0]), int(columns[0])


def pad(array: NDArray[Any], margin: int, value: float = 0) -> NDArray[Any]:
    """Adds `margin` pixels of `value` on every side of a plane or planes. Several times faster than np.pad."""
    *count, height, width = array.shape
    padded = np.full((*count, height + 2 * margin, width + 2 * margin), value, array.dtype)
    padded[..., margin : margin + height, margin : margin + width] = array
    return padded


def _sliding(pick: np.ufunc, planes: Floats, size: int) -> Floats:
    """`pick` (maximum or minimum) over each window of `size` x `size` pixels. The window doubles with each step."""
    span = 1
    while span < size:
        step = min(span, size - span)
        planes = pick(planes[..., :-step, :], planes[..., step:, :])
        planes = pick(planes[..., :-step], planes[..., step:])
        span += step
    return planes


def dilate(planes: Floats, radius: int) -> Floats:
    """Maximum over a square of 2 * radius + 1 pixels."""
    return _sliding(np.maximum, pad(planes, radius, -np.inf), 2 * radius + 1)


def erode(planes: Floats, radius: int) -> Floats:
    """Minimum over each square of 2 * radius + 1 pixels inside the planes, which become smaller by 2 * radius."""
    return _sliding(np.minimum, planes, 2 * radius + 1)


def opening(planes: Floats, radius: int) -> Floats:
    """Morphological opening: removes bright structures narrower than 2 * radius + 1. Border values are repeated."""
    rows, columns = (np.arange(-2 * radius, length + 2 * radius).clip(0, length - 1) for length in planes.shape[-2:])
    eroded = erode(planes.take(rows, axis=-2).take(columns, axis=-1), radius)
    return _sliding(np.maximum, eroded, 2 * radius + 1)


def thicken(plane: Floats, radius: float) -> Floats:
    """Dilates by a fractional radius: in whole steps, and partially in the last one."""
    thick = dilate(plane, int(radius))
    return np.asarray(thick + radius % 1 * (dilate(thick, 1) - thick), np.float32)


def noise_level(plane: Floats) -> float:
    """Standard deviation of the noise, estimated from neighbouring pixels. The median is robust against strokes."""
    rows = plane[:: max(1, len(plane) // 32)]
    steps = np.abs(rows[:, 1:] - rows[:, :-1])
    return float(np.median(steps)) / 0.954 if steps.size else 0.0  # the median of |N(0, 2 s^2)| is 0.954 s


def skewness(values: Floats) -> float:
    """Third moment about zero, divided by the second moment to the power of 3/2."""
    flat = values.ravel()
    squares = flat * flat
    second, third = float(squares.mean()), float(squares @ flat) / len(flat)
    return third / max(float(second**1.5), 1e-9)


def otsu(values: Floats) -> float:
    """Positive threshold with the greatest between-class variance (Otsu, 1979); 0 if no value is positive."""
    top = float(values.max())
    if top <= 0:
        return 0.0
    bins = 128
    indices = (np.maximum(values, 0) * ((bins - 0.01) / top)).astype(np.uint8)
    histogram = np.bincount(indices.ravel(), minlength=bins)
    weight = histogram.cumsum()[:-1].astype(np.float64)
    mass = (histogram * (np.arange(bins) + 0.5)).cumsum()
    between = np.square(mass[-1] * weight / values.size - mass[:-1]) / np.maximum(weight * (values.size - weight), 0.5)
    return (1 + int(between.argmax())) * top / bins


def connected_components(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """Labels the 8-connected components of a mask (h, w) by merging horizontal runs that touch.

    Returns labels (h, w), from 1, with 0 for the background; areas (n,) in pixels; boxes (n, 4): top, bottom, left,
    right, with bottom and right exclusive.
    """
    stride = mask.shape[1] + 1  # an empty column separates the runs of different rows
    separated = np.zeros((len(mask), stride), np.bool_)
    separated[:, 1:] = mask
    flat = separated.ravel()
    starts, ends = np.append(flat[1:] != flat[:-1], flat[-1]).nonzero()[0].reshape(-1, 2).T
    labels = np.zeros(mask.shape, np.int32)
    component = _merge_runs(starts, ends, stride)
    lengths = ends - starts
    labels[mask] = np.repeat(component + 1, lengths)
    areas = np.bincount(component, weights=lengths).astype(np.int64)
    order = np.argsort(component, kind="stable")
    first = np.searchsorted(component[order], np.arange(len(areas)))
    row, left = np.divmod(starts[order], stride)
    right = left + lengths[order]
    lowest, highest = np.minimum.reduceat, np.maximum.reduceat
    boxes = np.stack([lowest(row, first), highest(row, first) + 1, lowest(left, first), highest(right, first)], axis=1)
    return labels, areas, boxes


def _merge_runs(starts: NDArray[np.int64], ends: NDArray[np.int64], stride: int) -> NDArray[np.int64]:
    """Component of each run, from 0. Positions count through all rows of `stride` pixels; the smallest root wins."""
    first = np.searchsorted(ends, starts + stride, side="left")
    counts = np.searchsorted(starts, ends + stride, side="right") - first
    upper = np.repeat(np.arange(len(starts)), counts)
    lower = np.arange(len(upper)) + np.repeat(first - (np.cumsum(counts) - counts), counts)
    root = np.arange(len(starts))
    while not np.array_equal(a := root[upper], b := root[lower]):
        np.minimum.at(root, np.maximum(a, b), np.minimum(a, b))
        while not np.array_equal(jumped := root[root], root):
            root = jumped
    return (np.cumsum(root == np.arange(len(root))) - 1)[root]


def touches_border(boxes: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Mask (n,) of the boxes (n, 4) that reach the border of an array of `shape`."""
    first, last = boxes[:, [0, 2]] == 0, boxes[:, [1, 3]] == shape
    return np.asarray((first | last).any(1), np.bool_)


def is_frame(areas: NDArray[np.int64], boxes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Mask (n,) of thin components around another one that has at least a quarter of their height or width.

    A frame is one closed component or a pair of straight vertical lines on both sides of the other component.
    """
    largest = np.argsort(areas)[-MAX_COMPONENTS:]  # noise can have thousands
    top, bottom, left, right = boxes[largest].T
    height, width = bottom - top, right - left
    sizeable = np.maximum(height, width) > 0.25 * np.minimum(height, width)[:, None]
    beside = (top[:, None] < top) & (bottom[:, None] > bottom)
    around = beside & (left[:, None] < left) & (right[:, None] > right) & sizeable
    line = (height > 8 * width)[:, None] & beside
    before, after = line & (right[:, None] <= left), line & (left[:, None] >= right)
    rails = (before & after.any(0)) | (after & before.any(0))
    mask = np.zeros(len(areas), np.bool_)
    mask[largest] = ((areas[largest] < 0.25 * height * width) & around.any(1)) | rails.any(1)
    return mask
