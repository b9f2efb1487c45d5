"""Validation: a good frame keeps every rule; each kind of damage breaks the rule meant for it, and says where."""

from collections.abc import Callable

import numpy as np
import pytest

from pipeline import validate
from pipeline.console import PipelineError
from pipeline.data import expectations
from pipeline.data.datasets import Counts, Dataset, Expected, IntensityQuantiles, MeanIntensity, load_dataset
from pipeline.data.idx import write_idx
from pipeline.files import read_json, write_json
from pipeline.paths import SOURCE
from tests.conftest import drawn_digits

TRAIN, TEST = drawn_digits(6, seed=1), drawn_digits(4, seed=2)


def quantiles(split) -> list[float]:
    return np.quantile(split[0].mean((1, 2)), [0.25, 0.75]).tolist()


@pytest.fixture
def dataset() -> Dataset:
    """An entry that the drawn digits keep."""
    expected = Expected(
        mean_intensity=MeanIntensity(train=TRAIN[0].mean(), test=TEST[0].mean(), tolerance=0.05),
        ink_fraction=(0.02, 0.2),
        centre_of_mass=(3, 25),
        duplicates=0,
        intensity_quantiles=IntensityQuantiles(shares=[0.25, 0.75], train=quantiles(TRAIN), test=quantiles(TEST)),
    )
    return load_dataset("mnist").model_copy(
        update={"counts": Counts(train=[6] * 10, test=[4] * 10), "expected": expected}
    )


def broken(dataset: Dataset, train, test=TEST) -> dict[str, dict]:
    """The failed rules' results by rule."""
    import pandas as pd

    frame = pd.concat([expectations.describe("train", *train), expectations.describe("test", *test)], ignore_index=True)
    results = expectations.check(frame, expectations.expectations(dataset))
    assert len(results) == 10 + 2 * (10 + 3)
    return {result["rule"]: result for result in results if not result["success"]}


def test_good_images_keep_every_rule(dataset: Dataset) -> None:
    assert broken(dataset, TRAIN) == {}


def changed(change: Callable[[np.ndarray, np.ndarray], None]):
    images, labels = TRAIN[0].copy(), TRAIN[1].copy()
    change(images, labels)
    return images, labels


def blank(images, labels) -> None:
    images[7] = 0


def saturated(images, labels) -> None:
    images[7] = 255


def eleventh_class(images, labels) -> None:
    labels[7] = 10


def repeated(images, labels) -> None:
    images[7] = images[8]


def off_centre(images, labels) -> None:
    images[7] = 0
    images[7, 25:, 25:] = 255


def brighter(images, labels) -> None:
    images[:] = np.minimum(images.astype(int) * 2, 255)


def uneven(images, labels) -> None:
    """The same mean, another distribution."""
    images[:30] = images[:30] * 0.8
    images[30:] = np.minimum(images[30:] * 1.2, 255)


def relabelled(images, labels) -> None:
    labels[:6] = 1


@pytest.mark.parametrize(
    ("change", "rule", "offender"),
    [
        (blank, "no image is blank", "train 7"),
        (saturated, "no image is saturated", "train 7"),
        (eleventh_class, "labels are 0 to 9", "train 7"),
        (repeated, "no image occurs twice, within or across splits", "train 7"),
        (off_centre, "centre of mass, row, from 3 to 25", "train 7"),
        (brighter, f"train: mean intensity is {TRAIN[0].mean():g} within {TRAIN[0].mean() * 0.05:.2g}", None),
        (uneven, "train: mean intensity is distributed as published", None),
        (relabelled, "train: 6 images of class 0", None),
        (relabelled, "train: the labels are distributed as published", None),
    ],
)
def test_damage_breaks_its_rule_and_names_the_image(dataset: Dataset, change, rule: str, offender: str | None) -> None:
    failed = broken(dataset, changed(change))
    assert rule in failed
    if offender:
        assert offender in failed[rule]["images"]
        assert offender in expectations.describe_failure(failed[rule])


def test_an_image_of_the_training_file_in_the_test_file_is_found(dataset: Dataset) -> None:
    images = TEST[0].copy()
    images[3] = TRAIN[0][5]
    failed = broken(dataset, TRAIN, (images, TEST[1]))
    assert failed["no image occurs twice, within or across splits"]["images"] == ["train 5", "test 3"]


def test_too_few_images_are_counted(dataset: Dataset) -> None:
    failed = broken(dataset, (TRAIN[0][1:], TRAIN[1][1:]))
    assert failed["100 images in all"]["found"] == 99
    assert failed["train: 6 images of class 0"]["found"] == 5


def test_images_of_another_size_are_refused(dataset: Dataset) -> None:
    wide = np.pad(TEST[0], ((0, 0), (0, 0), (0, 1)))
    assert "width is 28 pixels" in broken(dataset, TRAIN, (wide, TEST[1]))


def test_the_stage_writes_both_reports_and_stops_on_failure(workspace, dataset: Dataset, monkeypatch, capsys) -> None:
    raw = workspace / "data" / "raw"
    monkeypatch.setattr(validate, "load_dataset", lambda name: dataset)
    for name, (images, labels) in (("train", TRAIN), ("t10k", TEST)):
        write_idx(raw / f"{name}-images-idx3-ubyte.gz", images)
        write_idx(raw / f"{name}-labels-idx1-ubyte.gz", labels)
    write_json(raw / SOURCE.name, {"dataset": "mnist", "mirror": "m", "fallback": False, "files": {}})
    validate.main()
    assert "100 images, 36 rules, all kept" in capsys.readouterr().out
    assert read_json(workspace / "reports" / "validation.json")["success"] is True

    write_idx(raw / "train-images-idx3-ubyte.gz", changed(blank)[0])
    with pytest.raises(PipelineError, match=r"no image is blank.*train 7"):
        validate.main()
    report = (workspace / "reports" / "validation.html").read_text()
    assert "not valid" in report and "train 7" in report
    assert "http" not in report.replace("http-equiv", "")
