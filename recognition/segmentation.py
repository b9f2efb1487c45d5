"""Splits an image of numbers into digits, in lines and in reading order.

Pieces are connected components, and slices of broad components that may be touching digits. Dynamic programming finds
the grouping of neighbouring pieces for which the classifier is most confident.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from recognition.decoding import ImageError
from recognition.ink import INK_THRESHOLD, extract_ink, load_pixels, read_colours
from recognition.preprocessing import Digit, glyph_to_digit
from recognition.raster import Floats, connected_components, crop_to_ink, is_frame, touches_border

WORKING_SIDE: Final = 800  # pixels of the longer side; leaves 100 pixels for each of eight digits
MIN_DIGIT_HEIGHT: Final = 0.45  # of the typical height; a lower component is a speck or part of a digit
MIN_SLICE_HEIGHT: Final = 0.7  # of the line's height; a lower slice is not a digit
CUT_WIDTH: Final = 0.8  # of the line's height; broader pieces are cut, and the classifier chooses among the cuts
CUT_WIDTH_UNCLASSIFIED: Final = 1.3  # the same without a classifier
MAX_PARTS: Final = 3  # components per digit
MAX_CUTS: Final = 6  # per component
CUT_PENALTY: Final = 0.6  # nats per cut, and again for each stroke that the cut crosses
JOIN_PENALTY: Final = 1.0  # nats for joining two components side by side that are both as high as a digit
WIDTH_PENALTY: Final = 4.0  # nats per unit of width over height above MAX_ASPECT
MAX_ASPECT: Final = 0.9  # width over height of most digits
MAX_PIECES: Final = 200  # components per image without specks; ten lines of ten digits have about 130
MAX_OVERLAP: Final = 4  # times the area of the image: that of all boxes of pieces; handwriting has less than 1
MAX_GLYPHS: Final = 2000  # classified per image; about five per digit
MANY_DIGITS: Final = f"the image shows more than {MAX_PIECES} digits or strokes; send fewer digits per image"

Classify = Callable[[NDArray[np.uint8]], NDArray[np.floating]]


class TooManyDigits(ImageError):
    """The image has more pieces than MAX_PIECES, or more ways to group them than MAX_GLYPHS."""


class Box(NamedTuple):
    """A digit's box in pixels of the original image, after its EXIF orientation has been applied."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class _Piece:
    """A component, a slice or a digit: its ink, and its box in the reduced image (bottom and right exclusive)."""

    ink: NDArray[Any]  # float32 (bottom - top, right - left) in 0..1; of a digit uint8 (28, 28)
    top: int
    bottom: int
    left: int
    right: int
    share: float = 1.0  # of its component
    cut_cost: float = 0.0  # in nats, of the cut between the piece and its left neighbour

    @property
    def height(self) -> int:
        return self.bottom - self.top

    @property
    def width(self) -> int:
        return self.right - self.left


def find_digits(image: Image.Image, classify: Classify | None = None) -> list[list[tuple[Box, Digit]]]:
    """Finds lines from top to bottom, each with its digits from left to right; empty if the image is blank.

    `classify` maps uint8 (n, 28, 28) to probabilities (n, classes). Without it, only the shapes of the pieces count.
    Raises TooManyDigits.
    """
    upright = load_pixels(image)
    turned = (upright.width < upright.height) != (image.width < image.height)
    ink = extract_ink(read_colours(upright, WORKING_SIDE))
    max_aspect = CUT_WIDTH if classify else CUT_WIDTH_UNCLASSIFIED
    lines = [split_line(components, max_aspect) for components in find_lines(find_pieces(ink))]
    if sum(len(join_costs) for _, _, join_costs in lines) > MAX_GLYPHS:
        raise TooManyDigits(MANY_DIGITS)
    size = image.size[::-1] if turned else image.size
    return [
        [(_box(digit, size, ink.shape), Digit(digit.ink, blank=False)) for digit in best_grouping(*line, classify)]
        for line in lines
    ]


def _box(piece: _Piece, size: tuple[int, int], shape: tuple[int, ...]) -> Box:
    x, y = piece.left * size[0] // shape[1], piece.top * size[1] // shape[0]
    right, bottom = -(-piece.right * size[0] // shape[1]), -(-piece.bottom * size[1] // shape[0])
    return Box(x, y, right - x, bottom - y)


def find_pieces(ink: Floats) -> list[_Piece]:
    """The connected components, without specks, frames and lines along a whole side. Raises TooManyDigits."""
    labels, areas, boxes = connected_components(ink > INK_THRESHOLD)
    if not len(areas):
        return []
    height, width = boxes[:, 1] - boxes[:, 0], boxes[:, 3] - boxes[:, 2]
    long = np.where(height >= width, height > 0.9 * ink.shape[0], width > 0.9 * ink.shape[1])
    frame = is_frame(areas, boxes) | (touches_border(boxes, ink.shape) & long)
    if not frame.all():
        areas = np.where(frame, 0, areas)
    found = np.flatnonzero(areas >= max(0.02 * np.sort(areas)[-3:].mean(), 1))
    if len(found) > MAX_PIECES or (height * width)[found].sum() > MAX_OVERLAP * ink.size:
        raise TooManyDigits(MANY_DIGITS)
    pieces = []
    for index in found:
        top, bottom, left, right = boxes[index].tolist()
        window = slice(top, bottom), slice(left, right)
        component = np.where(labels[window] == index + 1, ink[window], 0)
        pieces.append(_Piece(component, top, bottom, left, right))
    return pieces


def find_lines(pieces: list[_Piece]) -> list[list[_Piece]]:
    """Groups pieces into lines, from top to bottom, each from left to right.

    A digit joins the line whose last digit it overlaps vertically, so lines may slope. A low piece, such as the bar of
    a five, is merged with the nearest digit if that is close enough, and dropped otherwise.
    """
    if not pieces:
        return []
    by_height = sorted(pieces, key=lambda piece: piece.height)
    weights = np.cumsum([float(piece.ink.sum()) for piece in by_height])
    typical = by_height[int(np.searchsorted(weights, weights[-1] / 2))].height
    lines: list[list[_Piece]] = []
    for piece in sorted(pieces, key=lambda piece: piece.left + piece.right):
        if piece.height < MIN_DIGIT_HEIGHT * typical:
            continue
        overlaps = [_vertical_overlap(line[-1], piece) for line in lines]
        if overlaps and max(overlaps) > 0.4:
            lines[int(np.argmax(overlaps))].append(piece)
        else:
            lines.append([piece])
    for part in (piece for piece in pieces if piece.height < MIN_DIGIT_HEIGHT * typical):
        distance, row, column = min(
            (_distance(piece, part), row, column) for row, line in enumerate(lines) for column, piece in enumerate(line)
        )
        digit = lines[row][column]
        if distance < 0.25 * typical and part.ink.sum() > 0.03 * digit.ink.sum():
            lines[row][column] = replace(_union([digit, part]), share=digit.share)
    return sorted(lines, key=lambda line: float(np.mean([piece.top + piece.bottom for piece in line])))


def _vertical_overlap(piece: _Piece, other: _Piece) -> float:
    """Overlap as a share of the lower piece; negative if there is a gap."""
    return (min(piece.bottom, other.bottom) - max(piece.top, other.top)) / min(piece.height, other.height)


def _distance(piece: _Piece, other: _Piece) -> int:
    """The larger of the horizontal and the vertical gap between two boxes, in pixels."""
    across = max(piece.left, other.left) - min(piece.right, other.right)
    down = max(piece.top, other.top) - min(piece.bottom, other.bottom)
    return max(across, down, 0)


def _union(pieces: list[_Piece]) -> _Piece:
    top, bottom = min(p.top for p in pieces), max(p.bottom for p in pieces)
    left, right = min(p.left for p in pieces), max(p.right for p in pieces)
    canvas = np.zeros((bottom - top, right - left), np.float32)
    for p in pieces:
        window = canvas[p.top - top : p.bottom - top, p.left - left : p.right - left]
        np.maximum(window, p.ink, out=window)
    return _Piece(canvas, top, bottom, left, right, sum(p.share for p in pieces), pieces[0].cut_cost)


def split_line(components: list[_Piece], max_aspect: float) -> tuple[list[_Piece], float, dict[tuple[int, int], float]]:
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


def _join_cost(left: _Piece, right: _Piece, height: float) -> float:
    """Penalty in nats for joining two neighbours to one digit; infinite for distant components."""
    gap, lower = right.left - left.right, min(left.height, right.height)
    if right.cut_cost:
        return 0.0
    if gap >= (0.25 if lower < 0.75 * height else 0.08) * height:
        return np.inf
    return JOIN_PENALTY * (gap >= 0 and lower > 0.75 * height)


def best_grouping(
    pieces: list[_Piece], height: float, join_costs: dict[tuple[int, int], float], classify: Classify | None
) -> list[_Piece]:
    """The digits of a line: the grouping of neighbouring pieces with the greatest sum of scores."""
    unions = (_union(pieces[start:end]) for start, end in join_costs)
    glyphs = [replace(union, ink=glyph_to_digit(union.ink).pixels) for union in unions]
    best: list[tuple[float, list[_Piece]]] = [(0.0, []), *[(-np.inf, [])] * len(pieces)]
    scores = _scores(glyphs, height, classify)
    for ((start, end), cost), glyph, score in zip(join_costs.items(), glyphs, scores, strict=True):
        total = best[start][0] + score - glyph.cut_cost - cost
        if total > best[end][0]:
            best[end] = (total, [*best[start][1], glyph])
    return best[-1][1]


def _scores(glyphs: list[_Piece], height: float, classify: Classify | None) -> list[float]:
    """Log of the greatest probability times the number of components, so that different groupings are comparable."""
    log_probability: NDArray[np.float64] = np.zeros(len(glyphs))
    if classify is not None:
        probabilities = classify(np.stack([glyph.ink for glyph in glyphs]))
        log_probability = np.log(np.asarray(probabilities, np.float64).max(1) + 1e-6)
    # Low slices are excluded: enlarged, a scrap of a digit may look like another digit.
    scrap = np.array([glyph.share % 1 > 0.01 and glyph.height < MIN_SLICE_HEIGHT * height for glyph in glyphs])
    excess = np.array([max(glyph.width / glyph.height - MAX_ASPECT, 0) for glyph in glyphs])
    shares = np.array([glyph.share for glyph in glyphs])
    return list(np.where(scrap, -1e3, log_probability * shares - WIDTH_PENALTY * excess))


def cut(piece: _Piece) -> list[_Piece]:
    """Slices a piece at the columns with the least ink, MAX_CUTS at most. A cut costs more if it crosses strokes."""
    profile = np.convolve(np.pad(piece.ink.sum(0), 1, mode="edge"), np.full(3, 1 / 3), mode="valid")
    margin = max(2, round(0.15 * piece.height))
    columns: list[int] = []
    for column in (np.argsort(profile[margin:-margin], kind="stable") + margin).tolist():
        if len(columns) < MAX_CUTS and all(abs(column - other) >= margin for other in columns):
            columns.append(column)
    stroke = 2 * float(piece.ink.sum()) / max(float(np.abs(np.diff(piece.ink, axis=1)).sum()), 1e-6)
    slices: list[_Piece] = []
    for left, right in pairwise([0, *sorted(columns), piece.width]):
        part, row, column = crop_to_ink(piece.ink[:, left:right])
        if part.size:
            y, x = piece.top + row, piece.left + left + column
            cost = CUT_PENALTY * (1 + float(profile[left]) / stroke) if slices else 0.0
            box = y, y + part.shape[0], x, x + part.shape[1]
            slices.append(_Piece(part, *box, share=(right - left) / piece.width, cut_cost=cost))
    return slices
