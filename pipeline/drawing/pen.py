"""Draws strokes of random shape: lines, curves and arcs, for many images at once."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from recognition.image_format import IMAGE_SIZE

Floats = NDArray[np.floating]
Stroke = Floats  # (n, points, 2), columns and rows
Point = tuple[float | Floats, float | Floats]  # column and row in the unit square, numbers or one for each image (n,)

SEGMENTS = 12  # straight pieces of a curve


@dataclass(frozen=True)
class Style:
    """How the forms are written: the ranges of random values."""

    proportions: tuple[float, float]  # part of each form's ranges that is used
    widths: tuple[float, float]  # pixels
    tilt: float  # degrees, maximum in both directions
    slant: float  # columns per row, standard deviation
    unsteadiness: float  # standard deviation of each point


class Pen:
    """Draws random values and strokes for `count` images at once. A stroke is an array (n, points, 2)."""

    def __init__(self, count: int, style: Style, random: np.random.Generator) -> None:
        self.count, self.style, self.random = count, style, random

    def between(self, low: float, high: float) -> Floats:
        """Random values (n,) of a form's range, as the style uses it."""
        return low + (high - low) * self.random.uniform(*self.style.proportions, self.count)

    def line(self, *points: Point) -> Stroke:
        """A stroke with corners."""
        corners = np.array([np.broadcast_arrays(*point, np.empty(self.count))[:2] for point in points])
        return corners.transpose(2, 0, 1) + self.random.normal(0, self.style.unsteadiness, (self.count, len(points), 2))

    def curve(self, *points: Point) -> Stroke:
        """A smooth stroke through points."""
        knots = np.linspace(0, 1, len(points))
        return np.asarray(CubicSpline(knots, self.line(*points), axis=1)(np.linspace(0, 1, SEGMENTS + 1)))

    def arc(self, centre: Point, radii: Point, start: float | Floats = 0, turn: float | Floats = math.tau) -> Stroke:
        """Part of an ellipse, clockwise; `start` and `turn` in radians, 0 is at the top."""
        angle = np.reshape(start, (-1, 1)) + np.reshape(turn, (-1, 1)) * np.linspace(0, 1, SEGMENTS + 1)
        offsets = np.stack(np.broadcast_arrays(np.sin(angle), -np.cos(angle)), axis=-1)
        middle, size = (
            np.stack(np.broadcast_arrays(*pair, np.empty(self.count))[:2], axis=-1) for pair in (centre, radii)
        )
        middle = middle + self.random.normal(0, self.style.unsteadiness, (self.count, 2))
        return np.asarray(middle[:, None] + size[:, None] * offsets)


def draw(ends: Floats, widths: Floats) -> NDArray[np.float32]:
    """Draw anti-aliased lines of brightness 1 on black images; returns (n, 28, 28).

    `ends`: (n, segments, 2, 2), start and end as (row, column); `widths`: pixels, (n,).
    """
    axis = np.arange(IMAGE_SIZE, dtype=np.float32)
    rows, columns = np.meshgrid(axis, axis, indexing="ij")
    reach = np.asarray(widths / 2 + 0.5, np.float32)[:, None, None]
    drawn = np.zeros((len(ends), IMAGE_SIZE, IMAGE_SIZE), np.float32)
    for segment in np.moveaxis(ends.astype(np.float32), 1, 0)[..., None, None]:
        start, step = segment[:, 0], segment[:, 1] - segment[:, 0]
        length = np.maximum((step**2).sum(axis=1), 1e-6)
        along = ((rows - start[:, 0]) * step[:, 0] + (columns - start[:, 1]) * step[:, 1]) / length
        along = np.clip(along, 0, 1)
        distance = np.hypot(rows - start[:, 0] - along * step[:, 0], columns - start[:, 1] - along * step[:, 1])
        np.maximum(drawn, np.clip(reach - distance, 0, 1), out=drawn)
    return drawn
