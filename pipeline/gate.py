"""Whether a challenger takes over from the champion: a pure function of right answers, costs and a policy."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.params import Gate
from pipeline.statistics import Correct, compare_paired, lower_bound


@dataclass(frozen=True)
class Decision:
    """`promote`, and why, in one line."""

    promote: bool
    reason: str


def decide(
    champion: Correct,
    challenger: Correct,
    champion_cost: Mapping[str, Any],
    challenger_cost: Mapping[str, Any],
    policy: Gate,
) -> Decision:
    """Promote when not worse within the tolerance, and better on something that counts.

    `champion`, `challenger`: bool (n,), who was right on the same validation images; the costs hold `multiply_adds` and
    `bytes`. Not worse: the one-sided lower bound of the paired difference in accuracy is above -`policy.tolerance`.
    Better: significantly more accurate (exact McNemar), or fewer multiply-adds, or a smaller file.
    """
    difference = float(challenger.mean() - champion.mean())
    bound = lower_bound(champion, challenger, policy.significance)
    words = f"{100 * difference:+.2f} points on {len(champion):,} validation images, lower bound {100 * bound:+.2f}"
    if bound <= -policy.tolerance:
        return Decision(False, f"may be worse than the champion: {words}, tolerated -{100 * policy.tolerance:.2f}")
    p_value = compare_paired(champion, challenger, 100, 0).p_value
    if difference > 0 and p_value <= policy.significance:
        return Decision(True, f"more accurate than the champion: {words}, p = {p_value:.2g}")
    for key, name in (("multiply_adds", "multiply-adds"), ("bytes", "bytes")):
        old, new = champion_cost[key], challenger_cost[key]
        if new < old:
            return Decision(True, f"not worse than the champion ({words}) with {new:,} {name} instead of {old:,}")
        if new > old:
            break
    return Decision(False, f"not better than the champion on anything that counts: {words}")
