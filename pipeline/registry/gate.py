"""The promotion gate decides whether a challenger becomes champion: a pure function of evidence and a policy."""

from dataclasses import dataclass

from pipeline.evaluation import model_selection
from pipeline.evaluation.model_selection import Evidence
from pipeline.params import Selection as Policy


@dataclass(frozen=True)
class Decision:
    """Whether the challenger becomes champion, the reason in one line, and the event for the promotion history."""

    promote: bool
    reason: str
    event: str = "promoted"


def decide(challenger: Evidence, champion: Evidence | None, quality_bar: float, policy: Policy) -> Decision:
    """Promote a challenger that reaches the quality bar and can replace the champion (see `model_selection.decide`).

    Both answered the same images in the same order, none of which trained one of them; `champion` is None if there is
    none to compare with. With fewer than `policy.minimum_images` validation images, the challenger is refused;
    without a champion, only if there are none.
    """
    count = len(challenger.clean)
    if champion is not None and count < policy.minimum_images:
        return Decision(
            False,
            f"too few images to decide: {count:,} validation images trained neither model, at least "
            f"{policy.minimum_images:,} are needed",
        )
    if not count:
        return Decision(False, "there are no validation images that did not train it")
    accuracy = float(challenger.clean.mean())
    if accuracy < quality_bar:
        return Decision(False, f"below the quality bar: validation accuracy {accuracy:.2%}, bar {quality_bar:.2%}")
    if champion is None:
        return Decision(True, "there is no champion to compare with")
    decision = model_selection.decide(challenger, champion, policy, "the champion")
    findings, labelled = [str(finding) for finding in decision.findings], len(champion.labelled)
    if 0 < labelled < policy.minimum_labels:
        findings.append(f"{labelled} labelled images do not count, at least {policy.minimum_labels} are needed")
    return Decision(decision.replaces, f"{decision.reason}; evidence: {'; '.join(findings)}")
