"""The gate on constructed cases: quality bar, missing champion, too few images; the rule has its own tests."""

import pytest

from pipeline.evaluation.model_selection import Evidence
from pipeline.registry.gate import Decision, decide
from tests.pipeline.evaluation.test_model_selection import LARGE, NONE, POLICY, ROBUST, SMALL, errors, model


def test_the_first_champion_only_has_to_reach_the_quality_bar() -> None:
    challenger = model(0, 60, LARGE)
    assert decide(challenger, None, 0.99, POLICY) == Decision(True, "there is no champion to compare with")
    refused = decide(challenger, None, 0.991, POLICY)
    assert refused.promote is False
    assert refused.reason == "below the quality bar: validation accuracy 99.00%, bar 99.10%"


def test_below_the_quality_bar_nothing_else_counts() -> None:
    better = decide(model(0, 20), model(0, 90, LARGE), 0.999, POLICY)
    assert not better.promote and "quality bar" in better.reason


def test_without_validation_images_nothing_becomes_champion() -> None:
    unknown = Evidence(NONE, ROBUST, errors(0, 0, 5000), NONE, SMALL)
    assert decide(unknown, None, 0, POLICY) == Decision(False, "there are no validation images that did not train it")


@pytest.mark.parametrize("images", [99, 100])
def test_too_few_images_decide_nothing(images: int) -> None:
    old, new = (Evidence(errors(0, wrong, images), ROBUST, errors(0, 100, 5000), NONE, SMALL) for wrong in (60, 0))
    decision = decide(new, old, 0.5, POLICY)
    assert decision.promote is (images == 100)
    if not decision.promote:
        assert decision.reason == (
            "too few images to decide: 99 validation images trained neither model, at least 100 are needed"
        )


@pytest.mark.parametrize(
    ("challenger", "promote", "reason"),
    [
        (model(0, 50, {"multiply_adds": 800, "bytes": 60}), True, "not worse than the champion and cheaper: 800 mult"),
        (model(0, 10, LARGE), True, "better than the champion: +0.67 points on 6,000 validation images"),
        (model(0, 50), False, "not better than the champion in any respect"),
        (model(0, 90), False, "possibly worse than the champion: -0.67 points"),
    ],
    ids=["cheaper", "better", "equal", "worse"],
)
def test_the_reason_comes_first_and_the_evidence_follows(challenger: Evidence, promote: bool, reason: str) -> None:
    decision = decide(challenger, model(0, 50), 0.5, POLICY)
    assert (decision.promote, decision.event) == (promote, "promoted")
    text, evidence = decision.reason.split("; evidence: ")
    assert text.startswith(reason)
    assert [part.split(" on ")[1].split(" (")[0] for part in evidence.split("; ")] == [
        "6,000 validation images", "2,000 corrupted images", "5,000 non-digits",
    ]  # fmt: skip


@pytest.mark.parametrize(("labels", "promote"), [(0, True), (1, True), (299, True), (300, False)])
def test_too_few_labels_are_named_and_do_not_count(labels: int, promote: bool) -> None:
    old, new = (model(0, 20, cost, labelled=errors(0, wrong, labels)) for cost, wrong in ((LARGE, 0), (SMALL, 90)))
    decision = decide(new, old, 0.5, POLICY)
    assert decision.promote is promote
    named = f"; {labels} labelled images do not count, at least 300 are needed"
    assert decision.reason.endswith(named) is (labels in (1, 299))
