"""The rule by which a challenger replaces the champion: a pure function of correct answers, costs and a policy."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.evaluation.statistics import Correct, lower_bound, mcnemar_p_value
from pipeline.params import Gate


@dataclass(frozen=True)
class Decision:
    """Whether the challenger becomes champion, and the reason in one line."""

    promote: bool
    reason: str


@dataclass(frozen=True)
class Candidate:
    """A model at the gate.

    `validation`: bool (n,), which validation images it classifies correctly; `labelled`: bool (m,), the same for the
    gate set, pictures from the service that users labelled, empty if there are none; `cost`: `multiply_adds`, `bytes`.
    """

    validation: Correct
    labelled: Correct
    cost: Mapping[str, Any]


def decide(challenger: Candidate, champion: Candidate | None, quality_bar: float, policy: Gate) -> Decision:
    """Promote a challenger that reaches the quality bar, is not worse than the champion, and is better in some respect.

    Both answered the same images in the same order; `champion` is None if there is none to compare with. Not worse:
    on each set of images, the one-sided lower bound of the paired difference in accuracy is above minus the tolerance.
    Better: significantly more accurate on one of the sets (exact McNemar test), or fewer multiply-adds, or as many and
    a smaller file. The gate set counts from `policy.minimum_labels` images on.
    """
    accuracy = float(challenger.validation.mean())
    if accuracy < quality_bar:
        return Decision(False, f"below the quality bar: validation accuracy {accuracy:.2%}, bar {quality_bar:.2%}")
    if champion is None:
        return Decision(True, "there is no champion to compare with")
    sets = [("validation images", champion.validation, challenger.validation, policy.tolerance)]
    labelled = len(champion.labelled)
    if labelled >= policy.minimum_labels:
        sets.append(("labelled images", champion.labelled, challenger.labelled, policy.labelled_tolerance))
    findings, gains = [], []
    for images, old, new, tolerance in sets:
        difference, bound = float(new.mean() - old.mean()), lower_bound(old, new, policy.significance)
        finding = f"{100 * difference:+.2f} points on {len(old):,} {images}, lower bound {100 * bound:+.2f}"
        if bound <= -tolerance:
            return Decision(False, f"may be worse than the champion: {finding}, tolerance -{100 * tolerance:.2f}")
        findings.append(finding)
        p_value = mcnemar_p_value(old, new)
        if difference > 0 and p_value <= policy.significance:
            gains.append(f"more accurate than the champion: {finding}, p = {p_value:.2g}")
    if 0 < labelled < policy.minimum_labels:
        findings.append(f"{labelled} labelled images do not count, at least {policy.minimum_labels} are needed")
    if gains:
        return Decision(True, "; ".join(gains))
    for key, name in (("multiply_adds", "multiply-adds"), ("bytes", "bytes")):
        before, after = champion.cost[key], challenger.cost[key]
        if after < before:
            cheaper = f"{after:,} {name} instead of {before:,}"
            return Decision(True, f"not worse than the champion ({'; '.join(findings)}) and cheaper: {cheaper}")
        if after > before:
            break
    return Decision(False, f"not better than the champion in any respect: {'; '.join(findings)}")
