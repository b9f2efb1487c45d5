"""Operations on rasters that know nothing of digits: sizes, neighbourhoods, statistics, connected components."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.float32]

BINS: Final = 128  # of the histogram in which Otsu's threshold is sought


def scaled(width: int, height: int, scale: float) -> tuple[int, int]:
    """Width and height times `scale`, in whole pixels, at least one."""
    return max(1, round(width * scale)), max(1, round(height * scale))


def resize(array: NDArray[Any], width: int, height: int, kind: Image.Resampling = Image.Resampling.BOX) -> Floats:
    """float32 (h, w) or (h, w, channels), resampled with anti-aliasing."""
    if array.shape[:2] == (height, width):
        return np.asarray(array, np.float32)
    if array.ndim == 3:
        return np.stack([resize(array[..., c], width, height, kind) for c in range(array.shape[2])], axis=-1)
    plane = Image.fromarray(np.ascontiguousarray(array, np.float32))
    return np.asarray(plane.resize((width, height), kind), np.float32)


def shrink(array: NDArray[Any], side: int) -> Floats:
    """Averaged down so that no side is longer than `side`, aspect kept."""
    height, width = array.shape[:2]
    return resize(array, *scaled(width, height, min(1.0, side / max(height, width))))


def dilate(plane: Floats, reach: int) -> Floats:
    """Maximum over a square of 2 * reach + 1 pixels, by doubling the window along each axis."""
    size = 2 * reach + 1
    for _ in range(2):  # down the columns, then, turned over, along the rows
        padded = np.full((len(plane) + 2 * reach, plane.shape[1]), -np.inf, np.float32)
        padded[reach:-reach] = plane
        plane = padded
        span = 1
        while span < size:
            step = min(span, size - span)
            plane = np.maximum(plane[:-step], plane[step:])
            span += step
        plane = plane.T
    return plane


def erode(plane: Floats, reach: int) -> Floats:
    """Minimum over a square of 2 * reach + 1 pixels."""
    return -dilate(-plane, reach)


def opening(plane: Floats, reach: int) -> Floats:
    """Without what is narrower than 2 * reach + 1 pixels and bright; the border is repeated outwards."""
    padded = np.pad(plane, reach, mode="edge")
    return dilate(erode(padded, reach), reach)[reach:-reach, reach:-reach]


def dilate_cross(plane: Floats) -> Floats:
    """Maximum over a pixel and its four neighbours."""
    grown = plane.copy()
    np.maximum(grown[1:], plane[:-1], out=grown[1:])
    np.maximum(grown[:-1], plane[1:], out=grown[:-1])
    np.maximum(grown[:, 1:], plane[:, :-1], out=grown[:, 1:])
    np.maximum(grown[:, :-1], plane[:, 1:], out=grown[:, :-1])
    return grown


def thicken(plane: Floats, radius: float) -> Floats:
    """Dilated by `radius` pixels with an octagon: crosses and squares in turn, the last step in part."""
    whole, rest = int(radius), radius - int(radius)
    for step in range(whole):
        plane = dilate(plane, 1) if step % 2 else dilate_cross(plane)
    return np.asarray(plane + rest * (dilate_cross(plane) - plane), np.float32)


def noise_level(plane: Floats) -> float:
    """Standard deviation of the noise, from the differences of neighbours: the median ignores strokes."""
    steps = np.abs(np.diff(plane[:: max(1, len(plane) // 64)], axis=1))
    return float(np.median(steps)) / 0.954 if steps.size else 0.0  # |N(0, 2 s^2)| has its median at 0.954 s


def skewness(values: Floats) -> float:
    """Third moment about zero over the second one's power 3/2."""
    squares = values * values
    return float((squares * values).mean()) / max(float(np.power(squares.mean(), 1.5)), 1e-9)


def otsu(values: Floats) -> float:
    """The positive threshold that maximises the variance between two classes (Otsu, 1979); 0 if all is dark."""
    top = float(values.max())
    if top <= 0:
        return 0.0
    bins = (np.maximum(values, 0) * ((BINS - 0.01) / top)).astype(np.uint8)
    histogram = np.bincount(bins.ravel(), minlength=BINS)
    weight = np.cumsum(histogram).astype(np.float64)
    mass = np.cumsum(histogram * (np.arange(BINS) + 0.5))
    below, above = weight[:-1], weight[-1] - weight[:-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        between = np.square(mass[-1] * below / weight[-1] - mass[:-1]) / (below * above)
    return (1 + int(np.argmax(np.where(below * above > 0, between, -1)))) * top / BINS


def connected_components(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """Labels (h, w) of the 8-connected components, 0 outside; areas (n,); boxes (n, 4): top, bottom, left, right.

    Runs of each row are joined with those they touch in the next one; the smaller label spreads until all agree.
    """
    stride = mask.shape[1] + 1  # a column of paper, so that no run goes on in the next row
    edges = np.diff(np.pad(mask, ((0, 0), (0, 1))).ravel().astype(np.int8), prepend=np.int8(0))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    labels = np.zeros(mask.shape, np.int32)
    if not len(starts):
        return labels, np.zeros(0, np.int64), np.zeros((0, 4), np.int64)
    component = _joined(starts, ends, stride)
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


def _joined(starts: NDArray[np.int64], ends: NDArray[np.int64], stride: int) -> NDArray[np.int64]:
    """Each run's component, from 0; runs are given by their places in rows of `stride` pixels, end to end."""
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
