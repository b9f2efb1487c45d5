"""Splitting: by a hash of the image's bytes, so that an image never changes sides."""

import numpy as np
import pytest

from pipeline import prepare
from pipeline.console import PipelineError
from pipeline.data.splits import validation_mask
from pipeline.params import load_params
from tests.conftest import drawn_digits


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5000, 28, 28), dtype=np.uint8)


def test_about_the_share_asked_for_validates(images) -> None:
    assert 0.08 < validation_mask(images, 0.1).mean() < 0.12


def test_added_and_reordered_images_change_nothing(images) -> None:
    before = validation_mask(images[:1000], 0.1)
    order = np.random.default_rng(1).permutation(5000)
    after = np.empty(5000, bool)
    after[order] = validation_mask(images[order], 0.1)
    assert np.array_equal(before, after[:1000])


def test_a_larger_share_keeps_those_that_validated(images) -> None:
    assert (validation_mask(images, 0.2) | ~validation_mask(images, 0.1)).all()


def test_too_few_images_of_a_class_are_an_error(workspace, images, monkeypatch) -> None:
    labels = np.arange(5000).astype(np.uint8) % 10
    labels[labels == 3] = 4
    monkeypatch.setattr(prepare, "read_source", lambda: {"dataset": "mnist"})
    monkeypatch.setattr(prepare, "read_raw", lambda split: (images, labels))
    with pytest.raises(PipelineError, match="0 images of class 3"):
        prepare.main()


def test_pen_strokes_join_the_training_set_alone(workspace, monkeypatch) -> None:
    images, labels = drawn_digits(100)
    monkeypatch.setattr(prepare, "read_raw", lambda split: (images, labels))
    kept = {}
    monkeypatch.setattr(prepare, "save_split", lambda name, split: kept.update({name: split}))
    share = load_params().data.pen_stroke_share
    for dataset, more in (("mnist", int(share * (~validation_mask(images, 0.1)).sum())), ("fashion-mnist", 0)):
        monkeypatch.setattr(prepare, "read_source", lambda name=dataset: {"dataset": name})
        prepare.main()
        assert len(kept["train"].labels) + len(kept["val"].labels) == len(labels) + more
        assert np.array_equal(kept["test"].images, images)
        published = {image.tobytes() for image in images}
        assert sum(image.tobytes() not in published for image in kept["train"].images) == more
        assert all(image.tobytes() in published for image in kept["val"].images)
    assert share > 0
