"""From a picture of a handwritten digit, as people draw, scan and photograph it, to the 28x28 bytes of MNIST.

The whole chain, and its last part: from ink to MNIST's geometry. NumPy and Pillow only.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from recognition.ink import find_glyph, upright
from recognition.raster import Floats, resize, scaled, thicken

SIDE: Final = 28  # an MNIST image
BOX: Final = 20  # MNIST scaled every digit into this box before centring it
# For stroke width: at six steps per MNIST pixel a dilation changes a stroke by a third of a pixel.
SUPERSAMPLING: Final = 6
# Strokes outside this range of MNIST pixels are widened or thinned; 98% of MNIST's own lie between 1.5 and 4.5.
STROKE_WIDTH: Final = (2.0, 3.6)


@dataclass(frozen=True)
class Digit:
    """pixels: uint8 (28, 28), ink bright; blank: nothing is written, all pixels are zero."""

    pixels: NDArray[np.uint8]
    blank: bool


def to_digit(image: Image.Image) -> Digit:
    """The whole chain. A picture that already is MNIST-like passes unchanged."""
    ready = _plain_grey(image)
    if ready is not None and is_mnist_like(ready):
        return Digit(ready, blank=False)
    glyph = find_glyph(upright(image))
    if glyph is None:
        return Digit(np.zeros((SIDE, SIDE), np.uint8), blank=True)
    return glyph_to_digit(glyph)


def is_mnist_like(pixels: NDArray[Any]) -> bool:
    """uint8 (28, 28), ink bright, within a 20x20 box that it about fills, centred by mass within a pixel."""
    if pixels.shape != (SIDE, SIDE) or pixels.dtype != np.uint8 or pixels.max() < 192:
        return False
    rows, columns = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
    height, width = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
    if not 14 <= max(height, width) <= BOX:  # MNIST's own: 19 or 20, 14 when faint pixels are not counted
        return False
    total = pixels.sum(dtype=np.int64)
    centre = np.array([pixels.sum(1) @ np.arange(SIDE), pixels.sum(0) @ np.arange(SIDE)]) / total
    # MNIST's centres of mass lie in 13.5 to 14.5; the geometric centre is 13.5. A pixel around either is near enough.
    return bool(np.all((centre >= 12.5) & (centre <= 15.0)))


def _plain_grey(image: Image.Image) -> NDArray[np.uint8] | None:
    """The pixels of a 28x28 picture that is grey and opaque, whatever its mode; None for any other."""
    if image.size != (SIDE, SIDE) or image.mode not in ("L", "RGB", "RGBA", "P"):
        return None
    rgba = np.asarray(image.convert("RGBA"))
    opaque_grey = (rgba[..., 3] == 255).all() and (rgba[..., :3] == rgba[..., :1]).all()
    return rgba[..., 0].copy() if opaque_grey else None


def glyph_to_digit(glyph: Floats) -> Digit:
    """One digit's ink (0..1, any size, not all zero) in MNIST's geometry."""
    fitted = fit_to_box(normalise_stroke_width(glyph))
    return Digit(centre_by_mass(np.rint(fitted * 255).astype(np.uint8)), blank=False)


def stroke_width(ink: Floats) -> float:
    """Mean width of the strokes in pixels: twice the area over the outline's length, both from soft edges."""
    padded = np.pad(ink, 1)
    dy, dx = np.diff(padded, axis=0)[:, :-1], np.diff(padded, axis=1)[:-1]
    outline = float(np.sqrt(dy * dy + dx * dx).sum())
    return 2 * float(ink.sum()) / max(outline, 1e-6)


def normalise_stroke_width(glyph: Floats) -> Floats:
    """The glyph at SUPERSAMPLING times MNIST's resolution, its strokes within STROKE_WIDTH.

    Hairlines of a large picture would vanish in the average over a pixel, markers would fill the loops.
    """
    height, width = glyph.shape
    scale = BOX * SUPERSAMPLING / max(height, width)
    kind = Image.Resampling.BICUBIC if scale > 1 else Image.Resampling.BOX
    large = np.clip(resize(glyph, *scaled(width, height, scale), kind), 0, 1)
    low, high = STROKE_WIDTH[0] * SUPERSAMPLING, STROKE_WIDTH[1] * SUPERSAMPLING
    stroke = stroke_width(large)
    if stroke < low:
        radius = (low - stroke) / 2
        return thicken(np.pad(large, int(np.ceil(radius))), radius)
    if stroke > high:
        return np.asarray(1 - thicken(1 - np.pad(large, 1), (stroke - high) / 2), np.float32)
    return large


def fit_to_box(ink: NDArray[Any], box: int = BOX) -> NDArray[Any]:
    """Cropped to its ink and scaled, aspect kept, so that the longer side is `box`.

    ink: uint8 or float (h, w), ink bright. The same dtype comes back; a single zero if all is dark.
    """
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    if not len(rows):
        return np.zeros((1, 1), ink.dtype)
    crop = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float32)
    height, width = crop.shape
    scale = box / max(height, width)
    kind = Image.Resampling.BOX if scale < 0.5 else Image.Resampling.BICUBIC
    fitted = np.clip(resize(crop, *scaled(width, height, scale), kind), 0, float(crop.max()))
    return fitted.astype(ink.dtype) if ink.dtype.kind == "f" else np.rint(fitted).astype(ink.dtype)


def centre_by_mass(ink: NDArray[Any], side: int = SIDE) -> NDArray[Any]:
    """Placed in side x side, by whole pixels, so that the centre of mass falls on the middle, as MNIST was.

    Ink that would fall outside is kept in: the shift is limited. ink: (h, w), h and w at most `side`.
    """
    placed = np.zeros((side, side), ink.dtype)
    height, width = ink.shape
    total = float(ink.sum(dtype=np.float64))
    if total <= 0:
        return placed
    offsets = []
    for axis, length in enumerate((height, width)):
        # (index + 0.5) is a pixel's middle, side / 2 the picture's
        centre = float(ink.sum(1 - axis, dtype=np.float64) @ (np.arange(length) + 0.5)) / total
        offsets.append(min(max(int(np.floor(side / 2 - centre + 0.5)), 0), side - length))
    placed[offsets[0] : offsets[0] + height, offsets[1] : offsets[1] + width] = ink
    return placed
