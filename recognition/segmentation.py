"""From a picture of numbers to its digits, in lines and in reading order.

Ink is taken apart into pieces (connected components, the broad ones cut where strokes may touch); of all ways to put
neighbouring pieces together the one the classifier finds most digit-like wins, by dynamic programming.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from recognition.ink import INKED, extract_ink, is_frame, upright
from recognition.preprocessing import Digit, glyph_to_digit
from recognition.raster import Floats, connected_components

# Eight digits side by side still have a hundred pixels each.
WORKING_SIDE: Final = 800
# Of a line's height: what is lower is a speck, a dot or a part of a digit, no digit.
SMALLEST: Final = 0.45
LOWEST_SLICE: Final = 0.7
# Width over height from which a piece may be several digits, and from which it must be when nobody can be asked.
MAYBE_SEVERAL: Final = 0.8
SURELY_SEVERAL: Final = 1.3
MOST_PARTS: Final = 3  # components to one digit
MOST_CUTS: Final = 6  # in one component
# In nats: a cut must make the digits clearly likelier, more so for every stroke it goes through;
CUT_PENALTY: Final = 0.6
# so must joining components that stand side by side, each as high as a digit;
JOIN_PENALTY: Final = 1.0
# and a digit is seldom broader than high: per unit of width over height beyond the broadest usual one.
BROADEST: Final = 0.9
BROAD_PENALTY: Final = 4.0

Classify = Callable[[NDArray[np.uint8]], NDArray[np.floating]]


@dataclass(frozen=True)
class Box:
    """In the picture's own pixels, after its EXIF orientation."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class _Piece:
    """Ink with its place: a component, or a slice of one.

    share: of a component, 1 for a whole one. cut: what separating it from its left neighbour costs.
    """

    ink: Floats
    top: int
    left: int
    share: float = 1.0
    cut: float = 0.0

    @property
    def bottom(self) -> int:
        return self.top + self.height

    @property
    def right(self) -> int:
        return self.left + self.width

    @property
    def height(self) -> int:
        return int(self.ink.shape[0])

    @property
    def width(self) -> int:
        return int(self.ink.shape[1])


def find_digits(image: Image.Image, classify: Classify | None = None) -> list[list[tuple[Box, Digit]]]:
    """Lines from top to bottom, each with its digits from left to right; empty if nothing is written.

    classify: uint8 (n, 28, 28) to probabilities (n, classes); without it only the pieces' shapes decide.
    """
    image = upright(image)
    ink = extract_ink(image, WORKING_SIDE)
    scale = image.width / ink.shape[1]
    lines = []
    for line in find_lines(find_pieces(ink)):
        glyphs = best_grouping(line, classify)
        lines.append([(_box(glyph, scale, image), glyph_to_digit(glyph.ink)) for glyph in glyphs])
    return lines


def find_pieces(ink: Floats) -> list[_Piece]:
    """The ink's connected components without specks, frames and what runs along the picture's whole side."""
    height, width = ink.shape
    labels, areas, boxes = connected_components(ink > INKED)
    if not len(areas):
        return []
    longest = np.maximum(boxes[:, 1] - boxes[:, 0], boxes[:, 3] - boxes[:, 2])
    side = np.asarray(np.where(boxes[:, 1] - boxes[:, 0] == longest, height, width))
    frame = is_frame(areas, boxes) | (_at_border(boxes, ink.shape) & (longest > 0.9 * side))
    if not frame.all():
        areas = np.where(frame, 0, areas)
    largest = np.sort(areas)[-3:].mean()
    pieces = []
    for index in np.flatnonzero(areas >= max(0.02 * largest, 1)):
        top, bottom, left, right = boxes[index]
        window = slice(top, bottom), slice(left, right)
        pieces.append(_Piece(np.where(labels[window] == index + 1, ink[window], 0), int(top), int(left)))
    return pieces


def _at_border(boxes: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    first, last = boxes[:, [0, 2]] == 0, boxes[:, [1, 3]] == shape
    return np.asarray((first | last).any(1), np.bool_)


def find_lines(pieces: list[_Piece]) -> list[list[_Piece]]:
    """Pieces by line, top to bottom, each line from left to right.

    A digit joins the line whose last digit it overlaps vertically, so lines may climb; smaller pieces (a five's bar)
    join the digit they are nearest to, if near enough, and are dropped otherwise.
    """
    if not pieces:
        return []
    order = sorted(pieces, key=lambda piece: piece.height)
    weights = np.cumsum([float(piece.ink.sum()) for piece in order])
    typical = order[int(np.searchsorted(weights, weights[-1] / 2))].height
    digits = sorted((p for p in pieces if p.height >= SMALLEST * typical), key=lambda p: p.left + p.right)
    lines: list[list[_Piece]] = []
    for piece in digits:
        overlaps = [_overlap(line[-1].top, line[-1].bottom, piece.top, piece.bottom) for line in lines]
        if overlaps and max(overlaps) > 0.4:
            lines[int(np.argmax(overlaps))].append(piece)
        else:
            lines.append([piece])
    for part in (p for p in pieces if p.height < SMALLEST * typical):
        line, index = min(
            ((line, k) for line in lines for k in range(len(line))),
            key=lambda at: _distance(at[0][at[1]], part),
        )
        if _distance(line[index], part) < 0.25 * typical and part.ink.sum() > 0.03 * line[index].ink.sum():
            line[index] = replace(_union([line[index], part]), share=line[index].share)
    return sorted(lines, key=lambda line: float(np.mean([piece.top + piece.bottom for piece in line])))


def _overlap(start: int, end: int, other_start: int, other_end: int) -> float:
    """Of two intervals, as a share of the shorter; negative is their distance."""
    return (min(end, other_end) - max(start, other_start)) / min(end - start, other_end - other_start)


def _distance(piece: _Piece, other: _Piece) -> float:
    """Between the boxes, the larger of the horizontal and the vertical gap."""
    across = max(piece.left, other.left) - min(piece.right, other.right)
    down = max(piece.top, other.top) - min(piece.bottom, other.bottom)
    return max(across, down, 0)


def _union(pieces: list[_Piece]) -> _Piece:
    top, left = min(p.top for p in pieces), min(p.left for p in pieces)
    canvas = np.zeros((max(p.bottom for p in pieces) - top, max(p.right for p in pieces) - left), np.float32)
    for p in pieces:
        window = canvas[p.top - top : p.bottom - top, p.left - left : p.right - left]
        np.maximum(window, p.ink, out=window)
    return _Piece(canvas, top, left, sum(p.share for p in pieces), pieces[0].cut)


def best_grouping(line: list[_Piece], classify: Classify | None) -> list[_Piece]:
    """The line's digits: neighbouring pieces put together so that the sum of their scores is greatest."""
    height = float(np.median([piece.height for piece in line]))
    several = MAYBE_SEVERAL if classify else SURELY_SEVERAL
    pieces = [part for piece in line for part in (cut(piece) if piece.width > several * height else [piece])]
    spans = [
        (start, end)
        for start in range(len(pieces))
        for end in range(start + 1, len(pieces) + 1)
        if _may_join(pieces[start:end], height)
    ]
    glyphs = [_union(pieces[start:end]) for start, end in spans]
    scores = _scores(glyphs, height, classify)
    best: list[tuple[float, list[_Piece]]] = [(-np.inf, []) for _ in range(len(pieces) + 1)]
    best[0] = (0.0, [])
    for (start, end), glyph, score in zip(spans, glyphs, scores, strict=True):
        total = best[start][0] + score - pieces[start].cut - _join_cost(pieces[start:end], height)
        if total > best[end][0]:
            best[end] = (total, [*best[start][1], glyph])
    return best[-1][1]


def _may_join(pieces: list[_Piece], height: float) -> bool:
    """Slices of one component may; separate components if one is low, or their boxes overlap or nearly touch."""
    for left, right in pairwise(pieces):
        near = right.left - left.right < 0.08 * height
        low = min(left.height, right.height) < 0.75 * height and right.left - left.right < 0.25 * height
        if not (right.cut or near or low):
            return False
    return sum(p.share for p in pieces) < MOST_PARTS + 0.01


def _scores(glyphs: list[_Piece], height: float, classify: Classify | None) -> list[float]:
    """Log of the greatest probability, once for each component that a digit takes in, so that groupings compare."""
    certainty: NDArray[np.float64] = np.zeros(len(glyphs))
    if classify is not None:
        pixels = np.stack([glyph_to_digit(glyph.ink).pixels for glyph in glyphs])
        certainty = np.log(np.asarray(classify(pixels), np.float64).max(1) + 1e-6)
    # scraps cut off a digit may look like one when they are enlarged
    scrap = np.array([glyph.share % 1 > 0.01 and glyph.height < LOWEST_SLICE * height for glyph in glyphs])
    breadth = np.array([max(glyph.width / glyph.height - BROADEST, 0) for glyph in glyphs])
    shares = np.array([glyph.share for glyph in glyphs])
    return list(np.where(scrap, -1e3, certainty * shares - BROAD_PENALTY * breadth))


def _join_cost(pieces: list[_Piece], height: float) -> float:
    return JOIN_PENALTY * sum(
        not b.cut and b.left >= a.right and min(a.height, b.height) > 0.75 * height for a, b in pairwise(pieces)
    )


def cut(piece: _Piece) -> list[_Piece]:
    """Slices between the columns with least ink, at most MOST_CUTS; their cost is in strokes gone through."""
    profile = np.convolve(np.pad(piece.ink.sum(0), 1, mode="edge"), np.full(3, 1 / 3), mode="valid")
    margin = max(2, round(0.15 * piece.height))
    columns: list[int] = []
    for column in np.argsort(profile[margin:-margin], kind="stable") + margin:
        if all(abs(int(column) - other) >= margin for other in columns):
            columns.append(int(column))
        if len(columns) == MOST_CUTS:
            break
    stroke = 2 * float(piece.ink.sum()) / max(float(np.abs(np.diff(piece.ink, axis=1)).sum()), 1e-6)
    slices: list[_Piece] = []
    for left, right in zip([0, *sorted(columns)], [*sorted(columns), piece.width], strict=True):
        part = piece.ink[:, left:right]
        rows, inked = np.flatnonzero(part.any(1)), np.flatnonzero(part.any(0))
        if not len(rows):
            continue
        trimmed = part[rows[0] : rows[-1] + 1, inked[0] : inked[-1] + 1]
        cost = CUT_PENALTY * (1 + float(profile[left]) / stroke) if slices else 0.0
        place = piece.top + int(rows[0]), piece.left + left + int(inked[0])
        slices.append(_Piece(trimmed, *place, share=(right - left) / piece.width, cut=cost))
    return slices


def _box(glyph: _Piece, scale: float, image: Image.Image) -> Box:
    x, y = int(glyph.left * scale), int(glyph.top * scale)
    right, bottom = int(np.ceil(glyph.right * scale)), int(np.ceil(glyph.bottom * scale))
    return Box(x, y, min(right, image.width) - x, min(bottom, image.height) - y)
