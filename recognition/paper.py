"""What a picture shows besides ink: the paper's brightness and polarity, shadows, ruled lines.

Between the steps a picture is float32 (height, width), ink bright, paper near 0.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from recognition.raster import Floats, dilate, erode, opening, otsu, resize, shrink, skewness

# Share of the pixels that have one of two brightnesses where no light falls; noise alone leaves at most 0.6.
EVEN: Final = 0.7
# Pixels a side below which a picture is too small for its light to be judged.
SMALL: Final = 24
# Of the longer side: in real light what is broader is a shadow or a table, no stroke.
BROAD: Final = 0.33
# Brightness and light are judged on the picture averaged down to this many cells a side.
CELLS: Final = 64
# Skewness from which on the rarer side of evenly lit paper is ink.
CLEARLY_RARER: Final = 1.5
# Reaches, in cells, of the details whose finest tell the polarity.
DETAILS: Final = (1, 2, 4, 8)


@dataclass(frozen=True)
class Look:
    """How a picture is looked at; by default as it most likely is."""

    invert: bool = False  # the other polarity than the likelier one
    broad: float | None = None  # of the longer side: what is broader is no stroke; None: BROAD if light is uneven
    sheet: bool = False  # ink is only on the brightest ground


def subtract_ground(colours: Floats, look: Look = Look()) -> Floats:
    """How far each pixel stands from the paper, ink positive: (h, w, channels) to (h, w).

    Even paper has one colour; under uneven light it is what is broad, see level_light. The main axis of what differs
    from it keeps yellow or light blue ink that luminance would lose.
    """
    if look.broad is None and evenly_lit(colours):
        distance = np.asarray(colours - paper_colour(colours), np.float32)
        ink: Floats = distance @ main_axis(distance)
        rarer = skewness(ink)  # plain paper deviates on one side alone; only a digit cropped close needs a closer look
        bright = rarer if abs(rarer) > CLEARLY_RARER else polarity(ink[..., None])
        return ink if (bright > 0) != look.invert else -ink
    bright = (polarity(colours) > 0) != look.invert
    distance = level_light(colours, bright, look.broad or BROAD, look.sheet)
    return distance @ main_axis(np.maximum(distance, 0))


def evenly_lit(colours: Floats) -> bool:
    """Whether most of the picture has one or two brightnesses exactly, as on a screen and in clean scans."""
    if max(colours.shape) < SMALL:
        return True
    levels = np.bincount(colours.mean(2).astype(np.uint8).ravel())
    return bool(np.sort(levels)[-2:].sum() > EVEN * levels.sum())


def paper_colour(colours: Floats) -> Floats:
    """The median colour (channels,), the picture's rim counting more, for people leave it free."""
    rim = [colours[0], colours[-1], colours[:, 0], colours[:, -1]]
    samples = np.concatenate([colours[::2, ::2].reshape(-1, colours.shape[2]), *rim, *rim])
    return np.asarray(np.median(samples, axis=0), np.float32)


def main_axis(deviations: NDArray[Any]) -> Floats:
    """The direction (channels,) in which the colours deviate most, brightness positive."""
    flat = deviations.reshape(-1, deviations.shape[-1])
    axis = np.linalg.eigh(flat.T @ flat)[1][:, -1]
    return np.asarray(axis if axis.sum() > 0 else -axis, np.float32)


def polarity(colours: Floats) -> float:
    """Positive if ink is the brighter side: of bright and dark details the finer ones are strokes.

    White and black top-hats of growing reach, their energies weighted by area. Flat structuring elements leave no
    trace of shadows' edges and of tables, and gaps between strokes are broader than strokes.
    """
    cells = shrink(colours, CELLS)
    score = 0.0
    for reach in DETAILS:
        for plane in np.moveaxis(cells, -1, 0):
            bright, dark = plane - opening(plane, reach), -plane - opening(-plane, reach)
            score += float(np.square(bright).mean() - np.square(dark).mean()) / (2 * reach + 1) ** 2
    return score


def level_light(colours: Floats, bright: bool, broad: float = BROAD, sheet: bool = False) -> Floats:
    """Distance from the paper per channel where light is uneven: what is broader than `broad` is no stroke.

    A grey opening (closing for dark ink) leaves the paper; its border is repeated outwards, so that frames, table
    tops and shadows that enter there count as broad. Dark ink is seen in shares of the light, of which a shadow
    leaves less. `sheet`: nothing is written where the ground is dark, on the table round a sheet of paper.
    """
    height, width = colours.shape[:2]
    sign = np.float32(1 if bright else -1)
    cells = shrink(sign * colours, CELLS)
    reach = max(1, round(broad * max(cells.shape) / 2))
    # one cell more, so that the step at a shadow's edge leaves no line
    paper = np.stack([dilate(opening(plane, reach), 1) for plane in np.moveaxis(cells, -1, 0)], axis=-1)
    light = np.abs(paper).mean(2)
    paper = resize(paper, width, height, Image.Resampling.BILINEAR)
    distance = sign * colours - paper
    if not bright:
        distance *= paper.min() / np.minimum(paper, paper.min() / 4)
    if sheet:
        ground = np.asarray(sheet_of_paper(light), np.float32)
        distance *= resize(ground, width, height, Image.Resampling.BILINEAR)[..., None] == 1
    return distance


def sheet_of_paper(light: Floats) -> NDArray[np.bool_]:
    """Where the ground is the brighter of two, less a cell at its edge; everywhere if it is one, for a slanting light
    passes through all levels between its ends.
    """
    bright = light > otsu(light)
    if bright.all() or not bright.any():
        return np.ones_like(bright)
    low, high = float(light[~bright].mean()), float(light[bright].mean())
    between = np.abs(light - (low + high) / 2) < 0.2 * (high - low)
    if low > 0.75 * high or between.mean() > 0.1:
        return np.ones_like(bright)
    return erode(bright.astype(np.float32), 1) > 0


def remove_lines(ink: Floats, level: float) -> Floats:
    """Without the lines of ruled or squared paper: straight, thin, from border to border, up to 5 degrees aslant.

    `level`: the pen's, see ink.ink_level; lines of less than a quarter of it are the threshold's business. The same
    array comes back if there are none.
    """
    if min(ink.shape) < 64:
        return ink
    across = _remove_level_lines(ink, 0.25 * level)
    turned = across.T
    unlined = _remove_level_lines(turned, 0.25 * level)
    return across if unlined is turned else np.ascontiguousarray(unlined.T)


def _remove_level_lines(ink: Floats, faintest: float) -> Floats:
    height, width = ink.shape
    rim = max(1, width // 32)
    if min(ink[:, :rim].max(), ink[:, -rim:].max()) < faintest:
        return ink
    strips = resize(ink, 32, height)
    strips = np.maximum(strips, np.maximum(np.roll(strips, 1, 0), np.roll(strips, -1, 0)))
    for _ in range(3):  # perspective: not all lines have one slope
        drop, profile = _best_slope(strips, round(0.09 * width))
        rows = np.flatnonzero(profile > faintest)
        zones = [zone for zone in np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1) if len(zone)]
        zones = [zone for zone in zones if len(zone) <= max(5, 0.05 * height)]
        if len(zones) < 2:
            break
        ink = _erase_zones(ink, drop, zones)
        strips = resize(ink, 32, height)
    return ink


def _best_slope(strips: Floats, steepest: int) -> tuple[int, Floats]:
    """The drop from left to right, in rows, along which most rows are inked in five sixths of the strips at least;
    and each row's ink there.
    """
    count = strips.shape[1]
    best = (-1.0, 0, strips[:, 0])
    for drop in range(-steepest, steepest + 1):
        sheared = _shear(strips, drop)
        profile = np.partition(sheared, count // 6, axis=1)[:, count // 6]
        score = float((profile * profile).sum())
        if score > best[0]:
            best = (score, drop, profile)
    return best[1], best[2]


def _shear(plane: Floats, drop: int) -> Floats:
    """Columns shifted so that what falls by `drop` rows from left to right becomes level."""
    height, width = plane.shape
    offset = np.rint(drop * ((np.arange(width) + 0.5) / width - 0.5)).astype(np.intp)
    rows = np.arange(height)[:, None] + offset
    inside = (rows >= 0) & (rows < height)
    return np.where(inside, plane[np.clip(rows, 0, height - 1), np.arange(width)], 0)


def _erase_zones(ink: Floats, drop: int, zones: list[NDArray[np.intp]]) -> Floats:
    """Each zone keeps what is clearly darker than its line and what continues both above and below it."""
    level = _shear(ink, drop)
    for zone in zones:
        top, bottom = max(zone[0] - 1, 0), min(zone[-1] + 2, len(level))
        reach = int(bottom - top)
        above, below = (dilate(level[y : y + 1], reach)[0] for y in (max(top - 1, 0), min(bottom, len(level) - 1)))
        band = level[top:bottom]
        line = float(np.median(band.max(0)))
        level[top:bottom] = np.where(band > 1.5 * line, band, np.minimum(band, np.minimum(above, below)))
    return np.minimum(ink, _shear(level, -drop))
