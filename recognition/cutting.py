"""Cuts touching digits along paths of least ink."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from recognition.pieces import Piece
from recognition.raster import Floats, crop_to_ink

MAX_CUTS: Final = 20  # per component
CUT_PENALTY: Final = 1.2  # nats per cut, and again for each stroke that the cut crosses
SPACING: Final = 0.15  # of the piece's height, between cuts
REACH: Final = 0.25  # of the piece's height: how far a cut may lean to either side
SIDEWAYS: Final = 0.05  # of a pixel of ink: cost of each column that a cut moves to the side


def cut(piece: Piece) -> list[Piece]:
    """Slices a piece along paths of least ink from top to bottom. A cut costs more if it crosses strokes."""
    spacing = max(2, round(SPACING * piece.height))
    columns = np.arange(spacing, piece.width - spacing, max(1, spacing // 4))
    if not len(columns):
        return [piece]
    paths, crossed = least_ink_paths(piece.ink, columns, round(REACH * piece.height))
    chosen: list[int] = []
    for index in np.argsort(crossed, kind="stable").tolist():
        if len(chosen) < MAX_CUTS and all(abs(columns[index] - columns[other]) >= spacing for other in chosen):
            chosen.append(index)
    chosen.sort()
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
    windows = np.stack([inside[:, column : column + len(offsets)] for column in columns])  # (n, h, offsets)
    total = windows[:, 0] + SIDEWAYS * np.abs(offsets)
    moves = np.zeros(windows.shape, np.int8)
    for row in range(1, ink.shape[0]):
        padded = np.pad(total, ((0, 0), (1, 1)), constant_values=np.inf)
        options = np.stack([padded[:, 1:-1], padded[:, :-2] + SIDEWAYS, padded[:, 2:] + SIDEWAYS])
        best = options.argmin(0)
        moves[:, row] = np.array([0, -1, 1])[best]
        total = np.take_along_axis(options, best[None], 0)[0] + windows[:, row]
    position = total.argmin(1)
    crossed = total.min(1)
    paths = np.empty((len(columns), ink.shape[0]), np.intp)
    index = np.arange(len(columns))
    for row in range(ink.shape[0] - 1, -1, -1):
        paths[:, row] = columns + offsets[position]
        position = position + moves[index, row, position]
    return paths, crossed
