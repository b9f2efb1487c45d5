"""Which model is better, and whether the difference is real: a pure function of right answers and costs."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipeline.params import Compare
from pipeline.statistics import Correct, PairedTest, compare_paired


@dataclass(frozen=True)
class Verdict:
    """`ranking`: names, the winner first; `tests`: the most accurate model against each other; `reason`: in words."""

    winner: str
    ranking: list[str]
    most_accurate: str
    tests: dict[str, PairedTest]
    significant: dict[str, bool]
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Plain content for a JSON file."""
        return asdict(self)


def judge(correct: Mapping[str, Correct], costs: Mapping[str, Mapping[str, Any]], settings: Compare) -> Verdict:
    """The cheapest of the models that are not significantly worse than the most accurate one.

    `correct`: for each model bool (n,), on the same images; `costs`: its `multiply_adds` and `bytes`. Models tied in
    accuracy are compared at `settings.significance` with Holm's correction for several models (Holm, 1979).
    """

    def price(name: str) -> tuple[int, int]:
        return costs[name]["multiply_adds"], costs[name]["bytes"]

    by_accuracy = sorted(correct, key=lambda name: (-int(correct[name].sum()), price(name), name))
    best, *others = by_accuracy
    tests = {name: compare_paired(correct[name], correct[best], settings.resamples, settings.seed) for name in others}
    significant = holm({name: test.p_value for name, test in tests.items()}, settings.significance)
    tied = sorted([best, *(name for name in others if not significant[name])], key=lambda name: (price(name), name))
    ranking = tied + [name for name in by_accuracy if name not in tied]
    return Verdict(ranking[0], ranking, best, tests, significant, explain(ranking[0], best, tests, significant))


def holm(p_values: Mapping[str, float], significance: float) -> dict[str, bool]:
    """Which hypotheses are rejected when several are tested, by Holm's step-down procedure."""
    rejected = dict.fromkeys(p_values, False)
    for place, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        if p_values[name] > significance / (len(p_values) - place):
            break
        rejected[name] = True
    return rejected


def explain(winner: str, best: str, tests: Mapping[str, PairedTest], significant: Mapping[str, bool]) -> str:
    """The verdict as a sentence that needs no statistics to be understood."""
    if not tests:
        return f"{winner} is the only model: there is nothing to compare it with."
    if winner != best:
        test = tests[winner]
        return (
            f"{winner} wins: {best} was right {points(test.difference)} more often, which chance alone explains "
            f"({test.only_second} images against {test.only_first}, p = {test.p_value:.2g}), and {winner} costs less."
        )
    ties = [name for name in tests if not significant[name]]
    closest = min(tests, key=lambda name: tests[name].difference)
    test = tests[closest]
    if ties:
        return (
            f"{winner} wins: no difference in accuracy to {' and '.join(ties)} that chance would not explain, "
            "and it costs the least."
        )
    return (
        f"{winner} wins: it was right {points(test.difference)} more often than {closest}, and the difference is real "
        f"({test.only_second} images that only {winner} got right against {test.only_first}, p = {test.p_value:.2g})."
    )


def headline(verdict: Verdict, accuracy: Mapping[str, float]) -> str:
    """What to do, for a reader who knows no statistics. `accuracy`: of each model, on the images it was judged by."""
    wrong = {name: f"{10_000 * (1 - share):,.0f}" for name, share in accuracy.items()}
    winner, best = verdict.winner, verdict.most_accurate
    if not verdict.tests:
        return f"{winner} gets about {wrong[winner]} of 10,000 images wrong; there is no other model to choose from."
    if winner != best:
        return (
            f"Use {winner}: it costs less, and though {best} gets fewer images wrong (about {wrong[best]} of 10,000, "
            f"against {wrong[winner]}), the difference is small enough to be luck."
        )
    others = " and ".join(f"{wrong[name]} for {name}" for name in verdict.tests)
    tied = [name for name, real in verdict.significant.items() if not real]
    words = f"Use {winner}: it gets about {wrong[winner]} of 10,000 images wrong, against {others}"
    if tied:
        return f"{words}; its lead over {' and '.join(tied)} may be luck, but it also costs the least."
    return f"{words}, and that difference is more than luck."


def points(difference: float) -> str:
    """A difference of shares in percentage points."""
    return f"{np.round(100 * difference, 2):g} points"
