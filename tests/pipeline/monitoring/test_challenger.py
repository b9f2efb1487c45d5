"""The comparison of versions that answered the same logged pictures."""

import numpy as np
import pandas as pd
import pytest

from pipeline.monitoring.challenger import compare_with_champion, describe_comparison
from pipeline.monitoring.drift import Window


def answers(model: str, version: str, pictures: range, predictions: list[int]) -> pd.DataFrame:
    return pd.DataFrame({"model": model, "version": version, "picture": pictures, "prediction": predictions})


def window(labels: list[int]) -> Window:
    """Eleven pictures: ten answered by the champion cnn v3, six of these by challenger v5, the last by mlp v1."""
    rows = [
        answers("cnn", "3", range(10), [1] * 10),
        answers("challenger", "5", range(6), [1, 1, 1, 2, 2, 2]),
        answers("mlp", "1", range(10, 11), [1]),
    ]
    return Window(np.zeros((11, 28, 28), np.uint8), np.array([*labels, 1]), pd.concat(rows, ignore_index=True))


def test_versions_are_compared_on_the_pictures_that_both_answered() -> None:
    (row,) = compare_with_champion(window([1, -1, -1, 2, 2, 1, 7, 7, 7, 7]), "3")
    assert (row["challenger"], row["champion"]) == ("challenger v5", "cnn v3")
    assert (row["pictures"], row["agreement"], row["labelled"]) == (6, 0.5, 4)
    assert (row["accuracy"], row["champion_accuracy"]) == (0.75, 0.5)
    assert row["p_value"] == pytest.approx(1, abs=0.01)  # 2 won, 1 lost
    text = describe_comparison(row)
    assert "agree on 50.00% of 6 pictures" in text and "4 labelled ones: 75.00% and 50.00%" in text


def test_a_promoted_version_keeps_the_answers_that_it_gave_as_challenger() -> None:
    """Version 5 answered pictures 0 to 5 as challenger of version 3, then 5 to 9 as champion."""
    rows = [
        answers("cnn", "3", range(10), [1] * 10),
        answers("challenger", "5", range(6), [1, 1, 1, 2, 2, 2]),
        answers("cnn", "5", range(5, 10), [2, 1, 1, 1, 1]),
    ]
    both = Window(np.zeros((10, 28, 28), np.uint8), np.full(10, -1), pd.concat(rows, ignore_index=True))
    (row,) = compare_with_champion(both, "5")
    assert (row["challenger"], row["champion"]) == ("cnn v3", "cnn v5")
    assert (row["pictures"], row["agreement"]) == (10, 0.7)


def test_without_labels_there_is_no_accuracy() -> None:
    (row,) = compare_with_champion(window([-1] * 10), "3")
    assert row["labelled"] == 0 and row["accuracy"] is None and row["p_value"] is None
    assert "none is labelled" in describe_comparison(row)


def test_without_answers_of_the_champion_nothing_is_compared() -> None:
    assert compare_with_champion(window([-1] * 10), "4") == []
    assert compare_with_champion(window([-1] * 10), "") == []
