"""The rule by which one model replaces another. The comparison selects a model with it, and the gate a champion."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.statistics import Correct, difference_interval, mcnemar_p_value, mean_interval, t_test_p_value
from pipeline.params import Selection as Policy

CLEAN, CORRUPTED, OOD, LABELLED = "validation images", "corrupted images", "non-digits", "labelled images"


@dataclass(frozen=True)
class Evidence:
    """What counts for or against a model: its answers to images that neither trained nor tuned it, and its cost.

    `clean`: bool (n,), which validation images it classifies correctly. `corrupted`: (m,), the share of corruptions
    under which it classifies each of the first m validation images correctly. `ood`: bool (k,), which of the
    out-of-distribution samples it rejects. `labelled`: bool (l,), which labelled pictures from the service it
    classifies correctly, empty if there are none. `cost`: `multiply_adds` and `bytes`.
    """

    clean: Correct
    corrupted: NDArray[np.floating[Any]]
    ood: Correct
    labelled: Correct
    cost: Mapping[str, Any]


@dataclass(frozen=True)
class Finding:
    """The difference of two models on one set of images, challenger minus incumbent, as a share.

    `low`, `high`: two-sided interval at the significance level; `bound`: one-sided lower bound at the same level.
    """

    images: str
    count: int
    difference: float
    low: float
    high: float
    bound: float
    p_value: float
    tolerance: float
    significance: float

    @property
    def may_be_worse(self) -> bool:
        """Whether a loss above the tolerance is not ruled out."""
        return self.bound <= -self.tolerance

    @property
    def is_gain(self) -> bool:
        """Whether the challenger is significantly better. Rejecting more non-digits is not a gain."""
        return self.images != OOD and self.difference > 0 and self.p_value <= self.significance

    def __str__(self) -> str:
        change, bound, tolerance = 100 * self.difference, 100 * self.bound, -100 * self.tolerance
        return f"{change:+.2f} points on {self.count:,} {self.images} (bound {bound:+.2f}, tolerance {tolerance:.2f})"


@dataclass(frozen=True)
class Decision:
    """Whether the challenger replaces the incumbent, the reason as part of a sentence, and the findings behind it."""

    replaces: bool
    reason: str
    findings: list[Finding]


def decide(challenger: Evidence, incumbent: Evidence, policy: Policy, name: str) -> Decision:
    """A challenger replaces the incumbent if it is not worse in any respect and better in at least one.

    Not worse: on each set of images, the lower bound of the paired difference is above minus the tolerance. Better: on
    clean, corrupted or labelled images, the difference is significantly above 0; or it needs fewer multiply-adds, or as
    many and fewer bytes. Labelled pictures count from `policy.minimum_labels` on. `name`: of the incumbent.
    """
    findings = compare(challenger, incumbent, policy)
    losses = [finding for finding in findings if finding.may_be_worse]
    gains = [finding for finding in findings if finding.is_gain]
    if losses:
        return Decision(False, f"possibly worse than {name}: {losses[0]}", findings)
    if gains:
        texts = [f"{gain}, p {f'= {gain.p_value:.2g}' if gain.p_value >= 0.0001 else '< 0.0001'}" for gain in gains]
        return Decision(True, f"better than {name}: {'; '.join(texts)}", findings)
    for key, unit in (("multiply_adds", "multiply-adds"), ("bytes", "bytes")):
        before, after = incumbent.cost[key], challenger.cost[key]
        if after < before:
            cheaper = f"{after:,} {unit} instead of {before:,}"
            return Decision(True, f"not worse than {name} and cheaper: {cheaper}", findings)
        if after > before:
            break
    return Decision(False, f"not better than {name} in any respect", findings)


def compare(challenger: Evidence, incumbent: Evidence, policy: Policy) -> list[Finding]:
    """The findings on clean images, corrupted images, out-of-distribution samples and, if enough, labelled images."""
    findings = [_paired(CLEAN, challenger.clean, incumbent.clean, policy.tolerance, policy.significance)]
    findings.append(_corrupted(challenger.corrupted, incumbent.corrupted, policy))
    findings.append(_paired(OOD, challenger.ood, incumbent.ood, policy.ood_tolerance, policy.significance))
    if len(incumbent.labelled) >= policy.minimum_labels:
        labelled = (challenger.labelled, incumbent.labelled, policy.labelled_tolerance)
        findings.append(_paired(LABELLED, *labelled, policy.significance))
    return findings


def _paired(images: str, new: Correct, old: Correct, tolerance: float, significance: float) -> Finding:
    low, high = difference_interval(old, new, 1 - significance)
    bound, _ = difference_interval(old, new, 1 - 2 * significance)
    difference, p_value = float(new.mean() - old.mean()), mcnemar_p_value(old, new)
    return Finding(images, len(new), difference, low, high, bound, p_value, tolerance, significance)


def _corrupted(new: NDArray[np.floating[Any]], old: NDArray[np.floating[Any]], policy: Policy) -> Finding:
    differences, alpha = new.astype(np.float64) - old, policy.significance
    (low, high), (bound, _) = mean_interval(differences, 1 - alpha), mean_interval(differences, 1 - 2 * alpha)
    p_value = t_test_p_value(differences)
    mean = float(differences.mean())
    return Finding(CORRUPTED, len(new), mean, low, high, bound, p_value, policy.corrupted_tolerance, alpha)


@dataclass(frozen=True)
class Selection:
    """The selected model and the evidence for it.

    `ranking`: all models, best first. `headline`: the selected model and the reason, in one or two sentences.
    `findings`: the selected model minus each other model. `error_rate`: on clean images, a share.
    """

    winner: str
    ranking: list[str]
    headline: str
    findings: dict[str, list[Finding]]
    error_rate: dict[str, float]


def select_model(evidence: Mapping[str, Evidence], policy: Policy) -> Selection:
    """Select a model: the most accurate one on clean images, or one that can replace it.

    With k models, each of the k - 1 tests has the level `policy.significance` / (k - 1) (Bonferroni's correction).
    """
    policy = policy.model_copy(update={"significance": policy.significance / max(len(evidence) - 1, 1)})
    ranking: list[str] = []
    while remaining := [name for name in evidence if name not in ranking]:
        ranking.append(_best(evidence, remaining, policy))
    winner, *others = ranking
    error_rate = {name: float((~each.clean).mean()) for name, each in evidence.items()}
    return Selection(
        winner=winner,
        ranking=ranking,
        headline=_headline(evidence, ranking, error_rate, policy),
        findings={name: compare(evidence[winner], evidence[name], policy) for name in others},
        error_rate=error_rate,
    )


def _best(evidence: Mapping[str, Evidence], names: Sequence[str], policy: Policy) -> str:
    """The most accurate model; or, among the models that can replace it, the best by the same rule."""
    first = _most_accurate(evidence, names)
    others = [name for name in names if name != first]
    able = [name for name in others if decide(evidence[name], evidence[first], policy, first).replaces]
    return _best(evidence, able, policy) if able else first


def _most_accurate(evidence: Mapping[str, Evidence], names: Sequence[str]) -> str:
    """The most accurate model on clean images; of equally accurate ones the cheapest, then the first by name."""

    def order(name: str) -> tuple[int, int, int, str]:
        cost = evidence[name].cost
        return -int(evidence[name].clean.sum()), cost["multiply_adds"], cost["bytes"], name

    return min(names, key=order)


def _headline(
    evidence: Mapping[str, Evidence], ranking: Sequence[str], error_rate: Mapping[str, float], policy: Policy
) -> str:
    """The selected model and the reason, in one or two sentences. `ranking`: all models, best first."""
    winner, *others = ranking
    rates = ", ".join(f"{name} {error_rate[name]:.2%}" for name in ranking)
    if not others:
        return f"Use {winner}: it is the only model (error rate: {rates})."
    rates = f"error rates on validation images: {rates}"
    first = _most_accurate(evidence, ranking)
    if winner != first:
        return f"Use {winner}: it is {decide(evidence[winner], evidence[first], policy, first).reason} ({rates})."
    clean = [compare(evidence[winner], evidence[name], policy)[0] for name in others]
    if all(finding.is_gain for finding in clean):
        return f"Use {winner}: its error rate is significantly lower ({rates})."
    runner_up = others[0]
    reason = decide(evidence[runner_up], evidence[winner], policy, winner).reason
    return f"Use {winner}: no other model can replace it ({rates}). The next one, {runner_up}, is {reason}."
