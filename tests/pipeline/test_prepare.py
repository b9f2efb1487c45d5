"""Stage `prepare`: a stable validation split, pen strokes, corrections and the minimum number of images per class."""

import numpy as np
import pytest

from pipeline import prepare
from pipeline.console import PipelineError
from pipeline.data.splits import hash_fractions, validation_mask
from pipeline.params import load_params
from tests.conftest import drawn_digits


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5000, 28, 28), dtype=np.uint8)


def test_the_validation_split_has_about_its_share(images) -> None:
    assert 0.08 < validation_mask(images, 0.1).mean() < 0.12


def test_added_and_reordered_images_keep_the_split(images) -> None:
    before = validation_mask(images[:1000], 0.1)
    order = np.random.default_rng(1).permutation(5000)
    after = np.empty(5000, bool)
    after[order] = validation_mask(images[order], 0.1)
    assert np.array_equal(before, after[:1000])


def test_a_larger_share_contains_the_smaller_one(images) -> None:
    assert (validation_mask(images, 0.2) | ~validation_mask(images, 0.1)).all()


def test_validation_tuning_and_training_images_are_intervals_of_the_hash(workspace, images, monkeypatch) -> None:
    labels = np.arange(5000).astype(np.uint8) % 10
    monkeypatch.setattr(prepare, "read_source", lambda: {"dataset": "fashion-mnist"})
    monkeypatch.setattr(prepare, "read_raw", lambda split: (images, labels))
    saved = {}
    monkeypatch.setattr(prepare, "save_split", lambda name, split: saved.update({name: hash_fractions(split.images)}))
    prepare.main()
    settings = load_params().data
    held_out = settings.validation_share + settings.tuning_share
    assert saved["val"].max() < settings.validation_share <= saved["tune"].min()
    assert saved["tune"].max() < held_out <= saved["train"].min()


def test_too_few_images_of_a_class_are_an_error(workspace, images, monkeypatch) -> None:
    labels = np.arange(5000).astype(np.uint8) % 10
    labels[labels == 3] = 4
    monkeypatch.setattr(prepare, "read_source", lambda: {"dataset": "mnist"})
    monkeypatch.setattr(prepare, "read_raw", lambda split: (images, labels))
    with pytest.raises(PipelineError, match="0 images of class 3"):
        prepare.main()


def test_pen_strokes_are_added_to_the_training_set_only(workspace, monkeypatch) -> None:
    images, labels = drawn_digits(300)
    monkeypatch.setattr(prepare, "read_raw", lambda split: (images, labels))
    saved = {}
    monkeypatch.setattr(prepare, "save_split", lambda name, split: saved.update({name: split}))
    settings = load_params().data
    share, held_out = settings.pen_stroke_share, settings.validation_share + settings.tuning_share
    for dataset, added in (("mnist", int(share * (~validation_mask(images, held_out)).sum())), ("fashion-mnist", 0)):
        monkeypatch.setattr(prepare, "read_source", lambda name=dataset: {"dataset": name})
        prepare.main()
        sizes = {name: len(saved[name].labels) for name in ("train", "tune", "val")}
        assert sum(sizes.values()) == len(labels) + added and min(sizes.values()) > 0
        assert np.array_equal(saved["test"].images, images)
        published = {image.tobytes() for image in images}
        assert sum(image.tobytes() not in published for image in saved["train"].images) == added
        for name in ("tune", "val"):
            assert all(image.tobytes() in published for image in saved[name].images)
    assert share > 0
