"""Cuts touching digits along paths of least ink."""

from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from recognition.pieces import Piece
from recognition.raster import Floats, crop_to_ink

MAX_CUTS: Final = 20  # per component
CUTS_PER_HEIGHT: Final = 5  # cuts of a piece for each of its heights in its width, at most
CUT_PENALTY: Final = 1.2  # nats per cut, and again for each stroke that the cut crosses
MARGIN: Final = 0.12  # of the piece's height, between the middle of a cut and the piece's sides
SPACING: Final = 0.1  # of the piece's height: mean distance between two cuts
REACH: Final = 0.22  # of the piece's height: how far a cut may lean to either side
SIDEWAYS: Final = 0.05  # of a pixel of ink: cost of each column that a cut moves to the side


def cut(piece: Piece) -> list[Piece]:
    """Slices a piece along paths of least ink from top to bottom. A cut costs more if it crosses strokes."""
    margin = max(2, round(MARGIN * piece.height))
    columns = np.arange(margin, piece.width - margin, max(1, margin // 4))
    if not len(columns):
        return [piece]
    paths, crossed = least_ink_paths(piece.ink, columns, round(REACH * piece.height))
    count = min(MAX_CUTS, int(CUTS_PER_HEIGHT * piece.width / piece.height))
    chosen: list[int] = []
    for index in np.argsort(crossed, kind="stable").tolist():
        distances = np.abs(paths[chosen] - paths[index]).mean(1)
        if len(chosen) < count and (distances >= SPACING * piece.height).all():
            chosen.append(index)
    chosen.sort(key=lambda index: float(paths[index].mean()))
    stroke = 2 * float(piece.ink.sum()) / max(float(np.abs(np.diff(piece.ink, axis=1)).sum()), 1e-6)
    right_of = np.arange(piece.width) >= np.maximum.accumulate(paths[chosen])[:, :, None]
    slices: list[Piece] = []
    for number, cost in enumerate([0.0, *(CUT_PENALTY * (1 + crossed[chosen] / stroke)).tolist()]):
        part, row, column = crop_to_ink(np.where(right_of.sum(0) == number, piece.ink, 0))
        if part.size:
            y, x = piece.top + row, piece.left + column
            share = float(part.sum() / piece.ink.sum())
            slices.append(Piece(part, y, y + part.shape[0], x, x + part.shape[1], share, cost if slices else 0.0))
    return slices


def least_ink_paths(ink: Floats, columns: NDArray[np.intp], reach: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """The paths from top to bottom that cross the least ink, one near each column, at most `reach` away from it.

    Returns the column of each path in each row, (n, h), and the ink it crosses, (n,). From row to row, a path moves by
    at most one column. Dynamic programming, as for seam carving (Avidan and Shamir, 2007).
    """
    offsets = np.arange(-reach, reach + 1)
    inside = np.pad(ink, ((0, 0), (reach, reach)), constant_values=np.inf)
    windows = sliding_window_view(inside, len(offsets), axis=1)[:, columns]  # (h, n, offsets)
    total = windows[0] + SIDEWAYS * np.abs(offsets)
    moves = np.zeros(windows.shape, np.int8)
    padded = np.full((len(columns), len(offsets) + 2), np.inf, total.dtype)
    for row in range(1, len(ink)):
        padded[:, 1:-1] = total
        from_left, from_right = padded[:, :-2] + SIDEWAYS, padded[:, 2:] + SIDEWAYS
        sideways = np.minimum(from_left, from_right)
        moves[row] = np.where(total <= sideways, 0, np.where(from_left <= from_right, -1, 1))
        total = np.minimum(total, sideways) + windows[row]
    position = total.argmin(1)
    crossed = total.min(1)
    paths = np.empty((len(columns), ink.shape[0]), np.intp)
    index = np.arange(len(columns))
    for row in range(ink.shape[0] - 1, -1, -1):
        paths[:, row] = columns + offsets[position]
        position = position + moves[row, index, position]
    return paths, crossed
