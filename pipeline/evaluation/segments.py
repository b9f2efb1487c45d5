"""Pieces of written numbers, to fit the score that tells whole digits from parts of digits and from several digits."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.drawing.number_pages import crop, draw_line, enlarge, thicken
from recognition.preprocessing import glyph_to_digit

HEIGHT: Final = 60  # pixels of a line
THICK_SHARE: Final = 0.3
THICKER: Final = (0.02, 0.05)  # of the height
PART: Final = (0.3, 0.75)  # of a digit's width
MAX_TRIES: Final = 100  # to cut a digit; a dataset may have only narrow or low figures
MIN_PART_HEIGHT: Final = 0.6  # of the line's height; segmentation excludes lower slices

Bytes = NDArray[np.uint8]


def make_segments(digits: Bytes, count: int, seed: int) -> tuple[Bytes, Bytes]:
    """Whole digits and other segments, uint8 (count, 28, 28) each, as the segmentation of a number gives them.

    `digits`: uint8 (n, 28, 28), from which they are made. The other segments are in turn two touching digits, a part of
    a digit, and a digit with a part of its neighbour.
    """
    random = np.random.default_rng(seed)
    digits = bright(digits)
    makers = (two_digits, part_of_digit, digit_and_part)
    whole = [_write(digits, random) for _ in range(count)]
    others = [makers[index % len(makers)](digits, random) for index in range(count)]
    return tuple(np.stack([glyph_to_digit(ink).pixels for ink in drawn]) for drawn in (whole, others))  # type: ignore


def bright(digits: Bytes) -> Bytes:
    """Without blank images, and with the faint ones at full contrast."""
    strongest = digits.max(axis=(1, 2))
    faint = (strongest > 0) & (strongest < 128)
    digits = digits.copy()
    digits[faint] = np.rint(digits[faint] * (255 / strongest[faint, None, None])).astype(np.uint8)
    return np.asarray(digits[strongest > 0])


def two_digits(digits: Bytes, random: np.random.Generator) -> NDArray[np.float32]:
    return draw_line([_write(digits, random), _write(digits, random)], HEIGHT, touching=1, random=random)


def part_of_digit(digits: Bytes, random: np.random.Generator) -> NDArray[np.float32]:
    for _ in range(MAX_TRIES):
        digit = _write(digits, random)
        part = _side(digit, round(digit.shape[1] * random.uniform(*PART)), random)
        if len(part) >= MIN_PART_HEIGHT * HEIGHT and digit.shape[1] > 0.4 * HEIGHT:  # half a one is a one
            break
    return part


def digit_and_part(digits: Bytes, random: np.random.Generator) -> NDArray[np.float32]:
    first, second = _write(digits, random), _write(digits, random)
    both = draw_line([first, second], HEIGHT, touching=1, random=random)
    return _side(both, first.shape[1] + round(second.shape[1] * random.uniform(*PART)), random)


def _write(digits: Bytes, random: np.random.Generator) -> NDArray[np.float32]:
    ink = enlarge(digits[random.integers(len(digits))], HEIGHT, random)
    return thicken(ink, round(HEIGHT * random.uniform(*THICKER))) if random.random() < THICK_SHARE else ink


def _side(ink: NDArray[np.float32], width: int, random: np.random.Generator) -> NDArray[np.float32]:
    """The left or the right columns."""
    ink = crop(ink)
    return crop(ink[:, :width] if random.random() < 0.5 else ink[:, -width:])
