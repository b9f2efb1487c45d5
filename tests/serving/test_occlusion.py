"""What speaks for a class and against it, on a classifier whose reasons are known, and over HTTP."""

import numpy as np
import pytest
import requests

from recognition.classifier import Classifier
from serving.inference.occlusion import evidence
from tests.drawing import draw


class Corners(Classifier):
    """Class 1 is likely where the upper left is inked and the lower right is empty; nothing else counts."""

    def __init__(self) -> None:
        self.asked = 0

    def probabilities(self, images):
        self.asked += len(images)
        ink = images / 255
        logit = 4 * ink[:, 6:12, 6:12].mean(axis=(1, 2)) - 4 * ink[:, 16:22, 16:22].mean(axis=(1, 2))
        share = 1 / (1 + np.exp(-logit))
        return np.stack([1 - share, share], axis=1).astype(np.float32)


def image(*squares: tuple[int, int]) -> np.ndarray:
    pixels = np.zeros((28, 28), np.uint8)
    for row, column in squares:
        pixels[row : row + 6, column : column + 6] = 255
    return pixels


def test_ink_and_emptiness_speak_for_and_against() -> None:
    found = evidence(Corners(), image((6, 6)), 1)
    assert found.shape == (28, 28) and found.dtype == np.float32
    assert found[7:11, 7:11].min() > 0.3  # ink that is there
    assert found[17:21, 17:21].min() > 0.3  # ink that is absent
    assert np.abs(found[8:11, 18:21]).max() < 0.05  # pixels that the model does not look at
    against = evidence(Corners(), image((6, 6)), 0)
    assert against == pytest.approx(-found, abs=1e-4)


def test_ink_in_the_wrong_place_speaks_against() -> None:
    found = evidence(Corners(), image((16, 16)), 1)
    assert found[17:21, 17:21].max() < -0.3  # wiping it out would help
    assert found[7:11, 7:11].max() < -0.3  # inking this would help


def test_the_border_is_left_out_and_the_work_is_bounded() -> None:
    model = Corners()
    found = evidence(model, image((6, 6)), 1)
    assert not found[:2].any() and not found[:, -2:].any()
    assert model.asked <= 256


def drawn() -> bytes:
    import io

    buffer = io.BytesIO()
    draw().save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.slow
def test_every_model_explains_the_champions_prediction_or_the_class_asked_for(service: str) -> None:
    compared = requests.post(f"{service}/compare", data=drawn(), timeout=30).json()
    explained = requests.post(f"{service}/explain", data=drawn(), timeout=30).json()
    assert explained["label"] == compared["results"][compared["champion"]]["prediction"]
    assert explained["maps"].keys() == compared["results"].keys()
    for found in explained["maps"].values():
        assert np.array(found).shape == (28, 28) and np.abs(found).max() > 0
    other = (explained["label"] + 1) % 10
    asked = requests.post(f"{service}/explain?label={other}", files={"image": drawn()}, timeout=30).json()
    assert asked["label"] == other and asked["maps"] != explained["maps"]


@pytest.mark.slow
@pytest.mark.parametrize("label", ["10", "-1", "", "two", "²", "9" * 400])
def test_a_label_outside_the_classes_is_refused(service: str, label: str) -> None:
    answer = requests.post(f"{service}/explain", params={"label": label}, data=drawn(), timeout=30)
    assert answer.status_code == 422 and answer.json()["code"] == "invalid_value"
    assert any(words in answer.json()["error"] for words in ("0 to 9", "valid integer", "greater than or equal to 0"))
