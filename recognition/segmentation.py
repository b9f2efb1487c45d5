"""Splits an image of numbers into digits, in lines and in reading order.

Pieces are connected components, and slices of broad components that may be touching digits. Dynamic programming finds
the grouping of neighbouring pieces for which the classifier is most confident.
"""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from recognition.cutting import cut
from recognition.ink import extract_ink, load_pixels, read_colours
from recognition.paper import Assumptions
from recognition.pieces import MANY_DIGITS, Piece, TooManyDigits, find_lines, find_pieces, union
from recognition.preprocessing import Digit, glyph_to_digit

WORKING_SIDE: Final = 800  # pixels of the longer side; leaves 100 pixels for each of eight digits
POLARITY_SIDE: Final = 256  # pixels of the longer side; leaves strokes of several digits distinct
MIN_SLICE_HEIGHT: Final = 0.7  # of the line's height; a lower slice is not a digit
CUT_WIDTH: Final = 0.8  # of the line's height; broader pieces are cut, and the classifier chooses among the cuts
CUT_WIDTH_UNCLASSIFIED: Final = 1.3  # the same without a classifier
MAX_PARTS: Final = 3  # components per digit
JOIN_PENALTY: Final = 1.0  # nats for joining two components side by side that are both as high as a digit
WIDTH_PENALTY: Final = 4.0  # nats per unit of width over height above MAX_ASPECT
MAX_ASPECT: Final = 0.9  # width over height of most digits
MAX_GLYPHS: Final = 2000  # classified per image; about ten per digit

Score = Callable[[NDArray[np.uint8]], NDArray[np.floating[Any]]]
Line = tuple[list[Piece], float, dict[tuple[int, int], float]]


class Box(NamedTuple):
    """A digit's box in pixels of the original image, after its EXIF orientation has been applied."""

    x: int
    y: int
    width: int
    height: int


def find_digits(image: Image.Image, score: Score | None = None) -> list[list[tuple[Box, Digit]]]:
    """Finds lines from top to bottom, each with its digits from left to right; empty if the image is blank.

    `score` maps uint8 (n, 28, 28) to the log-probability (n,) that each image shows one digit that the classifier can
    name, see `Model.log_confidence`. Without it, only the shapes of the pieces count. Raises TooManyDigits.
    """
    upright = load_pixels(image)
    turned = (upright.width < upright.height) != (image.width < image.height)
    ink = extract_ink(read_colours(upright, WORKING_SIDE), Assumptions(polarity_side=POLARITY_SIDE))
    max_aspect = CUT_WIDTH if score else CUT_WIDTH_UNCLASSIFIED
    lines = [split_line(components, max_aspect) for components in find_lines(find_pieces(ink))]
    if sum(len(join_costs) for _, _, join_costs in lines) > MAX_GLYPHS:
        raise TooManyDigits(MANY_DIGITS)
    size = image.size[::-1] if turned else image.size
    return [
        [(_box(piece, size, ink.shape), Digit(pixels, blank=False)) for piece, pixels in best_grouping(*line, score)]
        for line in lines
    ]


def _box(piece: Piece, size: tuple[int, int], shape: tuple[int, ...]) -> Box:
    x, y = piece.left * size[0] // shape[1], piece.top * size[1] // shape[0]
    right, bottom = -(-piece.right * size[0] // shape[1]), -(-piece.bottom * size[1] // shape[0])
    return Box(x, y, right - x, bottom - y)


def split_line(components: list[Piece], max_aspect: float) -> Line:
    """Cuts the components that are broader than `max_aspect` times the line's height.

    Returns the pieces, the line's height, and the costs in nats of joining pieces[start:end], if that may be a digit.
    """
    height = float(np.median([component.height for component in components]))
    pieces = [piece for one in components for piece in (cut(one) if one.width > max_aspect * height else [one])]
    join_costs = {}
    for start in range(len(pieces)):
        cost = share = 0.0
        for end in range(start, len(pieces)):
            cost += _join_cost(pieces[end - 1], pieces[end], height) if end > start else 0
            share += pieces[end].share
            if cost == np.inf or share > MAX_PARTS + 0.01:
                break
            join_costs[start, end + 1] = cost
    return pieces, height, join_costs


def _join_cost(left: Piece, right: Piece, height: float) -> float:
    """Penalty in nats for joining two neighbours to one digit; infinite for distant components."""
    gap, lower = right.left - left.right, min(left.height, right.height)
    if right.cut_cost:
        return 0.0
    if gap >= (0.25 if lower < 0.75 * height else 0.08) * height:
        return np.inf
    return JOIN_PENALTY * (gap >= 0 and lower > 0.75 * height)


def best_grouping(
    pieces: list[Piece], height: float, join_costs: dict[tuple[int, int], float], score: Score | None
) -> list[tuple[Piece, NDArray[np.uint8]]]:
    """The digits of a line: the grouping of neighbouring pieces with the greatest sum of scores.

    Returns each digit as a piece of the image and as the classifier's input, uint8 (28, 28).
    """
    glyphs = [union(pieces[start:end]) for start, end in join_costs]
    pixels = [glyph_to_digit(glyph.ink).pixels for glyph in glyphs]
    scores = np.array([_shape_score(glyph, height) for glyph in glyphs])
    if score is not None:  # times the number of components, so that different groupings are comparable
        scores += np.asarray(score(np.stack(pixels)), np.float64) * [glyph.share for glyph in glyphs]
    best: list[tuple[float, list[int]]] = [(0.0, []), *[(-np.inf, [])] * len(pieces)]
    for index, ((start, end), join_cost) in enumerate(join_costs.items()):
        total = best[start][0] + float(scores[index]) - glyphs[index].cut_cost - join_cost
        if total > best[end][0]:
            best[end] = (total, [*best[start][1], index])
    return [(glyphs[index], pixels[index]) for index in best[-1][1]]


def _shape_score(glyph: Piece, height: float) -> float:
    """Score of a glyph's shape in nats. Low slices are excluded: enlarged, a scrap may look like a digit."""
    if glyph.share % 1 > 0.01 and glyph.height < MIN_SLICE_HEIGHT * height:
        return -1e3
    return -WIDTH_PENALTY * max(glyph.width / glyph.height - MAX_ASPECT, 0)
