"""Splits an image of numbers into digits, in lines and in reading order.

Pieces are connected components, and slices of broad components that may be touching digits. Dynamic programming finds
the grouping of neighbouring pieces for which the classifier is most confident.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from recognition.ink import INK_THRESHOLD, extract_ink, is_frame, load_pixels, read_colours, touches_border
from recognition.preprocessing import Digit, glyph_to_digit
from recognition.raster import Floats, connected_components, crop_to_ink

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

Classify = Callable[[NDArray[np.uint8]], NDArray[np.floating]]


class Box(NamedTuple):
    """A digit's box in pixels of the original image, after its EXIF orientation has been applied."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class _Piece:
    """Ink of a component or of a slice, and its box in the reduced image (bottom and right exclusive)."""

    ink: Floats
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
    """
    ink = extract_ink(read_colours(load_pixels(image), WORKING_SIDE), WORKING_SIDE)
    scale = max(image.size) / max(ink.shape)
    return [
        [(_box(glyph, scale), glyph_to_digit(glyph.ink)) for glyph in best_grouping(line, classify)]
        for line in find_lines(find_pieces(ink))
    ]


def _box(piece: _Piece, scale: float) -> Box:
    x, y = int(piece.left * scale), int(piece.top * scale)
    right, bottom = int(np.ceil(piece.right * scale)), int(np.ceil(piece.bottom * scale))
    return Box(x, y, right - x, bottom - y)


def find_pieces(ink: Floats) -> list[_Piece]:
    """The connected components, without specks, frames and lines along a whole side of the image."""
    labels, areas, boxes = connected_components(ink > INK_THRESHOLD)
    if not len(areas):
        return []
    height, width = boxes[:, 1] - boxes[:, 0], boxes[:, 3] - boxes[:, 2]
    long = np.where(height >= width, height > 0.9 * ink.shape[0], width > 0.9 * ink.shape[1])
    frame = is_frame(areas, boxes) | (touches_border(boxes, ink.shape) & long)
    if not frame.all():
        areas = np.where(frame, 0, areas)
    largest = np.sort(areas)[-3:].mean()
    pieces = []
    for index in np.flatnonzero(areas >= max(0.02 * largest, 1)):
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


def best_grouping(line: list[_Piece], classify: Classify | None) -> list[_Piece]:
    """The digits of a line: the grouping of neighbouring pieces with the greatest sum of scores."""
    height = float(np.median([piece.height for piece in line]))
    max_width = (CUT_WIDTH if classify else CUT_WIDTH_UNCLASSIFIED) * height
    pieces = [part for piece in line for part in (cut(piece) if piece.width > max_width else [piece])]
    costs = {(i, j): _join_cost(pieces[i:j], height) for i, j in combinations(range(len(pieces) + 1), 2)}
    spans = [span for span, cost in costs.items() if cost < np.inf]
    glyphs = [_union(pieces[start:end]) for start, end in spans]
    scores = _scores(glyphs, height, classify)
    best: list[tuple[float, list[_Piece]]] = [(0.0, []), *[(-np.inf, [])] * len(pieces)]
    for (start, end), glyph, score in zip(spans, glyphs, scores, strict=True):
        total = best[start][0] + score - glyph.cut_cost - costs[start, end]
        if total > best[end][0]:
            best[end] = (total, [*best[start][1], glyph])
    return best[-1][1]


def _join_cost(pieces: list[_Piece], height: float) -> float:
    """Penalty in nats for joining pieces to one digit; infinite for distant components and for too many of them."""
    cost = 0.0
    for left, right in pairwise(pieces):
        gap, lower = right.left - left.right, min(left.height, right.height)
        if right.cut_cost:
            continue
        if gap >= (0.25 if lower < 0.75 * height else 0.08) * height:
            return np.inf
        cost += JOIN_PENALTY * (gap >= 0 and lower > 0.75 * height)
    return cost if sum(piece.share for piece in pieces) < MAX_PARTS + 0.01 else np.inf


def _scores(glyphs: list[_Piece], height: float, classify: Classify | None) -> list[float]:
    """Log of the greatest probability times the number of components, so that different groupings are comparable."""
    log_probability: NDArray[np.float64] = np.zeros(len(glyphs))
    if classify is not None:
        pixels = np.stack([glyph_to_digit(glyph.ink).pixels for glyph in glyphs])
        log_probability = np.log(np.asarray(classify(pixels), np.float64).max(1) + 1e-6)
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
