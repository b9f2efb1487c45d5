"""Array operations: resampling, morphology, statistics, components. A plane is float32 (h, w)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.float32]


def scaled_size(width: int, height: int, scale: float) -> tuple[int, int]:
    """Width and height times `scale`, rounded to whole pixels, at least 1."""
    return max(1, round(width * scale)), max(1, round(height * scale))


def resize(array: NDArray[Any], width: int, height: int, kind: Image.Resampling = Image.Resampling.BOX) -> Floats:
    """Resamples (h, w) or (h, w, channels) with anti-aliasing to float32 (height, width[, channels])."""
    if array.shape[:2] == (height, width):
        return np.asarray(array, np.float32)
    if array.ndim == 3:
        return np.stack([resize(array[..., c], width, height, kind) for c in range(array.shape[2])], axis=-1)
    plane = Image.fromarray(np.ascontiguousarray(array, np.float32))
    return np.asarray(plane.resize((width, height), kind), np.float32)


def shrink(array: NDArray[Any], side: int) -> Floats:
    """Averages down so that no side exceeds `side`; keeps the aspect ratio and never enlarges."""
    height, width = array.shape[:2]
    return resize(array, *scaled_size(width, height, min(1.0, side / max(height, width))))


def crop_to_ink(array: NDArray[Any]) -> tuple[NDArray[Any], int, int]:
    """The smallest part that contains all non-zero pixels, its top row and its left column; size 0 if all are zero."""
    rows, columns = np.flatnonzero(array.any(1)), np.flatnonzero(array.any(0))
    if not len(rows):
        return array[:0, :0], 0, 0
    return array[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], int(rows[0]), int(columns[0])


def _dilate_columns(plane: Floats, radius: int) -> Floats:
    """Maximum over 2 * radius + 1 pixels of each column. The window doubles with each step."""
    padded = np.full((len(plane) + 2 * radius, plane.shape[1]), -np.inf, np.float32)
    padded[radius:-radius] = plane
    size, span = 2 * radius + 1, 1
    while span < size:
        step = min(span, size - span)
        padded = np.maximum(padded[:-step], padded[step:])
        span += step
    return padded


def dilate(plane: Floats, radius: int) -> Floats:
    """Maximum over a square of 2 * radius + 1 pixels."""
    return _dilate_columns(_dilate_columns(plane, radius).T, radius).T


def erode(plane: Floats, radius: int) -> Floats:
    """Minimum over a square of 2 * radius + 1 pixels."""
    return -dilate(-plane, radius)


def opening(plane: Floats, radius: int) -> Floats:
    """Morphological opening: removes bright structures narrower than 2 * radius + 1. Border values are repeated."""
    padded = np.pad(plane, radius, mode="edge")
    return dilate(erode(padded, radius), radius)[radius:-radius, radius:-radius]


def dilate_cross(plane: Floats) -> Floats:
    """Maximum over a pixel and its four neighbours."""
    return np.maximum(_dilate_columns(plane, 1), _dilate_columns(plane.T, 1).T)


def thicken(plane: Floats, radius: float) -> Floats:
    """Dilates by a fractional radius with an octagon: crosses and squares alternate, the last step is partial."""
    whole, rest = int(radius), radius - int(radius)
    for step in range(whole):
        plane = dilate(plane, 1) if step % 2 else dilate_cross(plane)
    return np.asarray(plane + rest * (dilate_cross(plane) - plane), np.float32)


def noise_level(plane: Floats) -> float:
    """Standard deviation of the noise, estimated from neighbouring pixels. The median is robust against strokes."""
    steps = np.abs(np.diff(plane[:: max(1, len(plane) // 64)], axis=1))
    return float(np.median(steps)) / 0.954 if steps.size else 0.0  # the median of |N(0, 2 s^2)| is 0.954 s


def skewness(values: Floats) -> float:
    """Third moment about zero, divided by the second moment to the power of 3/2."""
    squares = values * values
    return float((squares * values).mean()) / max(float(np.power(squares.mean(), 1.5)), 1e-9)


def otsu(values: Floats) -> float:
    """Positive threshold with the greatest between-class variance (Otsu, 1979); 0 if no value is positive."""
    top = float(values.max())
    if top <= 0:
        return 0.0
    bins = 128
    indices = (np.maximum(values, 0) * ((bins - 0.01) / top)).astype(np.uint8)
    histogram = np.bincount(indices.ravel(), minlength=bins)
    weight = np.cumsum(histogram).astype(np.float64)
    mass = np.cumsum(histogram * (np.arange(bins) + 0.5))
    below, above = weight[:-1], weight[-1] - weight[:-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        between = np.square(mass[-1] * below / weight[-1] - mass[:-1]) / (below * above)
    return (1 + int(np.argmax(np.where(below * above > 0, between, -1)))) * top / bins


def connected_components(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """Labels the 8-connected components of a mask (h, w) by merging horizontal runs that touch.

    Returns labels (h, w), from 1, with 0 for the background; areas (n,) in pixels; boxes (n, 4): top, bottom, left,
    right, with bottom and right exclusive.
    """
    stride = mask.shape[1] + 1  # an empty column at the end separates the runs of different rows
    edges = np.diff(np.pad(mask, ((0, 0), (0, 1))).ravel().astype(np.int8), prepend=np.int8(0))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    labels = np.zeros(mask.shape, np.int32)
    if not len(starts):
        return labels, np.zeros(0, np.int64), np.zeros((0, 4), np.int64)
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
    return np.asarray(np.unique(root, return_inverse=True)[1], np.int64)
