"""Model selection: the cheapest of the models that are not significantly less accurate or less robust than the best."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.statistics import Correct, PairedTest, bootstrap_interval, compare_paired, holm
from pipeline.params import Compare


@dataclass(frozen=True)
class RobustnessGap:
    """Mean accuracy under corruption of the most robust model minus that of another model, with its interval."""

    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class Selection:
    """The selected model and the evidence from the validation images.

    `ranking`: all models, best first. `tests`: the other models (first) against `most_accurate` (second), and whether
    each difference is `significant`. `robustness_gaps`: gaps between `most_robust` and the models that are equally
    accurate but significantly less robust. `error_rate` and `corruption_error`: shares of each model.
    """

    winner: str
    ranking: list[str]
    most_accurate: str
    tests: dict[str, PairedTest]
    significant: dict[str, bool]
    most_robust: str
    robustness_gaps: dict[str, RobustnessGap]
    error_rate: dict[str, float]
    corruption_error: dict[str, float]


def select_model(
    correct: Mapping[str, Correct],
    corruption_accuracy: Mapping[str, NDArray[np.float32]],
    costs: Mapping[str, Mapping[str, Any]],
    settings: Compare,
) -> Selection:
    """Select a model by accuracy, then by robustness, then by cost.

    `correct`: bool (n,) of each model on the same images. `corruption_accuracy`: (m,), the share of corruptions under
    which each image is classified correctly. `costs`: `multiply_adds` and `bytes`. Models are equally accurate unless
    the exact McNemar test with Holm's correction rejects it at `settings.significance`. One of these is less robust if
    the bootstrap interval (Bonferroni's correction) of its gap to the most robust one is above 0.
    """

    def cost(name: str) -> tuple[int, int]:
        return costs[name]["multiply_adds"], costs[name]["bytes"]

    by_accuracy = sorted(correct, key=lambda name: (-int(correct[name].sum()), cost(name), name))
    best, *others = by_accuracy
    tests = {name: compare_paired(correct[name], correct[best], settings.resamples, settings.seed) for name in others}
    significant = holm({name: test.p_value for name, test in tests.items()}, settings.significance)
    tied = [best, *(name for name in others if not significant[name])]
    robust = max(tied, key=lambda name: float(corruption_accuracy[name].mean()))
    gaps: dict[str, RobustnessGap] = {}
    for name in [name for name in tied if name != robust]:
        differences = np.asarray(corruption_accuracy[robust], np.float64) - corruption_accuracy[name]
        confidence = 1 - settings.significance / (len(tied) - 1)
        low, high = bootstrap_interval(differences, settings.resamples, settings.seed, confidence)
        if low > 0:
            gaps[name] = RobustnessGap(float(differences.mean()), low, high)
    ranking = sorted(tied, key=lambda name: (name in gaps, cost(name), name))
    ranking += [name for name in by_accuracy if name not in tied]
    error_rate = {name: float((~correct[name]).mean()) for name in correct}
    corruption_error = {name: float(1 - corruption_accuracy[name].mean()) for name in correct}
    return Selection(ranking[0], ranking, best, tests, significant, robust, gaps, error_rate, corruption_error)


def headline(selection: Selection) -> str:
    """The selected model and the reason for it, as one sentence; the error rates are those of the validation images."""
    winner, tied = selection.winner, [name for name in selection.ranking if not selection.significant.get(name)]
    candidates = [name for name in tied if name not in selection.robustness_gaps]

    def error_rates(names: list[str]) -> str:
        return ", ".join(f"{name} {selection.error_rate[name]:.2%}" for name in names)

    if len(selection.ranking) == 1:
        return f"Use {winner}: it is the only model (error rate: {error_rates(tied)})."
    if len(tied) == 1:
        return f"Use {winner}: its error rate is significantly lower ({error_rates(selection.ranking)})."
    if len(candidates) > 1:
        return f"Use {winner}: it costs less; the error rates do not differ significantly ({error_rates(candidates)})."
    corrupted = ", ".join(f"{name} {selection.corruption_error[name]:.1%}" for name in tied)
    return (
        f"Use {winner}: under corruption, its error rate is significantly lower ({corrupted}); on clean images, the "
        f"error rates do not differ significantly ({error_rates(tied)})."
    )
