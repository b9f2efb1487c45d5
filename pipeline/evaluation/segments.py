"""Segments of written numbers, to fit the score that tells whole digits from parts of digits and several digits."""

from collections import defaultdict
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pipeline.drawing.number_pages import (
    BROKEN_SHARE,
    MAX_DIGITS,
    THICK_SHARE,
    TOUCHING_SHARE,
    broken,
    choose,
    draw_line,
    enlarge,
    stroke_widths,
    thicken,
)
from recognition.ink import INK_THRESHOLD
from recognition.pieces import Piece, find_lines, find_pieces, union
from recognition.preprocessing import glyph_to_digit
from recognition.segmentation import CUT_WIDTH, segment_shapes, split_line

HEIGHTS: Final = (30, 100)  # pixels of a line; `segmentation.WORKING_SIDE` reduces long lines
CLEAN_SHARE: Final = 0.25  # of the lines have no touching and no broken digits
THICKER: Final = (0.02, 0.05)  # of the height
WHOLE: Final = 0.85  # intersection over union with a digit, from which on a segment is that digit
OTHER: Final = 0.6  # below it, a segment is none; those in between are left out

Bytes = NDArray[np.uint8]


def make_segments(digits: Bytes, count: int, seed: int) -> dict[str, NDArray[Any]]:
    """The segments that `recognition.segmentation` considers in generated lines with `count` digits.

    `digits`: uint8 (n, 28, 28), from which the lines are drawn. Returns the images and the shapes of whole digits,
    "digits", uint8 (k, 28, 28), and "digit_shapes", float32 (k, SHAPES), and those of all other segments, "others" and
    "other_shapes": parts of digits, touching digits, a digit with a part of its neighbour.
    """
    random = np.random.default_rng(seed)
    digits = bright(digits)
    digits = digits[np.argsort(stroke_widths(digits), kind="stable")]
    found: defaultdict[str, list[NDArray[Any]]] = defaultdict(list)
    while count > 0:
        length = min(int(random.integers(1, MAX_DIGITS + 1)), count)
        count -= length
        for images, shapes, overlaps in segments_of_line(digits, length, random):
            for name, selected in (("digit", overlaps > WHOLE), ("other", overlaps < OTHER)):
                found[f"{name}s"].append(images[selected])
                found[f"{name}_shapes"].append(shapes[selected])
    return {name: np.concatenate(parts) for name, parts in found.items()}


def bright(digits: Bytes) -> Bytes:
    """Without blank images, and with the faint ones at full contrast."""
    strongest = digits.max(axis=(1, 2))
    faint = (strongest > 0) & (strongest < 128)
    digits = digits.copy()
    digits[faint] = np.rint(digits[faint] * (255 / strongest[faint, None, None])).astype(np.uint8)
    return np.asarray(digits[strongest > 0])


def segments_of_line(
    digits: Bytes, length: int, random: np.random.Generator
) -> list[tuple[Bytes, NDArray[np.float32], NDArray[np.float64]]]:
    """Images, shapes and overlaps with a digit of all segments, for each line that segmentation sees in a drawn one."""
    height, pen, clean = int(random.integers(*HEIGHTS)), random.random(), random.random() < CLEAN_SHARE
    glyphs = [enlarge(choose(digits, pen, random), height, random) for _ in range(length)]
    if not clean:
        if pen < THICK_SHARE:
            wider = round(height * random.uniform(*THICKER))
            glyphs = [thicken(glyph, wider) for glyph in glyphs]
        glyphs = [broken(glyph, random) if random.random() < BROKEN_SHARE else glyph for glyph in glyphs]
    ink, owners = draw_line(glyphs, height, 0 if clean else TOUCHING_SHARE, random)
    ink, owners = np.pad(ink, height // 2), np.pad(owners, height // 2)  # what touches the border may be a frame
    lines = []
    for components in find_lines(find_pieces(ink)):
        pieces, line_height, join_costs = split_line(components, CUT_WIDTH)
        segments = [union(pieces[start:end]) for start, end in join_costs]
        images = np.stack([glyph_to_digit(segment.ink).pixels for segment in segments])
        shapes = segment_shapes(pieces, line_height, join_costs, segments)
        lines.append((images, shapes, np.array([overlap(segment, owners) for segment in segments])))
    return lines


def overlap(segment: Piece, owners: Bytes) -> float:
    """Intersection over union of a segment's ink with the digit that it shares most pixels with."""
    window = owners[segment.top : segment.bottom, segment.left : segment.right]
    shared = np.bincount(window[segment.ink > INK_THRESHOLD], minlength=2)
    shared[0] = 0  # soft edges belong to no digit
    digit = int(shared.argmax())
    return float(shared[digit] / (np.count_nonzero(owners == digit) + shared.sum() - shared[digit]))
