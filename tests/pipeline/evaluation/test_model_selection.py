"""Model selection on constructed cases: the selected model, and the sentence that explains it."""

import numpy as np
import pytest

from pipeline.evaluation.model_selection import Selection, headline, select_model
from pipeline.params import Compare

SETTINGS = Compare(significance=0.05, resamples=200, seed=0, pictures=1)
SMALL, LARGE = {"multiply_adds": 1000, "bytes": 10}, {"multiply_adds": 5000, "bytes": 50}
COSTS = {"mlp": SMALL, "cnn": LARGE}
EQUAL = np.linspace(0, 1, 100, dtype=np.float32)


def select(correct: dict, costs: dict = COSTS, corruption_accuracy: dict | None = None) -> Selection:
    """All models are equally robust unless `corruption_accuracy` is given."""
    return select_model(correct, corruption_accuracy or dict.fromkeys(correct, EQUAL), costs, SETTINGS)


def errors(start: int, stop: int) -> np.ndarray:
    """Correct on 1,000 images except those from `start` to `stop`."""
    correct = np.ones(1000, bool)
    correct[start:stop] = False
    return correct


def test_a_significantly_more_accurate_model_wins_at_a_higher_cost() -> None:
    selection = select({"mlp": errors(0, 40), "cnn": errors(0, 5)})
    assert selection.winner == "cnn" and selection.ranking == ["cnn", "mlp"]
    assert selection.significant == {"mlp": True}
    assert selection.error_rate == {"mlp": pytest.approx(0.04), "cnn": pytest.approx(0.005)}


def test_the_cheaper_of_two_tied_models_wins() -> None:
    selection = select({"cnn": errors(0, 10), "mlp": errors(5, 17)})
    assert selection.most_accurate == "cnn" and selection.winner == "mlp"


def test_few_discordant_images_are_not_significant() -> None:
    selection = select({"cnn": errors(0, 0), "mlp": errors(0, 4)})
    assert selection.tests["mlp"].p_value == pytest.approx(2 / 2**4)
    assert selection.winner == "mlp"


def test_the_file_size_decides_between_equal_multiply_adds() -> None:
    selection = select({"a": errors(0, 0), "b": errors(0, 0)}, {"a": SMALL, "b": {**SMALL, "bytes": 9}})
    assert selection.winner == "b"


def test_robustness_decides_before_cost() -> None:
    corruption_accuracy = {"cnn": np.clip(EQUAL + 0.2, 0, 1), "mlp": EQUAL}
    selection = select({"cnn": errors(0, 10), "mlp": errors(5, 17)}, corruption_accuracy=corruption_accuracy)
    assert selection.winner == selection.most_robust == "cnn" and selection.ranking == ["cnn", "mlp"]
    gap = selection.robustness_gaps["mlp"]
    assert 0 < gap.low < gap.difference < gap.high
    assert selection.corruption_error == {"cnn": pytest.approx(0.3208, abs=1e-4), "mlp": pytest.approx(0.5)}
    assert headline(selection) == (
        "Use cnn: under corruption, its error rate is significantly lower (cnn 32.1%, mlp 50.0%); on clean images, the "
        "error rates do not differ significantly (cnn 1.00%, mlp 1.20%)."
    )


def test_accuracy_decides_before_robustness() -> None:
    corruption_accuracy = {"mlp": np.ones_like(EQUAL), "cnn": EQUAL}
    selection = select({"mlp": errors(0, 40), "cnn": errors(0, 5)}, corruption_accuracy=corruption_accuracy)
    assert selection.winner == "cnn" and selection.robustness_gaps == {}


def test_cost_decides_when_the_robustness_gap_is_not_significant() -> None:
    noise = np.random.default_rng(0).normal(0, 0.3, 100).astype(np.float32)
    corruption_accuracy = {"cnn": EQUAL + noise + 0.01, "mlp": EQUAL}
    selection = select({"cnn": errors(0, 0), "mlp": errors(0, 0)}, corruption_accuracy=corruption_accuracy)
    assert selection.robustness_gaps == {} and selection.winner == "mlp"


def test_a_single_model_is_selected() -> None:
    selection = select({"mlp": errors(0, 40)})
    assert selection.winner == "mlp" and selection.tests == {}


def test_tied_models_rank_by_cost_and_the_others_by_accuracy() -> None:
    correct = {"best": errors(0, 5), "bad": errors(0, 90), "tied": errors(3, 9)}
    costs = {"best": LARGE, "bad": {"multiply_adds": 1, "bytes": 1}, "tied": SMALL}
    selection = select(correct, costs)
    assert selection.ranking == ["tied", "best", "bad"]
    assert headline(selection) == (
        "Use tied: it costs less; the error rates do not differ significantly (tied 0.60%, best 0.50%)."
    )


@pytest.mark.parametrize(
    ("correct", "expected"),
    [
        ({"mlp": errors(0, 40), "cnn": errors(0, 5)},
         "Use cnn: its error rate is significantly lower (cnn 0.50%, mlp 4.00%)."),
        ({"mlp": errors(5, 17), "cnn": errors(0, 10)},
         "Use mlp: it costs less; the error rates do not differ significantly (mlp 1.20%, cnn 1.00%)."),
        ({"mlp": errors(0, 4)}, "Use mlp: it is the only model (error rate: mlp 0.40%)."),
    ],
    ids=["significant", "tied", "one model"],
)  # fmt: skip
def test_the_headline_names_the_model_and_the_reason(correct: dict[str, np.ndarray], expected: str) -> None:
    assert headline(select(correct)) == expected
