"""Splits an image of numbers into digits, in lines and in reading order.

Pieces are connected components, and slices of broad components that may be touching digits. Dynamic programming finds
the grouping of neighbouring pieces with the greatest sum of scores.
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
from recognition.raster import Floats
from recognition.shapes import NO_CUT, NO_GAP, SHAPES, Shape, penalty

WORKING_SIDE: Final = 800  # pixels of the longer side; leaves 100 pixels for each of eight digits
POLARITY_SIDE: Final = 256  # pixels of the longer side; leaves strokes of several digits distinct
CUT_WIDTH: Final = 0.5  # of the line's height; broader pieces are cut, and the classifier chooses among the cuts
CUT_WIDTH_UNCLASSIFIED: Final = 1.3  # the same without a classifier
MAX_PARTS: Final = 3  # components per digit
MAX_WIDTH: Final = 1.6  # of the line's height; broader groups of pieces are not a digit
JOIN_PENALTY: Final = 1.0  # nats for joining two components side by side that are both as high as a digit
MAX_GLYPHS: Final = 2000  # classified per image; about ten per digit

Score = Callable[[NDArray[np.uint8], Floats], NDArray[np.floating[Any]]]
Line = tuple[list[Piece], float, dict[tuple[int, int], float]]


class Box(NamedTuple):
    """A digit's box in pixels of the original image, after its EXIF orientation has been applied."""

    x: int
    y: int
    width: int
    height: int


def find_digits(image: Image.Image, score: Score | None = None) -> list[list[tuple[Box, Digit]]]:
    """Finds lines from top to bottom, each with its digits from left to right; empty if the image is blank.

    `score` maps images, uint8 (n, 28, 28), and shapes, float32 (n, SHAPES), of segments to scores (n,) that are high
    for exactly one digit, see `Model.digit_score`. Without it, only the shapes count. Raises TooManyDigits.
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
        right = 0
        for end in range(start, len(pieces)):
            cost += _join_cost(pieces[end - 1], pieces[end], height) if end > start else 0
            share, right = share + pieces[end].share, max(right, pieces[end].right)
            broad = end > start and right - pieces[start].left > MAX_WIDTH * height
            if cost == np.inf or share > MAX_PARTS + 0.01 or broad:
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
    segments = [union(pieces[start:end]) for start, end in join_costs]
    pixels = [glyph_to_digit(segment.ink).pixels for segment in segments]
    shapes = segment_shapes(pieces, height, join_costs, segments)
    scores = (score(np.stack(pixels), shapes) if score else -penalty(shapes)).tolist()
    best: list[tuple[float, list[int]]] = [(0.0, []), *[(-np.inf, [])] * len(pieces)]
    for index, (start, end) in enumerate(join_costs):
        total = best[start][0] + scores[index]
        if total > best[end][0]:
            best[end] = (total, [*best[start][1], index])
    return [(segments[index], pixels[index]) for index in best[-1][1]]


def segment_shapes(
    pieces: list[Piece], height: float, join_costs: dict[tuple[int, int], float], segments: list[Piece]
) -> Floats:
    """What the 28x28 images of the segments pieces[start:end] do not show, float32 (n, SHAPES), as in `join_costs`.

    Width and height, width over height, ink, length of the strokes; costs of the cuts at the left and at the right
    end, 0 where there is none; cost of the cheapest cut inside, and their number; cost of joining components; the
    largest gap inside; the number of components. `segments`: the union of each segment's pieces.
    """
    shapes = np.empty((len(segments), SHAPES), np.float32)
    for row, ((start, end), join), segment in zip(shapes, join_costs.items(), segments, strict=True):
        inner = pieces[start + 1 : end]
        cuts = [piece.cut_cost for piece in inner if piece.cut_cost]
        gaps = [
            (piece.left - left.right) / height
            for left, piece in zip(pieces[start:end], inner, strict=False)
            if not piece.cut_cost
        ]
        ink = float(segment.ink.sum())
        changes = float(np.abs(np.diff(segment.ink, axis=1)).sum())
        row[Shape.WIDTH], row[Shape.HEIGHT] = segment.width / height, segment.height / height
        row[Shape.ASPECT] = segment.width / segment.height
        row[Shape.INK] = ink / height**2
        row[Shape.LENGTH] = changes / (2 * height)  # strokes are as wide as 2 * ink / changes
        row[Shape.LEFT_CUT] = pieces[start].cut_cost
        row[Shape.RIGHT_CUT] = pieces[end].cut_cost if end < len(pieces) else 0.0
        row[Shape.INNER_CUT], row[Shape.INNER_CUTS] = min(cuts, default=NO_CUT), len(cuts)
        row[Shape.JOIN] = join
        row[Shape.GAP] = max(gaps, default=NO_GAP)
        row[Shape.SHARE] = segment.share
    return shapes
