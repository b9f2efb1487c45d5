"""Synthetic digits drawn with pen strokes, in the forms that people write and that are rare in MNIST."""

import numpy as np
from numpy.typing import NDArray

from pipeline.drawing.forms import FORMS
from pipeline.drawing.pen import Floats, Pen, Stroke, Style, draw
from recognition.image_format import BOX_SIZE, IMAGE_SIZE

TRAINING = Style(proportions=(0, 1), widths=(0.8, 4.5), tilt=25, slant=0.15, unsteadiness=0.03)
TEST = Style(proportions=(-0.1, 1.1), widths=(1, 5), tilt=30, slant=0.1, unsteadiness=0.02)


def draw_digits(count: int, seed: int = 0, style: Style = TRAINING) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Returns images, uint8 (count, 28, 28) with bright ink, and labels (count,); the forms alternate."""
    random = np.random.default_rng(seed)
    images, labels = np.zeros((count, IMAGE_SIZE, IMAGE_SIZE), np.uint8), np.zeros(count, np.uint8)
    for index, (label, proportions, form) in enumerate([*FORMS.values()][:count]):
        selected = slice(index, None, len(FORMS))
        pen = Pen(len(labels[selected]), style, random)
        images[selected], labels[selected] = _render(form(pen), pen.between(*proportions), pen), label
    return images, labels


def _render(strokes: list[Stroke], proportion: Floats, pen: Pen) -> NDArray[np.uint8]:
    """Draw strokes with random slant, tilt and stroke width, scaled and centred as MNIST's digits are."""
    style, random, count = pen.style, pen.random, pen.count
    thinnest, thickest = np.log(style.widths)
    width = np.exp(random.uniform(thinnest, thickest, count))
    slant, tilt = random.normal(0, style.slant, count), np.radians(random.uniform(-style.tilt, style.tilt, count))
    segments = np.concatenate([np.stack([path[:, :-1], path[:, 1:]], axis=2) for path in strokes], axis=1)
    column, row = np.moveaxis(segments - 0.5, -1, 0)  # (n, segments, 2 ends) each
    column = column * proportion[:, None, None] - row * slant[:, None, None]
    cos, sin = np.cos(tilt)[:, None, None], np.sin(tilt)[:, None, None]
    ends = np.stack([row * cos + column * sin, column * cos - row * sin], axis=-1)
    low, high = ends.min(axis=(1, 2)), ends.max(axis=(1, 2))
    size = (BOX_SIZE - width) / (high - low).max(axis=1)
    ends = (ends - ((low + high) / 2)[:, None, None]) * size[:, None, None, None] + IMAGE_SIZE / 2 - 0.5
    drawn = draw(ends, width)
    axis, mass = np.arange(IMAGE_SIZE), drawn.sum(axis=(1, 2))
    centre = np.stack([drawn.sum(axis=2) @ axis, drawn.sum(axis=1) @ axis], axis=1) / mass[:, None]
    ends = ends - np.rint(centre - IMAGE_SIZE / 2)[:, None, None]
    return np.asarray(np.rint(draw(ends, width) * 255), np.uint8)
