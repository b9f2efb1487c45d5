"""Charts: readable labels, the text colour of the page, and reproducible bytes."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from pipeline.reporting.charts import accuracy_against, confusion, figure_to_svg, learning_curves, robustness_bars
from pipeline.reporting.comparison import frequent_confusions


def test_labels_of_a_crowded_chart_cover_neither_points_nor_each_other() -> None:
    model = {"accuracy": 0.9934, "accuracy_low": 0.9916, "accuracy_high": 0.9948, "size": 2900}
    others = [
        {"name": "convolutions-and-dropout", "size": 2600, "accuracy": 0.9943},
        {"name": "three-convolutions", "size": 2800, "accuracy": 0.9935},
        {"name": "convolutions-and-norm", "size": 2600, "accuracy": 0.9925},
        {"name": "small", "size": 50, "accuracy": 0.97},
    ]
    figure = accuracy_against("size", "size", {"mlp": model}, others)
    axis = figure.axes[0]
    boxes = [text.get_window_extent() for text in axis.texts]
    points = [axis.transData.transform((row["size"], 100 * row["accuracy"])) for row in (model, *others)]
    assert [text.get_text() for text in axis.texts] == ["mlp", *(row["name"] for row in others)]
    assert all(box.count_overlaps(boxes) == 1 for box in boxes)  # itself
    assert not any(box.contains(x, y) for box in boxes for x, y in points)
    assert all(axis.bbox.x0 <= box.x0 and box.x1 <= axis.bbox.x1 for box in boxes)


def curves() -> Figure:
    columns = {key: [0.5, 0.25] for key in ("loss", "val_loss", "accuracy", "val_accuracy")}
    return learning_curves({"mlp": pd.DataFrame({"epoch": [0, 1], **columns})})


def test_a_confusion_matrix_has_room_for_each_class() -> None:
    small, large = (confusion(np.diag([400] * count), [*map(str, range(count))], 0) for count in (18, 47))
    assert small.get_size_inches().tolist() == [4.4, 4.2] and large.get_size_inches()[0] > 47 * 0.2
    large.draw_without_rendering()
    boxes = [text.get_window_extent() for text in large.axes[0].texts]
    assert len(boxes) == 47 and all(box.count_overlaps(boxes) == 1 for box in boxes)  # itself
    names = [label for label in large.axes[0].get_xticklabels() if label.get_text()]
    assert not any(one.get_window_extent().overlaps(two.get_window_extent()) for one, two in pairwise(names))


def test_the_most_frequent_confusions_come_first() -> None:
    matrix = np.array([[90, 3, 7], [0, 10, 0], [4, 0, 16]])
    rows = [(row["label"], row["prediction"], row["images"]) for row in frequent_confusions(matrix, ["a", "b", "c"])]
    assert rows == [("a", "c", 7), ("c", "a", 4), ("a", "b", 3)]
    assert frequent_confusions(matrix, ["a", "b", "c"])[1]["share"] == 0.2


def test_a_chart_takes_the_text_colour_of_the_page() -> None:
    svg = figure_to_svg(curves(), "Learning & loss")
    assert svg.startswith('<svg role="img" aria-label="Learning &amp; loss"')
    assert "currentColor" in svg and "#777777" not in svg and "#000000" not in svg


def test_a_chart_has_the_same_bytes_every_time() -> None:
    assert figure_to_svg(curves(), "curves") == figure_to_svg(curves(), "curves")


def test_robustness_is_sorted_by_the_first_model_after_the_mean() -> None:
    errors = {"fog": 0.3, "mean_error": 0.2, "shot_noise": 0.1}
    axes = robustness_bars({"mlp": errors, "cnn": {**errors, "fog": 0.0}}).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["mean", "shot noise", "fog"]
    widths = [[bar.get_width() for bar in bars] for bars in axes.containers]
    assert widths == [pytest.approx([20, 10, 30]), pytest.approx([20, 10, 0])]
