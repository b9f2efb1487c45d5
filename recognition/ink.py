"""From a picture to the digit's ink: modes and alpha, the pen's level and threshold, specks and frames.

Between the steps a picture is float32 (height, width), ink bright, paper near 0.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from recognition.paper import BROAD, Look, remove_lines, subtract_ground
from recognition.raster import Floats, connected_components, noise_level, opening, otsu, scaled, shrink

# Longest side while looking for ink; a digit smaller than half of it is looked at again, closer.
WORKING_SIDE: Final = 192
# Ink lighter than this share of the pen's typical level is paper, darker than the other is solid.
SOFT_THRESHOLD: Final = (0.3, 0.8)
# Ink this many times above the noise is taken as it is; from VISIBLE on after averaging; below that it is paper.
CLEAR: Final = 10.0
VISIBLE: Final = 4.0
# Grey levels (of 255) between paper and ink; an empty sheet's unevenness stays below.
FAINTEST: Final = 8.0
# Thresholded ink above this belongs to a component.
INKED: Final = 0.25
# See oddness: a digit in one part that fills its box less than this is not doubted.
ODD: Final = 0.55
LIKELIEST: Final = Look()
# A shadow, a table or the paper between strokes may have been taken for ink.
BROADER: Final[tuple[Look, ...]] = (Look(broad=BROAD), Look(broad=BROAD / 2.5))
SHEET: Final = (Look(broad=BROAD, sheet=True),)
INVERTED: Final = (Look(invert=True),)
# By so much another look must be less odd.
CLEARLY: Final = 0.1
# Pixels a side from which on a picture may show shadows.
SHADED: Final = 64

Box = tuple[int, int, int, int]  # top, bottom, left, right, exclusive


@dataclass(frozen=True)
class _Found:
    """A digit's ink within its picture, cropped to its box; parts: its components of more than a twentieth of it."""

    glyph: Floats
    box: Box
    parts: int
    shape: tuple[int, ...]


def find_glyph(image: Image.Image) -> Floats | None:
    """The digit's ink, cropped to its box; None if nothing is written."""
    found, look = _least_odd(image)
    if found is None:
        return None
    closer = look_closer(image, found.box, found.shape)
    if closer is not None:
        found = _look(closer, look) or found
    return found.glyph


def _least_odd(image: Image.Image) -> tuple[_Found | None, Look]:
    """What is found at first look, or, if that is odd, at the look that finds the least odd thing."""
    found, best = _look(image, LIKELIEST), LIKELIEST
    if found is None:
        return found, best
    least = oddness(found.glyph, found.parts)
    blotched = least > 1 and max(found.shape) >= SHADED
    looks = BROADER if blotched else ()
    if blotched or found.parts > 1:
        looks += SHEET
    if least > ODD:
        looks += INVERTED
    for look in looks:
        other = _look(image, look)
        if other is not None and (doubt := oddness(other.glyph, other.parts)) < least - CLEARLY:
            found, best, least = other, look, doubt
    return found, best


def _look(image: Image.Image, look: Look) -> _Found | None:
    ink = extract_ink(image, look=look)
    labels, areas, boxes = connected_components(ink > INKED)
    if not len(areas):
        return None
    keep = digit_components(areas, boxes, ink.shape)
    ink[np.concatenate([[False], ~keep])[labels]] = 0
    areas, boxes = areas[keep], boxes[keep]
    box = int(boxes[:, 0].min()), int(boxes[:, 1].max()), int(boxes[:, 2].min()), int(boxes[:, 3].max())
    return _Found(ink[box[0] : box[1], box[2] : box[3]], box, int((areas > 0.05 * areas.sum()).sum()), ink.shape)


def oddness(glyph: Floats, parts: int) -> float:
    """How unlike a digit: the share of its box that is inked (none for a one's slender box, which may be full), a
    sixth for each part beyond the first, and more for blobs.
    """
    fill = 0.0 if min(glyph.shape) < 0.4 * max(glyph.shape) else float(glyph.mean())
    return fill + (parts - 1) / 6 + blobs(glyph)


def blobs(glyph: Floats) -> float:
    """1 and the share of the ink that is broader than a third of the glyph's longer side; 0 if it is less than a
    twentieth, as in digits.
    """
    small = shrink(glyph, 48)
    reach = max(1, max(small.shape) // 6)
    share = float(opening(np.pad(small, 1), reach).sum() / small.sum())
    return 1 + share if share > 0.05 else 0.0


def upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF orientation says; a broken EXIF block is no reason to refuse a picture."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        return image


def extract_ink(image: Image.Image, side: int = WORKING_SIDE, look: Look = LIKELIEST) -> Floats:
    """The picture's ink in 0..1 at no more than `side` a side: paper 0, solid strokes 1, all zero if blank.

    A picture whose noise drowns its ink is averaged down further, at most to a quarter of `side`.
    """
    picture = to_rgb(image)
    for size in (side, side // 2, side // 4):
        ink = np.maximum(subtract_ground(flatten_alpha(reduce(picture, size)), look), 0)
        level, noise = ink_level(ink), noise_level(ink)
        unlined = remove_lines(ink, level)
        if unlined is not ink:
            ink, level = unlined, ink_level(unlined)
        if level >= CLEAR * noise or max(ink.shape) <= side // 4:
            break
    if level < max(FAINTEST, VISIBLE * noise):
        return np.zeros_like(ink)
    return soft_threshold(ink, level, noise)


def to_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow mode to L, RGB or RGBA of 8 bits; deeper greys are scaled by their own range."""
    if image.mode.startswith(("I", "F")):
        deep = np.nan_to_num(np.asarray(image).astype(np.float32), copy=False)
        low, high = float(deep.min()), float(deep.max())
        deep -= low
        deep *= 255 / max(high - low, 1e-6)
        return Image.fromarray(deep.astype(np.uint8))
    if image.mode in ("L", "RGB", "RGBA"):
        return image
    if image.mode in ("LA", "La", "PA", "RGBa") or "transparency" in image.info:
        return image.convert("RGBA")
    return image.convert("L" if image.mode == "1" else "RGB")


def reduce(image: Image.Image, side: int = WORKING_SIDE) -> Image.Image:
    """Averaged down to `side` at most; averaging keeps hairlines as faint lines where picking pixels loses them."""
    scale = side / max(image.size)
    if scale >= 1:
        return image
    return image.resize(scaled(*image.size, scale), Image.Resampling.BOX, reducing_gap=2.0)


def flatten_alpha(image: Image.Image) -> Floats:
    """float32 (height, width, channels); one channel if the picture is grey.

    Where the colour says nothing the alpha is the picture; else ground is laid under the ink: black under bright,
    white under dark.
    """
    pixels = np.asarray(image)
    if pixels.ndim == 2:
        return pixels[..., None].astype(np.float32)
    if image.mode == "RGBA" and pixels[..., 3].min() < 255:
        return _lay_ground(pixels.astype(np.float32))
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    grey = np.array_equal(red, green) and np.array_equal(red, blue)
    return pixels[..., : 1 if grey else 3].astype(np.float32)


def _lay_ground(rgba: Floats) -> Floats:
    colour, alpha = rgba[..., :3], rgba[..., 3:] / 255
    weight = alpha / max(float(alpha.sum()), 1e-6)
    mean = (colour * weight).sum((0, 1))
    spread = float(np.sqrt((np.square(colour - mean) * weight).sum((0, 1)).max()))
    if spread < FAINTEST:
        return np.asarray(alpha * 255, np.float32)
    if float(alpha.mean()) > 0.5:
        ground = np.median(colour[alpha[..., 0] > 0.5], axis=0)
    else:
        ground = np.full(3, 0.0 if mean.mean() > 128 else 255.0)
    return np.asarray(colour * alpha + ground * (1 - alpha), np.float32)


def soft_threshold(ink: Floats, level: float, noise: float) -> Floats:
    """0 below and 1 above two shares of the pen's level; the lower one clears the noise if it can."""
    low, high = (share * level for share in SOFT_THRESHOLD)
    low = min(max(low, 3 * noise), 0.5 * level)
    return np.asarray(np.clip((ink - low) / (high - low), 0, 1), np.float32)


def ink_level(ink: Floats) -> float:
    """How far the pen's strokes stand from the paper: the median above Otsu's threshold."""
    threshold = otsu(ink)
    strokes = ink[ink > threshold]
    return float(np.median(strokes)) if strokes.size else 0.0


def digit_components(areas: NDArray[np.int64], boxes: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Which components belong to the digit: no specks, frames or underlines, and nothing at the border if enough is
    inside.
    """
    heights, widths = boxes[:, 1] - boxes[:, 0], boxes[:, 3] - boxes[:, 2]
    longest = np.maximum(heights, widths)
    weight = longest * np.sqrt(areas)
    border = (boxes[:, 0] == 0) | (boxes[:, 2] == 0) | (boxes[:, 1] == shape[0]) | (boxes[:, 3] == shape[1])
    inside = ~border & ~is_frame(areas, boxes)
    candidates = inside & (longest >= 0.2 * max(shape))
    if candidates.any():
        weight = np.where(inside, weight, 0)
    else:
        inside[:] = True
    main = int(np.argmax(weight))
    keep = inside & (areas >= 0.03 * areas[main]) & (longest >= 0.08 * longest[main])
    apart = boxes[:, 0] > boxes[main, 1] + 0.06 * heights[main]  # the base of a one is nearer
    keep &= ~(apart & (widths > 8 * heights) & (widths > 0.7 * widths[main]))
    keep[main] = True
    return np.asarray(keep, np.bool_)


def is_frame(areas: NDArray[np.int64], boxes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which components go thinly round another one that is a quarter as high or broad at least, in one piece or as
    two straight lines beside it.
    """
    top, bottom, left, right = boxes.T
    height, width = bottom - top, right - left
    sizeable = np.maximum(height, width) > 0.25 * np.minimum(height, width)[:, None]
    beside = (top[:, None] < top) & (bottom[:, None] > bottom)
    around = beside & (left[:, None] < left) & (right[:, None] > right) & sizeable
    line = (height > 8 * width)[:, None] & beside
    before, after = line & (right[:, None] <= left), line & (left[:, None] >= right)
    rails = (before & after.any(0)) | (after & before.any(0))
    return np.asarray(((areas < 0.25 * height * width) & around.any(1)) | rails.any(1), np.bool_)


def look_closer(image: Image.Image, box: Box, shape: tuple[int, ...]) -> Image.Image | None:
    """The digit's part of a picture that was averaged down, if it fills less than half of it; else None."""
    top, bottom, left, right = box
    scale = max(image.size) / max(shape[:2])
    longest = max(bottom - top, right - left)
    if scale < 1.5 or longest > 0.5 * max(shape[:2]):
        return None
    margin = 0.3 * longest
    return image.crop(
        (
            max(0, int((left - margin) * scale)),
            max(0, int((top - margin) * scale)),
            min(image.width, int((right + margin) * scale) + 1),
            min(image.height, int((bottom + margin) * scale) + 1),
        )
    )
