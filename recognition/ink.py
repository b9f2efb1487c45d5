"""Extracts the ink of a digit from an image. Arrays of ink are float32 (h, w), ink bright, in 0..1 if thresholded."""

from dataclasses import dataclass
from math import isqrt
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from recognition.image_format import SUFFICIENT_SIDE
from recognition.paper import MAX_STROKE, Assumptions, remove_lines, subtract_background
from recognition.raster import (
    Floats,
    connected_components,
    dilate,
    erode,
    is_frame,
    noise_level,
    otsu,
    pad,
    shrink,
    touches_border,
)

WORKING_SIDE: Final = 144  # pixels of the longer side while a digit is searched for, at most
MIN_SIDE: Final = 32  # pixels; smaller images are not averaged down further
ORIENTATION: Final = ExifTags.Base.Orientation
STRIP_PIXELS: Final = 250_000  # converted at a time
SOFT_THRESHOLD: Final = (0.3, 0.8)  # shares of the strokes' contrast: paper below the first, solid ink above the second
CLEAR_CONTRAST: Final = 10.0  # times the noise; an image with less is averaged down further
VISIBLE_CONTRAST: Final = 4.0  # times the noise; an image that has less even then is blank
MIN_CONTRAST: Final = 8.0  # grey levels between paper and ink; more than the variations of blank paper
INK_THRESHOLD: Final = 0.25  # brighter pixels belong to a component
DOUBTFUL_COST: Final = 0.55  # shape cost of a digit that may have the wrong polarity; see `shape_cost`
MIN_COST_REDUCTION: Final = 0.1  # for a result under other assumptions to replace the first one
MIN_SHADED_SIDE: Final = 64  # pixels; smaller images are not searched for shadows
LIKELIEST: Final = Assumptions()


@dataclass(frozen=True)
class Candidate:
    """A digit found under `assumptions`."""

    ink: Floats  # cropped to `box`
    box: tuple[int, int, int, int]  # top, bottom, left, right; bottom and right exclusive
    shape: tuple[int, ...]  # of the reduced image that contains `box`
    parts: int  # components with more than a twentieth of the digit's area
    cost: float  # see `shape_cost`
    assumptions: Assumptions


def find_glyph(image: Image.Image) -> Floats | None:
    """Ink of the digit in an image from `load_pixels`, in 0..1, cropped to its bounding box; None if it is blank.

    If the first result is doubtful, other assumptions are tried and the lowest shape cost wins. A digit that is small
    within its image is extracted again at a higher resolution.
    """
    colours = read_colours(image, WORKING_SIDE)
    best = find_candidate(colours)
    if best is None:
        return None
    for assumptions in _alternatives(best):
        other = find_candidate(colours, assumptions)
        if other is not None and other.cost < best.cost - MIN_COST_REDUCTION:
            best = other
    closer = crop_small_digit(image, best)
    if closer is not None:
        best = find_candidate(read_colours(closer, WORKING_SIDE), best.assumptions) or best
    return best.ink


def _alternatives(first: Candidate) -> list[Assumptions]:
    """Assumptions to try next. A shadow, a table or the paper between strokes may have been taken for ink."""
    blotched = first.cost > 1 and max(first.shape) >= MIN_SHADED_SIDE
    alternatives = [Assumptions(max_stroke=MAX_STROKE), Assumptions(max_stroke=MAX_STROKE / 2.5)] if blotched else []
    if blotched or first.parts > 1:
        alternatives.append(Assumptions(max_stroke=MAX_STROKE, sheet=True))
    if first.cost > DOUBTFUL_COST:
        alternatives.append(Assumptions(invert=True))
    return alternatives


def find_candidate(colours: NDArray[np.uint8], assumptions: Assumptions = LIKELIEST) -> Candidate | None:
    """The digit as it appears under these assumptions; None if the image is blank."""
    ink = extract_ink(colours, assumptions)
    labels, areas, boxes = connected_components(ink > INK_THRESHOLD)
    if not len(areas):
        return None
    mask = digit_components(areas, boxes, ink.shape)
    if not mask.all():
        ink[np.append(False, ~mask)[labels]] = 0
        areas, boxes = areas[mask], boxes[mask]
    top, _, left, _ = boxes.min(0).tolist()
    _, bottom, _, right = boxes.max(0).tolist()
    glyph, parts = ink[top:bottom, left:right], int((areas > 0.05 * areas.sum()).sum())
    return Candidate(glyph, (top, bottom, left, right), ink.shape, parts, shape_cost(glyph, parts), assumptions)


def shape_cost(ink: Floats, parts: int) -> float:
    """Cost of a glyph, low for a plausible digit: the inked share of its box, a sixth per further part, `blob_cost`.

    The inked share is not counted in slender boxes, which a one may fill.
    """
    fill = 0.0 if min(ink.shape) < 0.4 * max(ink.shape) else float(ink.mean())
    return fill + (parts - 1) / 6 + blob_cost(ink)


def blob_cost(ink: Floats) -> float:
    """1 plus the share of ink in shapes broader than a third of the longer side; 0 if that share is at most 5%."""
    step = -(-max(ink.shape) // 48)
    small = ink[::step, ::step]
    radius = max(1, max(small.shape) // 6)
    cores = erode(small, radius)
    if not cores.any():
        return 0.0
    share = float(dilate(pad(cores, radius), radius).sum() / small.sum())
    return 1 + share if share > 0.05 else 0.0


def load_pixels(image: Image.Image) -> Image.Image:
    """The image, upright, in mode L, RGB or RGBA, averaged down by a whole factor to less than four megapixels.

    Converts in strips, so that no second image of the full size is needed. Invalid EXIF data is ignored.
    """
    factor = max(1, isqrt(image.width * image.height // SUFFICIENT_SIDE**2))
    if factor > 1 or image.mode not in ("L", "RGB", "RGBA"):
        limits = image.getextrema() if image.mode.startswith(("I", "F")) else None
        rows = max(1, STRIP_PIXELS // image.width // factor) * factor
        boxes = [(0, top, image.width, min(top + rows, image.height)) for top in range(0, image.height, rows)]
        strips = [np.asarray(_to_8_bit(image.crop(box), limits).reduce(factor)) for box in boxes]
        info = image.info  # contains the EXIF data
        image = Image.fromarray(np.concatenate(strips))
        image.info = info
    try:
        return image if image.getexif().get(ORIENTATION, 1) == 1 else ImageOps.exif_transpose(image)
    except Exception:
        return image


def _to_8_bit(image: Image.Image, limits: Any) -> Image.Image:
    """Converts any Pillow mode to L, RGB or RGBA; `limits`: darkest and brightest value of a 16-bit or deeper grey."""
    if limits:
        low, high = limits
        deep = (np.asarray(image, np.float32) - low) * (255 / max(high - low, 1e-6))
        return Image.fromarray(deep.astype(np.uint8))
    if image.mode in ("LA", "La", "PA", "RGBa") or "transparency" in image.info:
        return image.convert("RGBA")
    return image.convert("L" if image.mode == "1" else "RGB")


def read_colours(image: Image.Image, side: int) -> NDArray[np.uint8]:
    """Pixels uint8 (channels, h, w), one channel if all are grey, of an L, RGB or RGBA image, at most `side` a side.

    Averages by a whole factor: this keeps hairlines visible; subsampling loses them. Transparent images get a
    background that contrasts with the ink, see `_composite`.
    """
    factor = -(-max(image.size) // side)
    if image.mode == "RGBA":
        if np.asarray(image.getchannel("A")).min() < 255:
            return _composite(np.asarray(image.reduce(factor), np.float32)).transpose(2, 0, 1)
        image = image.convert("RGB")
    planes = [np.asarray(band) for band in image.reduce(factor).split()]
    grey = all(np.array_equal(planes[0], plane) for plane in planes[1:])
    return np.stack(planes[:1] if grey else planes)


def _composite(rgba: Floats) -> NDArray[np.uint8]:
    """Puts RGBA (h, w, 4) on black, white, or the median of the opaque pixels if these prevail.

    If all pixels have the same colour, the alpha channel is the image.
    """
    colour, alpha = rgba[..., :3], rgba[..., 3:] / 255
    weight = alpha / max(float(alpha.sum()), 1e-6)
    mean = (colour * weight).sum((0, 1))
    spread = float(np.sqrt((np.square(colour - mean) * weight).sum((0, 1)).max()))
    if spread < MIN_CONTRAST:
        return rgba[..., 3:].astype(np.uint8)
    if float(alpha.mean()) > 0.5:
        background = np.median(colour[alpha[..., 0] > 0.5], axis=0)
    else:
        background = np.full(3, 0.0 if mean.mean() > 128 else 255.0)
    return np.asarray(colour * alpha + background * (1 - alpha)).astype(np.uint8)


def extract_ink(colours: NDArray[Any], assumptions: Assumptions = LIKELIEST) -> Floats:
    """Ink in 0..1 (1: solid strokes) of colours (channels, h, w); all zero if the image is blank.

    An image whose noise hides its ink is averaged down further, to MIN_SIDE at least.
    """
    ink = np.maximum(subtract_background(colours, assumptions), 0)
    contrast, noise = stroke_contrast(ink), noise_level(ink)
    cleaned = remove_lines(ink, contrast)
    if cleaned is not ink:
        ink, contrast = cleaned, stroke_contrast(cleaned)
    if contrast < CLEAR_CONTRAST * noise and max(ink.shape) >= 2 * MIN_SIDE:
        return extract_ink(shrink(colours, max(ink.shape) // 2), assumptions)
    if contrast < max(MIN_CONTRAST, VISIBLE_CONTRAST * noise):
        return np.zeros_like(ink)
    return soft_threshold(ink, contrast, noise)


def soft_threshold(ink: Floats, contrast: float, noise: float) -> Floats:
    """Maps ink linearly to 0..1 between the limits of SOFT_THRESHOLD; the lower limit is raised above the noise."""
    low, high = (share * contrast for share in SOFT_THRESHOLD)
    low = min(max(low, 3 * noise), 0.5 * contrast)
    return np.asarray(np.clip((ink - low) / (high - low), 0, 1), np.float32)


def stroke_contrast(ink: Floats) -> float:
    """Typical difference between strokes and paper, in grey levels: the median above Otsu's threshold."""
    step = max(1, min(ink.shape) // 64)
    sample = ink[::step, ::step]
    strokes = sample[sample > otsu(sample)]
    return float(np.median(strokes)) if strokes.size else 0.0


def digit_components(areas: NDArray[np.int64], boxes: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Mask (n,) of the components that form the digit, for areas (n,) and boxes (n, 4) in an array of `shape`.

    Excludes specks, frames and underlines, and components at the border if a large one is not at the border.
    """
    if len(areas) == 1:
        return np.ones(1, np.bool_)
    heights, widths = boxes[:, 1] - boxes[:, 0], boxes[:, 3] - boxes[:, 2]
    longest = np.maximum(heights, widths)
    inside = ~touches_border(boxes, shape) & ~is_frame(areas, boxes)
    if not (inside & (longest >= 0.2 * max(shape))).any():
        inside[:] = True
    main = int(np.argmax(np.where(inside, longest * np.sqrt(areas), 0)))
    mask = inside & (areas >= 0.03 * areas[main]) & (longest >= 0.08 * longest[main])
    below = boxes[:, 0] > boxes[main, 1] + 0.06 * heights[main]  # the base of a one is closer to it
    mask &= ~(below & (widths > 8 * heights) & (widths > 0.7 * widths[main]))
    mask[main] = True
    return np.asarray(mask, np.bool_)


def crop_small_digit(image: Image.Image, digit: Candidate) -> Image.Image | None:
    """Crops the image to the digit and a margin; None if it was hardly reduced or the digit spans half of it."""
    top, bottom, left, right = digit.box
    scale = max(image.size) / max(digit.shape)
    longest = max(bottom - top, right - left)
    if scale < 1.5 or longest > 0.5 * max(digit.shape):
        return None
    box = np.array([left, top, right, bottom]) + 0.3 * longest * np.array([-1, -1, 1, 1])
    x0, y0, x1, y1 = (box * scale).clip(0, image.size * 2).astype(int).tolist()
    return image.crop((x0, y0, x1, y1))
