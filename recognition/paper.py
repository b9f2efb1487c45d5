"""The background of an image: paper colour, polarity, uneven light, ruled lines.

`colours` are uint8 (channels, h, w); `ink` is float32 (h, w) in grey levels, paper near 0.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from recognition.raster import Floats, dilate, opening, otsu, resize, shrink, skewness

EVEN_LIGHT_SHARE: Final = 0.7  # share of pixels with one of two brightnesses; noise alone reaches at most 0.6
MIN_LIGHT_SIDE: Final = 24  # pixels; smaller images do not show how they are lit
MAX_STROKE: Final = 0.33  # of the longer side; under uneven light, broader structures are shadows or a table
COARSE_SIDE: Final = 64  # pixels of the averaged image in which light and polarity are estimated
CLEAR_SKEWNESS: Final = 1.5  # from this skewness on, the rarer side of evenly lit paper is ink
DETAIL_RADII: Final = (1, 2, 4, 8)  # coarse pixels; the finest details show the polarity


@dataclass(frozen=True)
class Assumptions:
    """Assumptions about an image. The defaults are the most likely ones."""

    invert: bool = False  # ink has the opposite of the likelier polarity
    max_stroke: float | None = None  # of the longer side, see MAX_STROKE; None: unlimited if the light is even
    sheet: bool = False  # ink is only on the brighter of two backgrounds
    polarity_side: int = COARSE_SIDE  # pixels of the averaged image in which the polarity is estimated


def subtract_background(colours: NDArray[Any], assumptions: Assumptions = Assumptions()) -> Floats:
    """Signed distance (h, w) of each pixel from the paper, ink positive.

    Evenly lit paper has one colour; for uneven light see `level_light`. Differences are projected on their principal
    axis, which preserves yellow or light blue ink better than luminance does.
    """
    if assumptions.max_stroke is None and is_evenly_lit(colours):
        distance = colours - paper_colour(colours)[:, None, None]
        ink = project(distance, distance)
        rarer = skewness(ink)  # it misleads only if the digit is cropped close; `polarity` decides then
        bright = rarer if abs(rarer) > CLEAR_SKEWNESS else polarity(ink[None])
        return ink if (bright > 0) != assumptions.invert else -ink
    bright = (polarity(colours, assumptions.polarity_side) > 0) != assumptions.invert
    distance = level_light(colours, bright, assumptions.max_stroke or MAX_STROKE, assumptions.sheet)
    return project(distance, np.maximum(distance, 0))


def is_evenly_lit(colours: NDArray[Any]) -> bool:
    """Whether most pixels have one of two exact brightnesses, as on screens and in clean scans."""
    if max(colours.shape) < MIN_LIGHT_SIDE:
        return True
    levels = np.bincount(colours[:, ::2, ::2].mean(0).astype(np.uint8).ravel())
    return bool(np.sort(levels)[-2:].sum() > EVEN_LIGHT_SHARE * levels.sum())


def paper_colour(colours: NDArray[Any]) -> Floats:
    """Median colour (channels,). The border has more weight because it is usually blank."""
    border = [colours[:, 0], colours[:, -1], colours[..., 0], colours[..., -1]]
    samples = np.concatenate([colours[:, ::2, ::2].reshape(len(colours), -1), *border, *border], axis=1)
    return np.asarray(np.median(samples, axis=1), np.float32)


def project(distance: Floats, deviations: Floats) -> Floats:
    """Projects (channels, h, w) on the axis of the greatest `deviations` (of the same shape), bright positive."""
    if len(distance) == 1:
        return np.asarray(distance[0])
    flat = deviations.reshape(len(deviations), -1)
    axis = np.linalg.eigh(flat @ flat.T)[1][:, -1]
    return np.asarray(np.tensordot(axis if axis.sum() > 0 else -axis, distance, 1), np.float32)


def polarity(colours: NDArray[Any], side: int = COARSE_SIDE) -> float:
    """Positive if ink is brighter than paper. The finer details are ink: strokes are finer than the gaps between them.

    Compares the energies of white and black top-hats with growing radii, weighted by 1 / area. Flat structuring
    elements leave no trace of the edges of shadows and tables.
    """
    coarse = shrink(colours, side)
    planes = np.stack([coarse, -coarse])
    score = 0.0
    for radius in DETAIL_RADII:
        bright, dark = np.square(planes - opening(planes, radius)).reshape(2, -1).sum(1).tolist()
        score += (bright - dark) / (2 * radius + 1) ** 2
    return score


def level_light(colours: NDArray[Any], bright: bool, max_stroke: float = MAX_STROKE, sheet: bool = False) -> Floats:
    """Signed distance (channels, h, w) from unevenly lit paper.

    A grey opening (for dark ink a closing) estimates the paper: it removes structures narrower than `max_stroke` of
    the longer side. Frames, tables and shadows at the border count as broad. Dark ink is divided by the local light,
    because a shadow weakens it. `sheet` removes ink on the darker background.
    """
    height, width = colours.shape[1:]
    sign = np.float32(1 if bright else -1)
    coarse = shrink(colours, COARSE_SIDE)
    radius = max(1, round(max_stroke * max(coarse.shape[1:]) / 2))
    # The dilation by one more pixel prevents a line along the edge of a shadow.
    paper = dilate(opening(sign * coarse, radius), 1)
    light = np.abs(paper).mean(0)
    paper = resize(paper, width, height, Image.Resampling.BILINEAR)
    distance = sign * colours - paper
    if not bright:
        distance *= paper.min() / np.minimum(paper, paper.min() / 4)
    if sheet:
        mask = np.asarray(sheet_mask(light), np.float32)
        distance *= resize(mask, width, height, Image.Resampling.BILINEAR) == 1
    return distance


def sheet_mask(light: Floats) -> NDArray[np.bool_]:
    """Mask (h, w) of a bright sheet on a darker table, eroded by a pixel.

    True everywhere if there is only one background. A gradual change of the light has all levels in between.
    """
    bright = light > otsu(light)
    if bright.all() or not bright.any():
        return np.ones_like(bright)
    low, high = float(light[~bright].mean()), float(light[bright].mean())
    between = np.abs(light - (low + high) / 2) < 0.2 * (high - low)
    if low > 0.75 * high or between.mean() > 0.1:
        return np.ones_like(bright)
    return np.asarray(dilate((~bright).astype(np.float32), 1) == 0)


def remove_lines(ink: Floats, contrast: float) -> Floats:
    """Removes the lines of ruled or squared paper: straight, thin, from border to border, slope up to 5 degrees.

    `contrast`: that of the strokes, see `ink.stroke_contrast`; lines below a quarter of it are left to the threshold.
    Returns the same array if there are no lines.
    """
    if min(ink.shape) < 64:
        return ink
    across = _remove_horizontal_lines(ink, 0.25 * contrast)
    transposed = across.T
    cleaned = _remove_horizontal_lines(transposed, 0.25 * contrast)
    return across if cleaned is transposed else cleaned.T


def _remove_horizontal_lines(ink: Floats, min_contrast: float) -> Floats:
    height, width = ink.shape
    margin = max(1, width // 32)
    if min(ink[:, :margin].max(), ink[:, -margin:].max()) < min_contrast:
        return ink
    strips = resize(ink, 32, height)
    strips = np.maximum(strips, np.maximum(np.roll(strips, 1, 0), np.roll(strips, -1, 0)))
    for _ in range(3):  # perspective gives the lines different slopes
        drop, profile = _best_slope(strips, round(0.09 * width))
        rows = np.flatnonzero(profile > min_contrast)
        zones = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)
        zones = [zone for zone in zones if 0 < len(zone) <= max(5, 0.05 * height)]
        if len(zones) < 2:
            break
        ink = _erase_zones(ink, drop, zones)
        strips = resize(ink, 32, height)
    return ink


def _best_slope(strips: Floats, max_drop: int) -> tuple[int, Floats]:
    """Slope of the strongest lines, in rows from left to right, and the ink (h,) that 5/6 of the strips reach there."""
    sixth = strips.shape[1] // 6
    drops = range(-max_drop, max_drop + 1, max(1, max_drop // 16))
    profiles = {drop: np.partition(_shear(strips, drop), sixth, axis=1)[:, sixth] for drop in drops}
    best = max(drops, key=lambda drop: float(np.square(profiles[drop]).sum()))
    return best, profiles[best]


def _shear(plane: Floats, drop: int) -> Floats:
    """Shifts the columns so that a line that falls by `drop` rows from left to right becomes horizontal."""
    height, width = plane.shape
    offset = np.rint(drop * ((np.arange(width) + 0.5) / width - 0.5)).astype(np.intp)
    rows = np.arange(height)[:, None] + offset
    inside = (rows >= 0) & (rows < height)
    return np.where(inside, plane[np.clip(rows, 0, height - 1), np.arange(width)], 0)


def _erase_zones(ink: Floats, drop: int, zones: list[NDArray[np.intp]]) -> Floats:
    """Erases lines, except ink that is clearly darker than the line or continues both above and below it."""
    level = _shear(ink, drop)
    for zone in zones:
        top, bottom = max(zone[0] - 1, 0), min(zone[-1] + 2, len(level))
        radius = int(bottom - top)
        above, below = (dilate(level[y : y + 1], radius)[0] for y in (max(top - 1, 0), min(bottom, len(level) - 1)))
        band = level[top:bottom]
        line = float(np.median(band.max(0)))
        level[top:bottom] = np.where(band > 1.5 * line, band, np.minimum(band, np.minimum(above, below)))
    return np.minimum(ink, _shear(level, -drop))
