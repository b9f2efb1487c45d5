"""The stage `corrupt`: the images that calibrate models, and the drawn forms."""

from pathlib import Path

import numpy as np
import pytest

from pipeline import corrupt
from pipeline.data.splits import Split, load_split, save_split
from pipeline.evaluation.corruptions import CORRUPTIONS
from pipeline.evaluation.corruptions import corrupt as apply
from pipeline.params import load_params
from pipeline.paths import DERIVED
from tests.conftest import drawn_digits

IMAGES, LABELS = drawn_digits(3)


@pytest.fixture
def run(workspace: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs the stage on few images of a dataset; returns its splits "calibration" and "forms"."""
    params = load_params()
    sizes = dict.fromkeys(("images", "validation_images", "sensitivity_images"), 5)
    sizes |= {"ood_samples": 20, "forms": 68, "segments": 30}
    small = params.model_copy(update={"corrupt": params.corrupt.model_copy(update=sizes)})
    monkeypatch.setattr(corrupt, "load_params", lambda: small)

    def make(dataset: str) -> dict[str, Split]:
        for name in ("tune", "val", "test"):
            save_split(name, Split(dataset, IMAGES, LABELS))
        corrupt.main()
        return {name: load_split(name, workspace / DERIVED.relative_to(DERIVED.parents[1])) for name in NAMES}

    return make


NAMES = ("calibration", "forms")


def test_calibration_images_are_clean_corrupted_and_drawn(run) -> None:
    splits = run("mnist")
    calibration, forms, count = splits["calibration"], splits["forms"], len(LABELS)
    assert len(calibration.labels) == 3 * count and len(forms.labels) == 68
    assert np.array_equal(calibration.images[:count], IMAGES)
    assert np.array_equal(calibration.labels[: 2 * count], np.tile(LABELS, 2))
    drawn = {image.tobytes() for image in forms.images}
    assert len(drawn) == 68 and not drawn & {image.tobytes() for image in calibration.images}


def test_datasets_of_other_classes_have_no_forms(run) -> None:
    splits = run("fashion-mnist")
    assert len(splits["calibration"].labels) == 2 * len(LABELS) and len(splits["forms"].labels) == 0


def test_the_corruptions_take_turns() -> None:
    changed = corrupt.damaged(IMAGES, 7)
    assert (changed != IMAGES).any(axis=(1, 2)).all()
    for index, name in enumerate(CORRUPTIONS):
        assert np.array_equal(changed[index::15], apply(IMAGES[index::15], name, 7))
