"""The out-of-distribution score: its measures, verified by hand, and its fit on generated images."""

import json
from dataclasses import replace

import numpy as np
import pytest
import skimage.measure

from pipeline.evaluation.ood_fit import class_statistics, fit_score, to_card
from pipeline.evaluation.ood_samples import make_ood_samples
from recognition.out_of_distribution import CELLS, OODScore, features, image_measures
from tests.conftest import drawn_digits

EULER = CELLS + 10


def test_measures_of_a_square() -> None:
    image = np.zeros((1, 28, 28), np.uint8)
    image[0, 8:12, 12:16] = 255  # one cell of the 7x7 grid
    measures = image_measures(image)[0]
    assert measures[:CELLS].sum() == measures[2 * 7 + 3] == 16
    total, grey, outline, across, along, most_across, most_along, height, width, border = measures[CELLS:EULER]
    assert (total, grey, outline, across, along) == (16, 0, 1, 8, 8)
    assert (most_across, most_along, height, width, border) == (2, 2, 4, 4, 0)
    assert measures[EULER] == 1
    variance_of_four = 1.25
    assert measures[EULER + 1 : EULER + 3] == pytest.approx(variance_of_four, abs=1e-3)
    assert measures[EULER + 3 :] == pytest.approx([0, 2, 2])  # columns 12 to 15 are symmetric, rows 8 to 11 are not


def test_the_euler_number_agrees_with_scikit_image() -> None:
    images = (np.random.default_rng(0).random((30, 28, 28)) < 0.4).astype(np.uint8) * 255
    expected = [skimage.measure.euler_number(image > 0, connectivity=2) for image in images]
    assert image_measures(images)[:, EULER].tolist() == expected


def test_a_blank_image_has_finite_measures() -> None:
    assert np.isfinite(image_measures(np.zeros((2, 28, 28), np.uint8))).all()


def test_grey_pixels_are_counted_between_41_and_214() -> None:
    image = np.zeros((1, 28, 28), np.uint8)
    image[0, 5, 5:11] = 1, 40, 41, 214, 215, 255  # three of them are inked (above 127)
    assert image_measures(image)[0, CELLS + 1] == pytest.approx(2 / 3)


def test_features_are_distances_from_the_predicted_class() -> None:
    image = np.zeros((1, 28, 28), np.uint8)
    measures = image_measures(image)
    mean = np.vstack([measures, measures - 2])  # the means of the second class are lower by 2
    found = features(np.array([[0.25, 0.75]]), image, mean, np.ones_like(mean))[0]
    assert found[:2] == pytest.approx(np.log([0.25, 0.75]))
    assert found[2:4] == pytest.approx([4, 2])
    assert found[4:20] == pytest.approx(2) and found[20:] == pytest.approx(4)


def test_a_class_without_images_gets_the_statistics_of_all_classes() -> None:
    measures = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    mean, deviation = class_statistics(measures, np.array([[0.9, 0.1], [0.9, 0.1]]))
    assert mean == pytest.approx(np.array([[2, 3], [2, 3]])) and (deviation > 0).all()


def test_the_score_rejects_ood_images_and_is_restored_from_its_card() -> None:
    digits, labels = drawn_digits(60)
    ood_images, _ = make_ood_samples(400, digits, 0)
    sure = np.full((600, 10), 0.01) + 0.9 * np.eye(10)[labels]
    unsure = np.random.default_rng(0).dirichlet(np.full(10, 0.3), 400)
    score = fit_score(digits[::2], sure[::2], ood_images[::2], unsure[::2])
    score = replace(score, threshold=float(np.quantile(score(sure[1::2], digits[1::2]), 0.99)))
    assert score.rejects(sure[1::2], digits[1::2]).mean() <= 0.011
    assert score.rejects(unsure[1::2], ood_images[1::2]).mean() > 0.9
    read = OODScore.from_card(json.loads(json.dumps(to_card(score))))
    assert read(sure, digits) == pytest.approx(score(sure, digits), abs=0.05)
    one_by_one = np.concatenate([read(sure[index : index + 1], digits[index : index + 1]) for index in range(5)])
    assert one_by_one == pytest.approx(read(sure[:5], digits[:5]), abs=1e-4)
