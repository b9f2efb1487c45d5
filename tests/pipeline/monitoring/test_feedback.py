"""Outcomes of corrections: accepted, needs a review, or excluded. tests/test_feedback_loop.py tests the whole loop."""

import hashlib

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from pipeline.data.datasets import load_dataset
from pipeline.monitoring import feedback, review
from pipeline.monitoring.feedback import ACCEPTED, DISPUTED, DOUBTED
from pipeline.params import Feedback
from tests.conftest import drawn_digits

SETTINGS = Feedback(agreement=0.75, rejected_below=0.01, class_share=0.1, client_share=0.1)


class UniformModel:
    """A model that gives the classes 0 to 8 the same probability and class 9 none."""

    classes = 10

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.tile(np.append(np.full(9, 1 / 9), 0).astype(np.float32), (len(images), 1))


def digit(number: int) -> NDArray[np.uint8]:
    """Returns one of twenty pictures, centred and with as much ink as a digit."""
    image = np.zeros((28, 28), np.uint8)
    image[6:22, 10:18] = drawn_digits(2, seed=3)[0][number][:16, 8:16] // 2 + 100 + number
    return image


def outcomes_of(rows: list[tuple[int, int, str]], held_out: set[int] = frozenset(), **changes: object) -> list[str]:
    """Returns the outcomes of labels (picture, label, client), with 100 training images per class."""
    images = np.stack([digit(picture) for picture, _, _ in rows])
    frame = pd.DataFrame(rows, columns=["picture", "label", "client"])
    frame["digest"] = [hashlib.sha256(image.tobytes()).hexdigest() for image in images]
    frame["review"] = changes.pop("review", [None] * len(rows))
    digests = {hashlib.sha256(digit(picture).tobytes()).hexdigest() for picture in held_out}
    settings, train = SETTINGS.model_copy(update=changes), np.full(256, 100)
    return feedback.decide_outcomes(frame, images, load_dataset("mnist"), digests, [UniformModel()], train, settings)  # type: ignore[list-item]


def test_a_plausible_label_is_accepted_once() -> None:
    assert outcomes_of([(0, 3, "a"), (1, 4, "a"), (0, 3, "b")]) == [ACCEPTED, ACCEPTED, "duplicate of another label"]


def test_a_label_that_all_models_reject_needs_a_review() -> None:
    assert outcomes_of([(0, 9, "a")]) == [DOUBTED]
    assert outcomes_of([(0, 9, "a")], review=[True]) == [ACCEPTED]
    assert outcomes_of([(0, 9, "a"), (1, 3, "a")], review=[False, False]) == ["rejected in a review"] * 2


def test_users_must_agree_and_each_has_one_vote() -> None:
    assert outcomes_of([(0, 3, "a"), (0, 5, "b")]) == [DISPUTED] * 2
    assert outcomes_of([(0, 3, "a"), (0, 3, "a"), (0, 3, "a"), (0, 5, "b")]) == [DISPUTED] * 4
    outvoted = outcomes_of([(0, 5, "z"), *((0, 3, client) for client in "abc")])
    assert outvoted == ["outvoted by other users", ACCEPTED, "duplicate of another label", "duplicate of another label"]
    assert outcomes_of([(0, 3, "a"), (0, 5, "b")], review=[None, True]) == ["outvoted by other users", ACCEPTED]


def test_validation_and_test_images_are_excluded() -> None:
    outcomes = outcomes_of([(0, 3, "a"), (1, 3, "a")], held_out={0}, review=[True, None])
    assert outcomes == ["equals a validation or test image", ACCEPTED]


def test_corrections_must_satisfy_the_validation_rules() -> None:
    images = np.stack([digit(0), np.zeros((28, 28), np.uint8), np.roll(digit(1), 8, axis=1), digit(2)])
    frame = pd.DataFrame({"label": [3, 3, 3, 12], "client": "a", "digest": [c * 64 for c in "abcd"], "review": None})
    train = np.full(256, 100)
    outcomes = feedback.decide_outcomes(frame, images, load_dataset("mnist"), set(), [UniformModel()], train, SETTINGS)  # type: ignore[list-item]
    assert outcomes[0] == ACCEPTED
    assert outcomes[1] == "violates the rule: no image is blank"
    assert "centre of mass, column" in outcomes[2]
    assert outcomes[3] == "violates the rule: labels are 0 to 9"


def test_the_shares_of_a_client_and_of_a_class_are_limited() -> None:
    alone = outcomes_of([(picture, 3, "a") for picture in range(8)], client_share=0.05)
    assert alone.count(ACCEPTED) == 5 and alone.count("exceeds the client's share of a class") == 3
    many = outcomes_of([(picture, 3, f"{picture}") for picture in range(8)], class_share=0.06)
    assert many.count(ACCEPTED) == 6 and many.count("exceeds the share of a class") == 2
    mixed = outcomes_of([(picture, picture % 2, "a") for picture in range(8)], client_share=0.04)
    assert mixed == [ACCEPTED] * 8


def test_the_gate_set_holds_one_picture_in_five_independently_of_the_validation_split() -> None:
    digests = [hashlib.sha256(bytes([n % 256, n // 256])).hexdigest() for n in range(4000)]
    chosen = np.array([feedback.in_gate_set(digest) for digest in digests])
    assert chosen.mean() == pytest.approx(0.2, abs=0.02)
    validates = np.array([int(digest[:16], 16) < 0.1 * 2**64 for digest in digests])
    assert chosen[validates].mean() == pytest.approx(0.2, abs=0.06)


def test_a_picture_is_drawn_with_characters() -> None:
    image = np.zeros((28, 28), np.uint8)
    image[:, 20:] = 255
    assert set(review.draw(image).splitlines()) == {" " * 20 + "█" * 8}
