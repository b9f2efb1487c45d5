"""What a picture shows besides ink: the paper's brightness and polarity, shadows, ruled lines.

Between the steps a picture is float32 (height, width), ink bright, paper near 0.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.raster import (
    Floats,
    box_mean,
    connected_components,
    dilate,
    erode,
    noise_level,
    otsu,
    resize,
    shrink,
    skewness,
)

# Noise beyond this is a camera's or a scanner's: shadows are possible, which drawings on a screen do not have.
REAL_LIGHT: Final = 0.3


def subtract_ground(colours: Floats) -> Floats:
    """Signed distance from the paper along the colours' main axis, ink positive: (h, w, channels) to (h, w).

    The principal axis of the deviations keeps yellow or light blue ink that luminance would lose.
    """
    height, width, channels = colours.shape
    cells = shrink(colours, 32).astype(np.float64)
    coefficients = fit_ground(cells)
    axis = np.ones(1)
    if channels > 1:
        residual = (cells - ground_surface(coefficients, *cells.shape[:2])).reshape(-1, channels)
        axis = np.linalg.eigh(residual.T @ residual)[1][:, -1]
    ink = colours @ axis.astype(np.float32) - ground_surface(coefficients @ axis[:, None], height, width)[..., 0]
    sign = 1.0 if polarity(ink) > 0 else -1.0
    ink *= np.float32(sign)
    if sign * axis.sum() < 0 and noise_level(ink) > REAL_LIGHT:
        # dark ink takes away a share of the light: where there is less of it the strokes stand out less
        light = ground_surface(coefficients.mean(1, keepdims=True), height, width)[..., 0]
        ink *= light.max() / np.maximum(light, light.max() / 3)
    return ink


def fit_ground(cells: NDArray[np.float64]) -> NDArray[np.float64]:
    """The paper's brightness as a quadratic surface per channel: coefficients (6, channels) of _quadratic.

    Iteratively reweighted least squares with Geman-McClure weights, so that ink counts as outliers; the picture's
    rim counts more, for people leave it free. cells: (rows, columns, channels), averages of the picture.
    """
    rows, columns, channels = cells.shape
    x, y = np.linspace(-1, 1, columns)[None, :], np.linspace(-1, 1, rows)[:, None]
    rim = np.where(np.maximum(abs(x), abs(y)) > 0.85, 3.0, 1.0).ravel()
    basis = _quadratic(x, y)
    samples = cells.reshape(-1, channels)
    coefficients = np.zeros((6, channels))
    coefficients[0] = [_weighted_median(samples[:, c], rim) for c in range(channels)]
    for _ in range(6):
        residual = np.sqrt(np.square(samples - basis @ coefficients).sum(1))
        scale = max(2.0, 1.5 * _weighted_median(residual, rim))
        weighted = basis * (rim / np.square(1 + np.square(residual / scale)))[:, None]
        # the small ridge keeps pictures of fewer than six cells solvable
        previous = coefficients
        coefficients = np.linalg.solve(basis.T @ weighted + 1e-3 * np.eye(6), weighted.T @ samples)
        if np.abs(coefficients - previous).max() < 0.1:
            break
    return coefficients


def ground_surface(coefficients: NDArray[np.float64], height: int, width: int) -> Floats:
    """The surface at every pixel: (height, width, channels)."""
    c = coefficients.astype(np.float32)
    if np.abs(c[1:]).sum() < 0.5:  # less than half a grey level: even light
        return np.broadcast_to(c[0], (height, width, c.shape[1]))
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :, None]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None, None]
    surface = (c[0] + c[1] * x + c[3] * x * x) + (c[2] * y + c[4] * y * y) + c[5] * (x * y)
    return np.asarray(surface, np.float32)


def _quadratic(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    x, y = np.broadcast_arrays(x, y)
    return np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=-1).reshape(-1, 6)


def _weighted_median(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    order = np.argsort(values)
    cumulative = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(cumulative, cumulative[-1] / 2)])


def polarity(deviation: Floats) -> float:
    """Positive if ink is the brighter side. Ink is the rarer one, so it gives the third moment its sign.

    Where the light is real a shadow or a table beside the paper may outweigh the ink; against the mean of their
    neighbourhood they leave as much above as below, while strokes do not.
    """
    skew = skewness(deviation)
    if noise_level(deviation) > REAL_LIGHT:
        cells = shrink(deviation, 128)
        return skew + 4 * skewness(cells - box_mean(cells, max(1, max(cells.shape) // 12)))
    if abs(skew) < 1.5:  # a thick digit cropped close: about as much ink as paper
        middle = otsu(deviation - deviation.min()) + float(deviation.min())
        return float(_parts(deviation <= middle) - _parts(deviation > middle)) or skew
    return skew


def _parts(mask: NDArray[np.bool_]) -> int:
    """Components of at least a hundredth of the picture: a digit's few strokes cut its ground into more."""
    return int((connected_components(mask)[1] >= 0.01 * mask.size).sum())


def remove_shadows(ink: Floats) -> Floats:
    """What is broader than a third of the picture is no stroke: subtract the grey opening (white top-hat).

    The border is repeated outwards, so that frames, table tops and shadows that enter there count as broad.
    """
    height, width = ink.shape
    cells = shrink(ink, 64)
    reach = max(1, round(max(cells.shape) / 6))
    opened = dilate(erode(np.pad(cells, reach, mode="edge"), reach), reach)[reach:-reach, reach:-reach]
    # one cell more, so that the step at a shadow's edge leaves no line
    ground = resize(dilate(opened, 1), width, height, Image.Resampling.BILINEAR)
    return ink - ground


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
