"""From a picture of a handwritten digit, as people draw, scan and photograph it, to the 28x28 bytes an
MNIST model reads.

NumPy and Pillow only. Between the steps a picture is float32 (height, width), ink bright, paper near 0.
"""

from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

SIDE: Final = 28  # an MNIST image
BOX: Final = 20  # MNIST scaled every digit into this box before centring it
# Longest side while looking for ink; a digit smaller than half of it is looked at again, closer.
WORKING_SIDE: Final = 192
# Supersampling for stroke width: at six steps per MNIST pixel a dilation changes a stroke by a third of a
# pixel.
SUPERSAMPLING: Final = 6
# Ink lighter than this share of the pen's typical level is paper, darker than the other is solid.
SOFT_THRESHOLD: Final = (0.3, 0.8)
# Ink this many times above the noise is taken as it is; from VISIBLE on after averaging; below that it is
# paper.
CLEAR: Final = 10.0
VISIBLE: Final = 4.0
# Noise beyond this is a camera's or a scanner's: shadows are possible, which drawings on a screen do not
# have.
REAL_LIGHT: Final = 0.3
# See _oddness: a digit in one part that fills its box less than this is not doubted.
ODD: Final = 0.55
# Grey levels (of 255) between paper and ink; an empty sheet's unevenness stays below.
FAINTEST: Final = 8.0
# Strokes outside this range of MNIST pixels are widened or thinned; 98% of MNIST's own lie between 1.5 and
# 4.5.
STROKE_WIDTH: Final = (2.0, 3.6)

Floats = NDArray[np.float32]


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


def glyph_to_digit(glyph: Floats) -> Digit:
    """One digit's ink (0..1, any size, not all zero) in MNIST's geometry."""
    fitted = fit_to_box(normalise_stroke_width(glyph))
    return Digit(centre_by_mass(np.rint(fitted * 255).astype(np.uint8)), blank=False)


def find_glyph(image: Image.Image) -> Floats | None:
    """The digit's ink, cropped to its box; None if nothing is written."""
    ink = extract_ink(image)
    box = ink_box(ink)
    if box is None:
        return None
    oddness = _oddness(ink, box)
    if oddness > ODD:  # the paper between strokes, or a shadow, may have been taken for ink
        other = extract_ink(image, invert=True)
        other_box = ink_box(other)
        if other_box is not None and _oddness(other, other_box) < oddness:
            ink, box = other, other_box
    closer = look_closer(image, box, ink.shape)
    if closer is not None:
        again = extract_ink(closer)
        again_box = ink_box(again)
        if again_box is not None:
            ink, box = again, again_box
    top, bottom, left, right = box
    return ink[top:bottom, left:right]


def _oddness(ink: Floats, box: tuple[int, int, int, int]) -> float:
    """How unlike a digit: the share of its box that is inked (none for a one's slender box, which may be
    full), and
    a sixth for each part beyond the first."""
    top, bottom, left, right = box
    glyph = ink[top:bottom, left:right]
    areas = connected_components(glyph > 0.25)[1]
    fill = 0.0 if min(glyph.shape) < 0.4 * max(glyph.shape) else float(glyph.mean())
    return fill + (int((areas > 0.05 * areas.sum()).sum()) - 1) / 6


def is_mnist_like(pixels: NDArray[Any]) -> bool:
    """uint8 (28, 28), ink bright on a dark border, within a 20x20 box it about fills, centred by mass
    within a pixel.
    """
    if pixels.shape != (SIDE, SIDE) or pixels.dtype != np.uint8 or pixels.max() < 192:
        return False
    rows, columns = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
    height, width = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
    if not 14 <= max(height, width) <= BOX:  # MNIST's own: 19 or 20, 14 when faint pixels are not counted
        return False
    total = pixels.sum(dtype=np.int64)
    centre = np.array([pixels.sum(1) @ np.arange(SIDE), pixels.sum(0) @ np.arange(SIDE)]) / total
    # MNIST's centres of mass lie in 13.5 to 14.5; the geometric centre is 13.5. A pixel around either is
    # near enough.
    return bool(np.all((centre >= 12.5) & (centre <= 15.0)))


def _plain_grey(image: Image.Image) -> NDArray[np.uint8] | None:
    """The pixels of a 28x28 picture that is grey and opaque, whatever its mode; None for any other."""
    if image.size != (SIDE, SIDE) or image.mode not in ("L", "RGB", "RGBA", "P"):
        return None
    rgba = np.asarray(image.convert("RGBA"))
    opaque_grey = (rgba[..., 3] == 255).all() and (rgba[..., :3] == rgba[..., :1]).all()
    return rgba[..., 0].copy() if opaque_grey else None


def upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF orientation says; a broken EXIF block is no reason to refuse a picture."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        return image


# --- from picture to ink


def extract_ink(image: Image.Image, side: int = WORKING_SIDE, invert: bool = False) -> Floats:
    """The picture's ink in 0..1 at no more than `side` a side: paper 0, solid strokes 1, all zero if blank.

    A picture whose noise drowns its ink is averaged down further, at most to a quarter of `side`.
    `invert`: the other polarity than the likelier one.
    """
    picture = to_rgb(image)
    for size in (side, side // 2, side // 4):
        ink = subtract_ground(flatten_alpha(reduce(picture, size)))
        ink = -ink if invert else ink
        if noise_level(ink) > REAL_LIGHT:
            ink = remove_shadows(ink)
        ink = np.maximum(ink, 0)
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
    """Averaged down to `side` at most; averaging keeps hairlines as faint lines where picking pixels loses
    them.
    """
    scale = side / max(image.size)
    if scale >= 1:
        return image
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, Image.Resampling.BOX, reducing_gap=2.0)


def flatten_alpha(image: Image.Image) -> Floats:
    """float32 (height, width, channels); one channel if the picture is grey. Where the colour says nothing
    the alpha
    is the picture; else ground is laid under the ink: black under bright, white under dark."""
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


def subtract_ground(colours: Floats) -> Floats:
    """Signed distance from the paper along the colours' main axis, ink positive: (h, w, channels) to (h, w).

    The principal axis of the deviations keeps yellow or light blue ink that luminance would lose.
    """
    height, width, channels = colours.shape
    cells = _resize(colours, *_at_most(colours.shape, 32)).astype(np.float64)
    coefficients = fit_ground(cells)
    axis = np.ones(1)
    if channels > 1:
        residual = (cells - ground_surface(coefficients, *cells.shape[:2])).reshape(-1, channels)
        axis = np.linalg.eigh(residual.T @ residual)[1][:, -1]
    ink = (
        colours @ axis.astype(np.float32)
        - ground_surface(coefficients @ axis[:, None], height, width)[..., 0]
    )
    sign = 1.0 if polarity(ink) > 0 else -1.0
    ink *= np.float32(sign)
    if sign * axis.sum() < 0 and noise_level(ink) > REAL_LIGHT:
        # dark ink takes away a share of the light: where there is less of it the strokes stand out less
        light = ground_surface(coefficients.mean(1, keepdims=True), height, width)[..., 0]
        ink *= light.max() / np.maximum(light, light.max() / 3)
    return ink


def fit_ground(cells: NDArray[np.float64]) -> NDArray[np.float64]:
    """The paper's brightness as a quadratic surface per channel: coefficients (6, channels) of _quadratic.

    Iteratively reweighted least squares with Geman-McClure weights, so that ink counts as outliers; the
    picture's
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

    Where the light is real a shadow or a table beside the paper may outweigh the ink; against the mean of
    their
    neighbourhood they leave as much above as below, while strokes do not.
    """
    skew = skewness(deviation)
    if noise_level(deviation) > REAL_LIGHT:
        cells = _resize(deviation, *_at_most(deviation.shape, 128))
        return skew + 4 * skewness(cells - box_mean(cells, max(1, max(cells.shape) // 12)))
    if abs(skew) < 1.5:  # a thick digit cropped close: about as much ink as paper
        middle = otsu(deviation - deviation.min()) + float(deviation.min())
        return float(_parts(deviation <= middle) - _parts(deviation > middle)) or skew
    return skew


def _parts(mask: NDArray[np.bool_]) -> int:
    """Components of at least a hundredth of the picture: a digit is one or two strokes that cut its ground
    into more.
    """
    return int((connected_components(mask)[1] >= 0.01 * mask.size).sum())


def skewness(values: Floats) -> float:
    """Third moment about zero over the second one's power 3/2."""
    squares = values * values
    return float((squares * values).mean()) / max(float(np.power(squares.mean(), 1.5)), 1e-9)


def box_mean(values: Floats, reach: int) -> Floats:
    """Mean over a square of 2 * reach + 1 pixels, from a summed-area table; the border is repeated
    outwards.
    """
    size = 2 * reach + 1
    table = np.pad(
        np.pad(values.astype(np.float64), reach, mode="edge").cumsum(0).cumsum(1), ((1, 0), (1, 0))
    )
    sums = table[size:, size:] - table[:-size, size:] - table[size:, :-size] + table[:-size, :-size]
    return np.asarray(sums / size**2, np.float32)


def remove_shadows(ink: Floats) -> Floats:
    """What is broader than a third of the picture is no stroke: subtract the grey opening (white top-hat).

    The border is repeated outwards, so that frames, table tops and shadows that enter there count as broad.
    """
    height, width = ink.shape
    cells = _resize(ink, *_at_most(ink.shape, 64))
    reach = max(1, round(max(cells.shape) / 6))
    opened = _dilate(_erode(np.pad(cells, reach, mode="edge"), reach), reach)[reach:-reach, reach:-reach]
    # one cell more, so that the step at a shadow's edge leaves no line
    ground = _resize(_dilate(opened, 1), width, height, Image.Resampling.BILINEAR)
    return ink - ground


def remove_lines(ink: Floats, level: float) -> Floats:
    """Without the lines of ruled or squared paper: straight, thin, from border to border, up to 5 degrees
    aslant.

    `level`: the pen's, see ink_level; lines of less than a quarter of it are the threshold's business. The
    same array
    comes back if there are none.
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
    strips = _resize(ink, 32, height)
    strips = np.maximum(strips, np.maximum(np.roll(strips, 1, 0), np.roll(strips, -1, 0)))
    for _ in range(3):  # perspective: not all lines have one slope
        drop, profile = _best_slope(strips, round(0.09 * width))
        rows = np.flatnonzero(profile > faintest)
        zones = [zone for zone in np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1) if len(zone)]
        zones = [zone for zone in zones if len(zone) <= max(5, 0.05 * height)]
        if len(zones) < 2:
            break
        ink = _erase_zones(ink, drop, zones)
        strips = _resize(ink, 32, height)
    return ink


def _best_slope(strips: Floats, steepest: int) -> tuple[int, Floats]:
    """The drop from left to right, in rows, along which most rows are dark in at least five sixths of the
    strips.
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
        above, below = (
            _dilate(level[y : y + 1], reach)[0] for y in (max(top - 1, 0), min(bottom, len(level) - 1))
        )
        band = level[top:bottom]
        line = float(np.median(band.max(0)))
        level[top:bottom] = np.where(band > 1.5 * line, band, np.minimum(band, np.minimum(above, below)))
    offset_back = _shear(level, -drop)
    return np.minimum(ink, offset_back)


def noise_level(ink: Floats) -> float:
    """Standard deviation of the paper's noise from the differences of neighbours: the median ignores
    strokes.
    """
    steps = np.abs(np.diff(ink[:: max(1, len(ink) // 64)], axis=1))
    return float(np.median(steps)) / 0.954 if steps.size else 0.0  # |N(0, 2 s^2)| has its median at 0.954 s


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


def otsu(values: Floats) -> float:
    """The threshold that maximises the variance between two classes (Otsu, 1979), on a histogram of 128
    bins.
    """
    top = float(values.max())
    if top <= 0:
        return 0.0
    histogram = np.bincount((np.maximum(values, 0) * (127.99 / top)).astype(np.uint8).ravel(), minlength=128)
    weight = np.cumsum(histogram).astype(np.float64)
    mass = np.cumsum(histogram * (np.arange(128) + 0.5))
    below, above = weight[:-1], weight[-1] - weight[:-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        between = np.square(mass[-1] * below / weight[-1] - mass[:-1]) / (below * above)
    return (1 + int(np.argmax(np.where(below * above > 0, between, -1)))) * top / 128


# --- which ink is the digit


def ink_box(ink: Floats) -> tuple[int, int, int, int] | None:
    """Top, bottom, left, right (exclusive) of the digit, after specks and frames are erased from `ink` in
    place.
    """
    mask = ink > 0.25
    labels, areas, boxes = connected_components(mask)
    if not len(areas):
        return None
    keep = digit_components(areas, boxes, mask.shape)
    if not keep.any():
        return None
    ink[np.concatenate([[False], ~keep])[labels]] = 0
    kept = boxes[keep]
    return int(kept[:, 0].min()), int(kept[:, 1].max()), int(kept[:, 2].min()), int(kept[:, 3].max())


def digit_components(
    areas: NDArray[np.int64], boxes: NDArray[np.int64], shape: tuple[int, int]
) -> NDArray[np.bool_]:
    """Which components belong to the digit: no specks, and nothing at the border if enough is inside."""
    longest = np.maximum(boxes[:, 1] - boxes[:, 0], boxes[:, 3] - boxes[:, 2])
    weight = longest * np.sqrt(areas)
    inside = (boxes[:, 0] > 0) & (boxes[:, 2] > 0) & (boxes[:, 1] < shape[0]) & (boxes[:, 3] < shape[1])
    candidates = inside & (longest >= 0.2 * max(shape))
    if candidates.any():
        weight = np.where(inside, weight, 0)
    else:
        inside[:] = True
    main = int(np.argmax(weight))
    keep = inside & (areas >= 0.03 * areas[main]) & (longest >= 0.08 * longest[main])
    keep[main] = True
    return np.asarray(keep, np.bool_)


def connected_components(
    mask: NDArray[np.bool_],
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """Labels (h, w) of the 8-connected components, 0 outside; areas (n,); boxes (n, 4): top, bottom, left,
    right.

    Runs of each row are joined with those they touch in the next one; the smaller label spreads until all
    agree.
    """
    height, width = mask.shape
    stride = width + 1
    padded = np.zeros((height, stride), np.int8)
    padded[:, :width] = mask
    edges = np.diff(padded.ravel(), prepend=np.int8(0))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    if not len(starts):
        return np.zeros(mask.shape, np.int32), np.zeros(0, np.int64), np.zeros((0, 4), np.int64)
    first = np.searchsorted(ends, starts + stride, side="left")
    counts = np.maximum(np.searchsorted(starts, ends + stride, side="right") - first, 0)
    upper = np.repeat(np.arange(len(starts)), counts)
    lower = np.arange(len(upper)) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(first, counts)
    root = np.arange(len(starts))
    while True:
        a, b = root[upper], root[lower]
        unequal = a != b
        if not unequal.any():
            break
        smaller = np.minimum(a, b)
        np.minimum.at(root, a, smaller)
        np.minimum.at(root, b, smaller)
        while not np.array_equal(jumped := root[root], root):
            root = jumped
    _, component = np.unique(root, return_inverse=True)
    count = int(component.max()) + 1
    lengths = ends - starts
    labels = np.zeros(height * stride, np.int32)
    labels[np.repeat(starts - (np.cumsum(lengths) - lengths), lengths) + np.arange(lengths.sum())] = (
        np.repeat(component + 1, lengths)
    )
    row, left, right = starts // stride, starts % stride, ends - starts // stride * stride
    boxes = np.empty((count, 4), np.int64)
    for column, (values, reducer, start) in enumerate(
        (
            (row, np.minimum, height),
            (row + 1, np.maximum, 0),
            (left, np.minimum, width),
            (right, np.maximum, 0),
        )
    ):
        boxes[:, column] = start
        reducer.at(boxes[:, column], component, values)
    areas = np.bincount(component, weights=lengths, minlength=count).astype(np.int64)
    return labels.reshape(height, stride)[:, :width], areas, boxes


def look_closer(
    image: Image.Image, box: tuple[int, int, int, int], shape: tuple[int, ...]
) -> Image.Image | None:
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


# --- from ink to MNIST's geometry


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
    scale = BOX * SUPERSAMPLING / max(glyph.shape)
    size = max(1, round(glyph.shape[1] * scale)), max(1, round(glyph.shape[0] * scale))
    large = np.clip(
        _resize(glyph, *size, Image.Resampling.BICUBIC if scale > 1 else Image.Resampling.BOX), 0, 1
    )
    low, high = STROKE_WIDTH[0] * SUPERSAMPLING, STROKE_WIDTH[1] * SUPERSAMPLING
    width = stroke_width(large)
    if width < low:
        radius = (low - width) / 2
        return thicken(np.pad(large, int(np.ceil(radius))), radius)
    if width > high:
        return np.asarray(1 - thicken(1 - np.pad(large, 1), (width - high) / 2), np.float32)
    return large


def thicken(ink: Floats, radius: float) -> Floats:
    """Dilated by `radius` pixels with an octagon: crosses and squares in turn, the last step in part."""
    whole, rest = int(radius), radius - int(radius)
    for step in range(whole):
        ink = _dilate(ink, 1) if step % 2 else _dilate_cross(ink)
    return np.asarray(ink + rest * (_dilate_cross(ink) - ink), np.float32)


def fit_to_box(ink: NDArray[Any], box: int = BOX) -> NDArray[Any]:
    """Cropped to its ink and scaled, aspect kept, so that the longer side is `box`.

    ink: uint8 or float (h, w), ink bright. The same dtype comes back; a single zero if all is dark.
    """
    rows, columns = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    if not len(rows):
        return np.zeros((1, 1), ink.dtype)
    crop = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float32)
    scale = box / max(crop.shape)
    size = max(1, round(crop.shape[1] * scale)), max(1, round(crop.shape[0] * scale))
    kind = Image.Resampling.BOX if scale < 0.5 else Image.Resampling.BICUBIC
    fitted = np.clip(_resize(crop, *size, kind), 0, float(crop.max()))
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


# --- array tools


def _resize(
    array: NDArray[Any], width: int, height: int, kind: Image.Resampling = Image.Resampling.BOX
) -> Floats:
    """float32 (h, w) or (h, w, channels), resampled with anti-aliasing."""
    if array.shape[:2] == (height, width):
        return np.asarray(array, np.float32)
    if array.ndim == 3:
        return np.stack([_resize(array[..., c], width, height, kind) for c in range(array.shape[2])], axis=-1)
    plane = Image.fromarray(np.ascontiguousarray(array, np.float32))
    return np.asarray(plane.resize((width, height), kind), np.float32)


def _at_most(shape: tuple[int, ...], side: int) -> tuple[int, int]:
    """Width and height with no side longer than `side`, aspect kept."""
    scale = min(1.0, side / max(shape[:2]))
    return max(1, round(shape[1] * scale)), max(1, round(shape[0] * scale))


def _dilate(ink: Floats, reach: int) -> Floats:
    """Maximum over a square of 2 * reach + 1 pixels, by doubling the window along each axis."""
    return _slide(ink, reach, np.maximum, -np.inf)


def _erode(ink: Floats, reach: int) -> Floats:
    return _slide(ink, reach, np.minimum, np.inf)


def _slide(ink: Floats, reach: int, pick: Any, outside: float) -> Floats:
    for axis in (0, 1):
        pad = [(0, 0), (0, 0)]
        pad[axis] = (reach, reach)
        current = np.pad(ink, pad, constant_values=outside)
        span = 1
        while span < 2 * reach + 1:
            step = min(span, 2 * reach + 1 - span)
            length = current.shape[axis] - step
            current = pick(_take(current, 0, length, axis), _take(current, step, length, axis))
            span += step
        ink = current
    return ink


def _take(array: Floats, start: int, length: int, axis: Literal[0, 1] | int) -> Floats:
    return array[start : start + length] if axis == 0 else array[:, start : start + length]


def _dilate_cross(ink: Floats) -> Floats:
    grown = ink.copy()
    np.maximum(grown[1:], ink[:-1], out=grown[1:])
    np.maximum(grown[:-1], ink[1:], out=grown[:-1])
    np.maximum(grown[:, 1:], ink[:, :-1], out=grown[:, 1:])
    np.maximum(grown[:, :-1], ink[:, 1:], out=grown[:, :-1])
    return grown
