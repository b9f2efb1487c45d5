"""Whether a challenger takes over from the champion: a pure function of right answers, costs and a policy."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.evaluation.statistics import Correct, compare_paired, lower_bound
from pipeline.params import Gate


@dataclass(frozen=True)
class Decision:
    """`promote`, and why, in one line."""

    promote: bool
    reason: str


@dataclass(frozen=True)
class Answers:
    """Who was right: bool (n,) each, the same images in the same order. `gate_set` is empty where nothing is labelled.

    `validation`: the split that models are chosen on; `gate_set`: pictures from the service that people labelled.
    """

    validation: Correct
    gate_set: Correct


def decide(
    champion: Answers,
    challenger: Answers,
    champion_cost: Mapping[str, Any],
    challenger_cost: Mapping[str, Any],
    policy: Gate,
) -> Decision:
    """Promote when not worse within the tolerance on any set of images, and better on something that counts.

    The gate set counts from `policy.minimum_labels` images on; the costs hold `multiply_adds` and `bytes`. Not worse:
    the one-sided lower bound of the paired difference in accuracy is above minus the tolerance. Better: significantly
    more accurate on one of the sets (exact McNemar), or fewer multiply-adds, or as many and a smaller file.
    """
    sets = [("validation images", champion.validation, challenger.validation, policy.tolerance)]
    labelled = len(champion.gate_set)
    if labelled >= policy.minimum_labels:
        sets.append(("labelled images", champion.gate_set, challenger.gate_set, policy.labelled_tolerance))
    findings, gains = [], []
    for images, old, new, tolerance in sets:
        difference, bound = float(new.mean() - old.mean()), lower_bound(old, new, policy.significance)
        words = f"{100 * difference:+.2f} points on {len(old):,} {images}, lower bound {100 * bound:+.2f}"
        if bound <= -tolerance:
            return Decision(False, f"may be worse than the champion: {words}, tolerated -{100 * tolerance:.2f}")
        findings.append(words)
        p_value = compare_paired(old, new, 100, 0).p_value
        if difference > 0 and p_value <= policy.significance:
            gains.append(f"more accurate than the champion: {words}, p = {p_value:.2g}")
    if 0 < labelled < policy.minimum_labels:
        findings.append(f"{labelled} labelled images are too few to count, {policy.minimum_labels} are needed")
    if gains:
        return Decision(True, "; ".join(gains))
    for key, name in (("multiply_adds", "multiply-adds"), ("bytes", "bytes")):
        before, after = champion_cost[key], challenger_cost[key]
        if after < before:
            cheaper = f"with {after:,} {name} instead of {before:,}"
            return Decision(True, f"not worse than the champion ({'; '.join(findings)}) {cheaper}")
        if after > before:
            break
    return Decision(False, f"not better than the champion on anything that counts: {'; '.join(findings)}")
