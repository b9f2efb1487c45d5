"""Which model is better, and whether the difference is real: a pure function of right answers and costs."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from pipeline.evaluation.statistics import Correct, PairedTest, compare_paired
from pipeline.params import Compare


@dataclass(frozen=True)
class Damaged:
    """Shares right under corruptions, of a model and of the most robust one; the difference with its interval."""

    share: float
    best_share: float
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class Verdict:
    """`ranking`: names, the winner first; `tests`: the most accurate model against each other; `reason`: in words.

    `robust`: which of the models tied in accuracy gets most damaged pictures right; `damaged`: that one against each of
    the others tied, where it is clearly ahead.
    """

    winner: str
    ranking: list[str]
    most_accurate: str
    tests: dict[str, PairedTest]
    significant: dict[str, bool]
    robust: str
    damaged: dict[str, Damaged]
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Plain content for a JSON file."""
        return asdict(self)


def judge(
    correct: Mapping[str, Correct],
    corrupted: Mapping[str, NDArray[np.float32]],
    costs: Mapping[str, Mapping[str, Any]],
    settings: Compare,
) -> Verdict:
    """The cheapest of the models that are neither significantly less accurate than the best nor clearly less robust.

    `correct`: for each model bool (n,), on the same images; `corrupted`: (m,), for the same images the share of
    corruptions under which they were answered right; `costs`: its `multiply_adds` and `bytes`. Accuracy is compared at
    `settings.significance` with Holm's correction for several models (Holm, 1979), what is tied there by the mean under
    corruptions, whose interval (Bonferroni's correction) must lie on one side of 0.
    """

    def price(name: str) -> tuple[int, int]:
        return costs[name]["multiply_adds"], costs[name]["bytes"]

    by_accuracy = sorted(correct, key=lambda name: (-int(correct[name].sum()), price(name), name))
    best, *others = by_accuracy
    tests = {name: compare_paired(correct[name], correct[best], settings.resamples, settings.seed) for name in others}
    significant = holm({name: test.p_value for name, test in tests.items()}, settings.significance)
    tied = [best, *(name for name in others if not significant[name])]
    robust = max(tied, key=lambda name: float(corrupted[name].mean()))
    damaged: dict[str, Damaged] = {}
    for name in [name for name in tied if name != robust]:
        confidence = 1 - settings.significance / (len(tied) - 1)
        found = mean_difference(corrupted[name], corrupted[robust], settings.resamples, settings.seed, confidence)
        if found[1] > 0:
            damaged[name] = Damaged(float(corrupted[name].mean()), float(corrupted[robust].mean()), *found)
    ranking = sorted(tied, key=lambda name: (name in damaged, price(name), name))
    ranking += [name for name in by_accuracy if name not in tied]
    winner = ranking[0]
    reason = explain(winner, best, tests, significant, damaged)
    return Verdict(winner, ranking, best, tests, significant, robust, damaged, reason)


def mean_difference(
    first: NDArray[np.floating[Any]], second: NDArray[np.floating[Any]], resamples: int, seed: int, confidence: float
) -> tuple[float, float, float]:
    """mean(second) - mean(first) of paired values (n,), with its bootstrap interval (BCa; Efron, 1987): low, high."""
    differences = np.asarray(second, np.float64) - first
    if np.ptp(differences) == 0:
        return float(differences[0]), float(differences[0]), float(differences[0])
    interval = scipy.stats.bootstrap(
        (differences,), np.mean, n_resamples=resamples, batch=200, method="BCa", rng=seed, confidence_level=confidence
    ).confidence_interval
    return float(differences.mean()), float(interval.low), float(interval.high)


def holm(p_values: Mapping[str, float], significance: float) -> dict[str, bool]:
    """Which hypotheses are rejected when several are tested, by Holm's step-down procedure."""
    rejected = dict.fromkeys(p_values, False)
    for place, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        if p_values[name] > significance / (len(p_values) - place):
            break
        rejected[name] = True
    return rejected


def explain(
    winner: str,
    best: str,
    tests: Mapping[str, PairedTest],
    significant: Mapping[str, bool],
    damaged: Mapping[str, Damaged],
) -> str:
    """The verdict as a sentence that needs no statistics to be understood."""
    if not tests:
        return f"{winner} is the only model: there is nothing to compare it with."
    if damaged:
        closest = min(damaged, key=lambda name: damaged[name].difference)
        found, others = damaged[closest], " and ".join(damaged)
        return (
            f"{winner} wins: no difference in accuracy to {others} that chance would not explain, but of damaged "
            f"validation images it gets {found.best_share:.1%} right, {closest} {found.share:.1%} (difference "
            f"{points(found.difference)}, interval {100 * found.low:.1f} to {100 * found.high:.1f})."
        )
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
    if verdict.damaged:
        shares = " and ".join(f"{100 * (1 - found.share):.0f}% for {name}" for name, found in verdict.damaged.items())
        own, others = next(iter(verdict.damaged.values())).best_share, " and ".join(verdict.damaged)
        return (
            f"Use {winner}: on clean images its difference to {others} may be luck, but of damaged ones it gets "
            f"{100 * (1 - own):.0f}% wrong, against {shares}."
        )
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
