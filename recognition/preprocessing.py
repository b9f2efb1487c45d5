"""Converts an image of a handwritten digit (drawn, scanned or photographed) to the format of MNIST's images."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from recognition.image_format import BOX_SIZE, IMAGE_SIZE
from recognition.ink import find_glyph, load_pixels, read_colours
from recognition.raster import Floats, crop_to_ink, pad, resize, scaled_size, thicken

SUPERSAMPLING: Final = 3  # for stroke widths: a dilation then changes a stroke by a third of an MNIST pixel
STROKE_WIDTH: Final = (2.0, 3.6)  # pixels; other strokes are normalised. 98% of MNIST's own are 1.5 to 4.5 wide


@dataclass(frozen=True)
class Digit:
    """A preprocessed image. `pixels`: uint8 (28, 28), ink bright; `blank`: no ink was found, all pixels are zero."""

    pixels: NDArray[np.uint8]
    blank: bool


def to_digit(image: Image.Image) -> Digit:
    """Converts an image of any size and Pillow mode. An image that is already MNIST-like passes unchanged."""
    image = load_pixels(image)
    if image.size == (IMAGE_SIZE, IMAGE_SIZE):
        colours = read_colours(image, IMAGE_SIZE)
        if len(colours) == 1 and is_mnist_like(colours[0]):
            return Digit(colours[0], blank=False)
    glyph = find_glyph(image)
    if glyph is None:
        return Digit(np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.uint8), blank=True)
    return glyph_to_digit(glyph)


def is_mnist_like(pixels: NDArray[Any]) -> bool:
    """Whether an array is uint8 (28, 28), ink bright, and its ink has the size and the centre of an MNIST digit."""
    if pixels.shape != (IMAGE_SIZE, IMAGE_SIZE) or pixels.dtype != np.uint8 or pixels.max() < 192:
        return False
    if not 14 <= max(crop_to_ink(pixels)[0].shape) <= BOX_SIZE:  # MNIST: 19 or 20; 14 without faint pixels
        return False
    # MNIST's centres of mass are 14 to 15, the middle of the image is 14. Up to a pixel beyond them is accepted.
    return all(13 <= centre <= 15.5 for centre in _centre_of_mass(pixels))


def glyph_to_digit(glyph: Floats) -> Digit:
    """Converts the ink of one digit, float32 (h, w) in 0..1 and not all zero, to MNIST's format."""
    fitted = fit_to_box(normalise_stroke_width(glyph))
    return Digit(centre_by_mass(np.rint(fitted * 255).astype(np.uint8)), blank=False)


def stroke_width(ink: Floats) -> float:
    """Mean stroke width in pixels: twice the area divided by the length of the outline, both from soft edges."""
    padded = pad(ink, 1)
    dy, dx = np.diff(padded, axis=0)[:, :-1], np.diff(padded, axis=1)[:-1]
    outline = float(np.sqrt(dy * dy + dx * dx).sum())
    return 2 * float(ink.sum()) / max(outline, 1e-6)


def normalise_stroke_width(glyph: Floats) -> Floats:
    """Resamples ink to SUPERSAMPLING times MNIST's resolution and brings its strokes into the range STROKE_WIDTH.

    Otherwise hairlines of a large image would vanish when averaged, and markers would fill the loops.
    """
    height, width = glyph.shape
    scale = BOX_SIZE * SUPERSAMPLING / max(height, width)
    kind = Image.Resampling.BICUBIC if scale > 1 else Image.Resampling.BOX
    large = np.clip(resize(glyph, *scaled_size(width, height, scale), kind), 0, 1)
    low, high = STROKE_WIDTH[0] * SUPERSAMPLING, STROKE_WIDTH[1] * SUPERSAMPLING
    stroke = stroke_width(large)
    if stroke < low:
        radius = (low - stroke) / 2
        return thicken(pad(large, int(np.ceil(radius))), radius)
    if stroke > high:
        return np.asarray(1 - thicken(1 - pad(large, 1), (stroke - high) / 2), np.float32)
    return large


def fit_to_box(ink: NDArray[Any], box: int = BOX_SIZE) -> NDArray[Any]:
    """Crops to the ink and resamples so that the longer side has `box` pixels; the aspect ratio is kept.

    `ink`: uint8 or float (h, w), ink bright. Returns the same dtype; a single zero pixel if there is no ink.
    """
    crop = crop_to_ink(ink)[0].astype(np.float32)
    if not crop.size:
        return np.zeros((1, 1), ink.dtype)
    height, width = crop.shape
    scale = box / max(height, width)
    kind = Image.Resampling.BOX if scale < 0.5 else Image.Resampling.BICUBIC
    fitted = np.clip(resize(crop, *scaled_size(width, height, scale), kind), 0, float(crop.max()))
    return fitted.astype(ink.dtype) if ink.dtype.kind == "f" else np.rint(fitted).astype(ink.dtype)


def centre_by_mass(ink: NDArray[Any], side: int = IMAGE_SIZE) -> NDArray[Any]:
    """Places ink (h, w) in (side, side) with its centre of mass at the middle, as in MNIST (LeCun et al., 1998).

    `h` and `w` are at most `side`. The shift is in whole pixels, and limited so that all ink stays inside.
    """
    placed = np.zeros((side, side), ink.dtype)
    if ink.sum(dtype=np.float64) > 0:
        shift = [int(np.floor(side / 2 - centre + 0.5)) for centre in _centre_of_mass(ink)]
        top, left = (min(max(offset, 0), side - length) for offset, length in zip(shift, ink.shape, strict=True))
        placed[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    return placed


def _centre_of_mass(ink: NDArray[Any]) -> list[float]:
    """Row and column of the centre of mass, in pixels from the upper left corner of (h, w); ink is not all zero."""
    total = float(ink.sum(dtype=np.float64))
    sums = ink.sum(1, dtype=np.float64), ink.sum(0, dtype=np.float64)
    return [float(weights @ (np.arange(len(weights)) + 0.5)) / total for weights in sums]
