"""The verdict on constructed cases: who wins, and what is said of it."""

import numpy as np
import pytest

from pipeline.evaluation.model_selection import Verdict, headline, holm
from pipeline.evaluation.model_selection import judge as judge_all
from pipeline.params import Compare

SETTINGS = Compare(significance=0.05, resamples=200, seed=0, pictures=1)
SMALL, LARGE = {"multiply_adds": 1000, "bytes": 10}, {"multiply_adds": 5000, "bytes": 50}


EQUAL = np.linspace(0, 1, 100, dtype=np.float32)


def judge(correct: dict, costs: dict, settings: Compare, corrupted: dict | None = None) -> Verdict:
    """With all models equally robust unless said otherwise."""
    return judge_all(correct, corrupted or dict.fromkeys(correct, EQUAL), costs, settings)


def wrong(*places: range) -> np.ndarray:
    """Right on 1,000 images but for some."""
    correct = np.ones(1000, bool)
    for place in places:
        correct[place.start : place.stop] = False
    return correct


def test_a_clear_winner_wins_though_it_costs_more() -> None:
    verdict = judge({"mlp": wrong(range(0, 40)), "cnn": wrong(range(0, 5))}, {"mlp": SMALL, "cnn": LARGE}, SETTINGS)
    assert verdict.winner == "cnn" and verdict.ranking == ["cnn", "mlp"]
    assert verdict.significant == {"mlp": True}
    assert "cnn wins" in verdict.reason and "3.5 points" in verdict.reason and "real" in verdict.reason


def test_between_equals_the_cheaper_wins() -> None:
    verdict = judge({"cnn": wrong(range(0, 10)), "mlp": wrong(range(5, 17))}, {"mlp": SMALL, "cnn": LARGE}, SETTINGS)
    assert verdict.most_accurate == "cnn" and verdict.winner == "mlp"
    assert "costs less" in verdict.reason


def test_few_differing_images_are_no_evidence() -> None:
    verdict = judge({"cnn": wrong(), "mlp": wrong(range(0, 4))}, {"mlp": SMALL, "cnn": LARGE}, SETTINGS)
    assert verdict.tests["mlp"].p_value == pytest.approx(2 / 2**4)
    assert verdict.winner == "mlp"


def test_equal_multiply_adds_are_decided_by_the_file() -> None:
    smaller = {**SMALL, "bytes": 9}
    verdict = judge({"a": wrong(), "b": wrong()}, {"a": SMALL, "b": smaller}, SETTINGS)
    assert verdict.winner == "b"


def test_between_equals_the_one_that_takes_damage_wins_before_the_cheaper() -> None:
    correct = {"cnn": wrong(range(0, 10)), "mlp": wrong(range(5, 17))}
    corrupted = {"cnn": np.clip(EQUAL + 0.2, 0, 1), "mlp": EQUAL}
    verdict = judge(correct, {"mlp": SMALL, "cnn": LARGE}, SETTINGS, corrupted)
    assert verdict.winner == verdict.robust == "cnn" and verdict.ranking == ["cnn", "mlp"]
    assert verdict.damaged["mlp"].low > 0 and "67.9% right, mlp 50.0%" in verdict.reason
    said = headline(verdict, {name: right.mean() for name, right in correct.items()})
    assert said == (
        "Use cnn: on clean images its difference to mlp may be luck, but of damaged ones it gets 32% wrong, against "
        "50% for mlp."
    )


def test_a_robust_model_that_is_clearly_less_accurate_does_not_win() -> None:
    correct = {"mlp": wrong(range(0, 40)), "cnn": wrong(range(0, 5))}
    corrupted = {"mlp": np.ones_like(EQUAL), "cnn": EQUAL}
    verdict = judge(correct, {"mlp": SMALL, "cnn": LARGE}, SETTINGS, corrupted)
    assert verdict.winner == "cnn" and verdict.damaged == {}


def test_a_difference_under_damage_that_may_be_luck_leaves_it_to_the_cost() -> None:
    noise = np.random.default_rng(0).normal(0, 0.3, 100).astype(np.float32)
    corrupted = {"cnn": EQUAL + noise + 0.01, "mlp": EQUAL}
    verdict = judge({"cnn": wrong(), "mlp": wrong()}, {"mlp": SMALL, "cnn": LARGE}, SETTINGS, corrupted)
    assert verdict.damaged == {} and verdict.winner == "mlp"


def test_one_model_wins_alone() -> None:
    verdict = judge({"mlp": wrong(range(0, 40))}, {"mlp": SMALL}, SETTINGS)
    assert verdict.winner == "mlp" and verdict.tests == {} and "only model" in verdict.reason


def test_three_models_rank_tied_ones_by_cost_and_the_rest_by_accuracy() -> None:
    correct = {"best": wrong(range(0, 5)), "bad": wrong(range(0, 90)), "tied": wrong(range(3, 9))}
    costs = {"best": LARGE, "bad": {"multiply_adds": 1, "bytes": 1}, "tied": SMALL}
    verdict = judge(correct, costs, SETTINGS)
    assert verdict.ranking == ["tied", "best", "bad"]


def test_holm_by_hand() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}, 0.05) == {"a": True, "b": False, "c": False}
    assert holm({"a": 0.01, "b": 0.02, "c": 0.04}, 0.05) == {"a": True, "b": True, "c": True}
    assert holm({}, 0.05) == {}


@pytest.mark.parametrize(
    ("correct", "said"),
    [
        ({"mlp": wrong(range(0, 40)), "cnn": wrong(range(0, 5))},
         "Use cnn: it gets about 50 of 10,000 images wrong, against 400 for mlp, and that difference is more than "
         "luck."),
        ({"mlp": wrong(range(5, 17)), "cnn": wrong(range(0, 10))},
         "Use mlp: it costs less, and though cnn gets fewer images wrong (about 100 of 10,000, against 120), the "
         "difference is small enough to be luck."),
        ({"mlp": wrong(range(0, 10)), "cnn": wrong(range(5, 17))},
         "Use mlp: it gets about 100 of 10,000 images wrong, against 120 for cnn; its lead over cnn may be luck, but "
         "it also costs the least."),
        ({"mlp": wrong(range(0, 4))},
         "mlp gets about 40 of 10,000 images wrong; there is no other model to choose from."),
    ],
    ids=["clear winner", "tie, the cheaper is behind", "tie, the cheaper leads", "one model"],
)  # fmt: skip
def test_the_headline_needs_no_statistics(correct: dict[str, np.ndarray], said: str) -> None:
    costs = {"mlp": SMALL, "cnn": LARGE}
    verdict = judge(correct, costs, SETTINGS)
    assert headline(verdict, {name: right.mean() for name, right in correct.items()}) == said
