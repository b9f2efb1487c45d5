"""Forms in which people write the ten digits: strokes in the unit square, with random proportions."""

import math
from collections.abc import Callable

from pipeline.drawing.pen import Pen, Stroke


def open_zero(pen: Pen) -> list[Stroke]:
    return [pen.arc((0.5, 0.5), (0.5, 0.5), pen.between(-0.3, 0.8), pen.between(5.0, 6.0))]


def one(pen: Pen) -> list[Stroke]:
    return [pen.line((0.5, 0), (0.5, 0.5), (0.5, 1))]


def flag_one(pen: Pen) -> list[Stroke]:
    return [pen.line((pen.between(0.1, 0.4), pen.between(0.22, 0.45)), (0.55, 0), (0.55, 1))]


def long_flag_one(pen: Pen) -> list[Stroke]:
    return [pen.line((0, pen.between(0.45, 0.95)), (pen.between(0.45, 0.6), 0), (pen.between(0.7, 1), 1))]


def base_one(pen: Pen) -> list[Stroke]:
    return [*flag_one(pen), pen.line((pen.between(0.0, 0.25), 1), (pen.between(0.8, 1.1), 1))]


def two(pen: Pen) -> list[Stroke]:
    foot = (0, 1)
    return [
        pen.curve((0, pen.between(0.15, 0.35)), (0.45, 0), (0.95, pen.between(0.2, 0.35)), (0.6, 0.65), foot),
        pen.line(foot, (1, pen.between(0.9, 1.05))),
    ]


def looped_two(pen: Pen) -> list[Stroke]:
    low = pen.between(0.78, 0.88)
    return [pen.curve((0, 0.25), (0.5, 0), (0.9, 0.3), (0.5, 0.75), (0.1, 1), (0, low), (0.25, low), (1, 1))]


def straight_two(pen: Pen) -> list[Stroke]:
    return [pen.line((0, pen.between(0.02, 0.25)), (0.5, 0), (pen.between(0.8, 1), 0.2), (0, 1), (1, 1))]


def three(pen: Pen) -> list[Stroke]:
    waist = (pen.between(0.3, 0.5), pen.between(0.42, 0.5))
    return [
        pen.curve((0.05, 0.1), (0.55, 0), (0.9, 0.22), waist),
        pen.curve(waist, (1, 0.7), (0.55, 1), (0, pen.between(0.8, 0.95))),
    ]


def flat_three(pen: Pen) -> list[Stroke]:
    waist = (pen.between(0.3, 0.5), pen.between(0.35, 0.45))
    return [pen.line((0.05, 0), (1, 0), waist), pen.curve(waist, (1, 0.65), (0.6, 1), (0, pen.between(0.8, 0.95)))]


def angular_three(pen: Pen) -> list[Stroke]:
    return [pen.line((0, 0), (0.95, pen.between(0.1, 0.25)), (0.3, 0.47), (1, 0.72), (0, 1))]


def open_four(pen: Pen) -> list[Stroke]:
    stem, bar = pen.between(0.65, 0.85), pen.between(0.5, 0.7)
    return [
        pen.line((pen.between(0.05, 0.35), 0), (0, bar), (1, bar)),
        pen.line((stem, pen.between(0, 0.4)), (stem, 1)),
    ]


def pointed_four(pen: Pen) -> list[Stroke]:
    """A closed triangle, its bar beyond the stem, the stem continues below."""
    stem, bar = pen.between(0.6, 0.8), pen.between(0.5, 0.75)
    return [pen.line((stem, 0), (0, bar), (pen.between(0.9, 1.1), bar)), pen.line((stem, 0), (stem, 1))]


def closed_four(pen: Pen) -> list[Stroke]:
    """A closed triangle whose bar ends at the stem, which continues below."""
    bar, left = pen.between(0.45, 0.7), pen.between(-0.1, 0.15)
    return [pen.line((0.85, 0), (left, bar), (0.87, bar)), pen.line((0.85, 0), (0.85, 1))]


def single_four(pen: Pen) -> list[Stroke]:
    bar = pen.between(0.5, 0.7)
    return [pen.line((0.7, 0.3), (0.65, 0), (0, bar), (1, bar)), pen.line((0.7, pen.between(0.1, 0.35)), (0.68, 1))]


def five(pen: Pen) -> list[Stroke]:
    corner = (pen.between(0.0, 0.2), pen.between(0.35, 0.5))
    top = pen.between(0.0, 0.2)
    return [
        pen.line((1, 0), (top, 0), corner),
        pen.curve(corner, (0.6, 0.37), (0.98, 0.65), (0.6, 1), (0, pen.between(0.85, 0.98))),
    ]


def round_five(pen: Pen) -> list[Stroke]:
    return [
        pen.curve((1, 0), (0.4, 0.05), (0.1, 0.28), (0.6, 0.45), (0.95, 0.7), (0.5, 1), (0, pen.between(0.8, 0.95)))
    ]


def angular_five(pen: Pen) -> list[Stroke]:
    middle = pen.between(0.4, 0.52)
    return [pen.line((1, 0), (0.05, 0), (0.05, middle), (0.95, middle), (0.9, 1), (0, 1))]


def straight_six(pen: Pen) -> list[Stroke]:
    """A straight stem and a round loop."""
    high, top = pen.between(0.18, 0.3), pen.between(0.4, 0.95)
    return [pen.line((top, 0), (0.03, 0.9 - high)), pen.arc((0.5, 1 - high), (0.5, high), -math.tau / 4, math.tau)]


def angular_six(pen: Pen) -> list[Stroke]:
    bar, low = pen.between(0.45, 0.65), pen.between(0.6, 0.8)
    return [pen.line((pen.between(0.0, 0.8), 0), (0, low), (0.1, 1), (0.9, 1), (0.95, bar), (0.02, bar + 0.05))]


def round_six(pen: Pen) -> list[Stroke]:
    top, end = (pen.between(0.6, 1), 0), (0.55, pen.between(0.45, 0.6))
    return [pen.curve(top, (0.25, 0.3), (0.02, 0.72), (0.5, 1), (0.97, 0.75), end, (0.08, 0.75))]


def seven(pen: Pen) -> list[Stroke]:
    return [pen.line((0, pen.between(-0.02, 0.06)), (1, 0), (pen.between(0.2, 0.6), 1))]


def crossed_seven(pen: Pen) -> list[Stroke]:
    bar = pen.between(0.42, 0.6)
    return [*seven(pen), pen.line((0.2, bar), (0.95, bar - 0.04))]


def serif_seven(pen: Pen) -> list[Stroke]:
    return [pen.line((0, pen.between(0.1, 0.25)), (0.02, 0), (1, 0), (pen.between(0.25, 0.55), 1))]


def crossed_serif_seven(pen: Pen) -> list[Stroke]:
    bar = pen.between(0.42, 0.6)
    return [*serif_seven(pen), pen.line((0.25, bar), (0.95, bar))]


def short_seven(pen: Pen) -> list[Stroke]:
    """A short flag on a steep stem."""
    return [pen.line((pen.between(0.05, 0.35), pen.between(0, 0.05)), (0.8, 0), (pen.between(0.45, 0.75), 1))]


def thick_seven(pen: Pen) -> list[Stroke]:
    """A flag drawn twice."""
    return [pen.line((0.95, 0.1), (0, pen.between(0.08, 0.14)), (0.02, 0), (1, 0), (pen.between(0.3, 0.6), 1))]


def two_loops(pen: Pen) -> list[Stroke]:
    high = pen.between(0.4, 0.55)
    narrow = pen.between(0.3, 0.48)
    return [
        pen.arc((0.5, high / 2), (narrow, high / 2), math.tau / 2),
        pen.arc((0.5, (1 + high) / 2), (0.5, (1 - high) / 2)),
    ]


def s_eight(pen: Pen) -> list[Stroke]:
    """An S and a line back, open or crossed at the top."""
    waist, end = (0.5, 0.47), (pen.between(0.7, 0.95), pen.between(0.0, 0.25))
    return [pen.curve((0.85, 0.15), (0.5, 0), (0.12, 0.22), waist, (0.95, 0.75), (0.5, 1), (0.05, 0.75), waist, end)]


def angular_eight(pen: Pen) -> list[Stroke]:
    return [pen.line((0.1, 0), (0.9, 0), (0, 1), (1, 1), (0.1, 0))]


def loop(pen: Pen) -> Stroke:
    """The loop of a 9, which starts and ends at the right."""
    high = pen.between(0.18, 0.3)
    return pen.arc((0.5, high), (0.5, high), math.tau / 4, -math.tau)


def straight_nine(pen: Pen) -> list[Stroke]:
    return [loop(pen), pen.line((1, pen.between(0.0, 0.2)), (pen.between(0.75, 1.05), 1))]


def hooked_nine(pen: Pen) -> list[Stroke]:
    return [loop(pen), pen.curve((1, 0.2), (0.98, 0.7), (0.5, 1), (0.1, pen.between(0.8, 0.95)))]


def filled_nine(pen: Pen) -> list[Stroke]:
    high, wide = pen.between(0.13, 0.24), pen.between(0.2, 0.35)
    loops = [pen.arc((1 - wide, high), (part * wide, part * high), math.tau / 4, -math.tau) for part in (0.35, 0.7, 1)]
    return [*loops, pen.line((1, 0.1), (pen.between(0.6, 1.05), 1))]


def angular_nine(pen: Pen) -> list[Stroke]:
    bar = pen.between(0.35, 0.5)
    return [pen.line((0.95, 0.02), (0.1, 0), (0.05, bar), (0.95, bar)), pen.line((0.95, 0), (pen.between(0.7, 1), 1))]


# Class, range of the width (for a height of 1), strokes
FORMS: dict[str, tuple[int, tuple[float, float], Callable[[Pen], list[Stroke]]]] = {
    "open 0": (0, (0.4, 1.0), open_zero),
    "1": (1, (0.3, 0.6), one),
    "1 with a flag": (1, (0.3, 0.65), flag_one),
    "1 with a long flag": (1, (0.35, 0.75), long_flag_one),
    "1 with a flag and a base": (1, (0.4, 0.95), base_one),
    "2": (2, (0.5, 1.0), two),
    "2 with a loop": (2, (0.5, 1.0), looped_two),
    "straight 2": (2, (0.5, 1.0), straight_two),
    "3": (3, (0.45, 0.9), three),
    "flat 3": (3, (0.45, 0.9), flat_three),
    "angular 3": (3, (0.45, 0.9), angular_three),
    "open 4": (4, (0.45, 0.9), open_four),
    "pointed 4": (4, (0.45, 0.9), pointed_four),
    "closed 4": (4, (0.45, 0.9), closed_four),
    "4 in one stroke": (4, (0.45, 0.9), single_four),
    "5": (5, (0.45, 0.9), five),
    "round 5": (5, (0.45, 0.9), round_five),
    "angular 5": (5, (0.45, 0.9), angular_five),
    "6 with a straight stem": (6, (0.4, 0.8), straight_six),
    "angular 6": (6, (0.4, 0.8), angular_six),
    "round 6": (6, (0.4, 0.8), round_six),
    "7": (7, (0.4, 0.9), seven),
    "crossed 7": (7, (0.4, 0.9), crossed_seven),
    "7 with a serif": (7, (0.4, 0.9), serif_seven),
    "crossed 7 with a serif": (7, (0.4, 0.9), crossed_serif_seven),
    "7 with a short flag": (7, (0.5, 0.9), short_seven),
    "7 with a thick flag": (7, (0.4, 0.8), thick_seven),
    "8 of two loops": (8, (0.35, 0.8), two_loops),
    "8 like an S": (8, (0.35, 0.8), s_eight),
    "angular 8": (8, (0.4, 0.8), angular_eight),
    "9 with a straight leg": (9, (0.4, 0.8), straight_nine),
    "9 with a hook": (9, (0.4, 0.8), hooked_nine),
    "9 with a filled loop": (9, (0.4, 0.8), filled_nine),
    "angular 9": (9, (0.4, 0.8), angular_nine),
}
