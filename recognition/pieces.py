"""The connected pieces of ink in an image of numbers, in lines."""

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recognition.decoding import ImageError
from recognition.ink import INK_THRESHOLD
from recognition.raster import Floats, connected_components, is_frame, touches_border

MIN_DIGIT_HEIGHT: Final = 0.45  # of the typical height; a lower component is a speck or part of a digit
MAX_BREAK: Final = 0.15  # of the typical height: gap between the upper and the lower part of a broken digit
MAX_DIGIT_HEIGHT: Final = 1.35  # of the typical height; higher unions are digits of two lines
MAX_PIECES: Final = 200  # components per image without specks; ten lines of ten digits have about 130
MAX_OVERLAP: Final = 4  # times the area of the image: that of all boxes of pieces; handwriting has less than 1
MANY_DIGITS: Final = f"the image shows more than {MAX_PIECES} digits or strokes; send fewer digits per image"


class TooManyDigits(ImageError):
    """The image has more pieces than MAX_PIECES, or too many ways to group them."""


@dataclass(frozen=True)
class Piece:
    """A component or a slice: its ink, and its box in the reduced image (bottom and right exclusive)."""

    ink: NDArray[Any]  # float32 (bottom - top, right - left) in 0..1
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


def find_pieces(ink: Floats) -> list[Piece]:
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
        pieces.append(Piece(component, top, bottom, left, right))
    return pieces


def join_broken(pieces: list[Piece], typical: float) -> list[Piece]:
    """Joins the parts of digits whose strokes are broken: parts above each other that together are one digit high."""
    joined: list[Piece] = []
    for piece in sorted(pieces, key=lambda piece: piece.top):
        for index, upper in enumerate(joined):
            across = min(upper.right, piece.right) - max(upper.left, piece.left)
            height = max(upper.bottom, piece.bottom) - upper.top
            near = piece.top - upper.bottom < MAX_BREAK * typical and height < MAX_DIGIT_HEIGHT * typical
            incomplete = min(upper.height, piece.height) < 0.8 * typical
            if near and incomplete and across > 0.5 * min(upper.width, piece.width):
                joined[index] = replace(union([upper, piece]), share=1.0)
                break
        else:
            joined.append(piece)
    return joined


def find_lines(pieces: list[Piece]) -> list[list[Piece]]:
    """Groups pieces into lines, from top to bottom, each from left to right.

    A digit joins the line whose last digit it overlaps vertically, so lines may slope. A low piece, such as the bar of
    a five, is merged with the nearest digit if that is close enough, and dropped otherwise.
    """
    if not pieces:
        return []
    typical = typical_height(pieces)
    pieces = join_broken(pieces, typical)
    lines: list[list[Piece]] = []
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
            lines[row][column] = replace(union([digit, part]), share=digit.share)
    return sorted(lines, key=lambda line: float(np.mean([piece.top + piece.bottom for piece in line])))


def typical_height(pieces: list[Piece]) -> int:
    """The median height of pieces, weighted by their ink."""
    by_height = sorted(pieces, key=lambda piece: piece.height)
    weights = np.cumsum([float(piece.ink.sum()) for piece in by_height])
    return by_height[int(np.searchsorted(weights, weights[-1] / 2))].height


def _vertical_overlap(piece: Piece, other: Piece) -> float:
    """Overlap as a share of the lower piece; negative if there is a gap."""
    return (min(piece.bottom, other.bottom) - max(piece.top, other.top)) / min(piece.height, other.height)


def _distance(piece: Piece, other: Piece) -> int:
    """The larger of the horizontal and the vertical gap between two boxes, in pixels."""
    across = max(piece.left, other.left) - min(piece.right, other.right)
    down = max(piece.top, other.top) - min(piece.bottom, other.bottom)
    return max(across, down, 0)


def union(pieces: list[Piece]) -> Piece:
    """All pieces as one."""
    top, bottom = min(p.top for p in pieces), max(p.bottom for p in pieces)
    left, right = min(p.left for p in pieces), max(p.right for p in pieces)
    canvas = np.zeros((bottom - top, right - left), np.float32)
    for p in pieces:
        window = canvas[p.top - top : p.bottom - top, p.left - left : p.right - left]
        np.maximum(window, p.ink, out=window)
    return Piece(canvas, top, bottom, left, right, sum(p.share for p in pieces), pieces[0].cut_cost)
