"""Stage `validate`: valid images pass every rule; each kind of damage fails its rule and names the images."""

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
    """A dataset entry that the drawn digits satisfy."""
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


def failures(dataset: Dataset, train, test=TEST) -> dict[str, dict]:
    """Summaries of the failed rules, by rule."""
    import pandas as pd

    frame = pd.concat([expectations.describe("train", *train), expectations.describe("test", *test)], ignore_index=True)
    results = expectations.check(frame, expectations.expectations(dataset))
    assert len(results) == 9 + 2 * (10 + 2)
    return {result["rule"]: result for result in results if not result["success"]}


def test_valid_images_pass_every_rule(dataset: Dataset) -> None:
    assert failures(dataset, TRAIN) == {}


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
        (relabelled, "train: 6 images of class 1", None),
    ],
)
def test_damage_fails_its_rule_and_names_the_image(dataset: Dataset, change, rule: str, offender: str | None) -> None:
    failed = failures(dataset, changed(change))
    assert rule in failed
    if offender:
        assert offender in failed[rule]["images"]
        assert offender in expectations.describe_failure(failed[rule])


def test_an_image_in_both_files_is_found(dataset: Dataset) -> None:
    images = TEST[0].copy()
    images[3] = TRAIN[0][5]
    failed = failures(dataset, TRAIN, (images, TEST[1]))
    assert failed["no image occurs twice, within or across splits"]["images"] == ["train 5", "test 3"]


def test_missing_extra_and_unknown_images_fail(dataset: Dataset) -> None:
    failed = failures(dataset, (TRAIN[0][1:], TRAIN[1][1:]))
    assert failed.keys() == {"train: 6 images of class 0"} and failed["train: 6 images of class 0"]["found"] == 5
    extra = drawn_digits(1, seed=3)
    failed = failures(dataset, (np.concatenate([TRAIN[0], extra[0][9:]]), np.concatenate([TRAIN[1], extra[1][9:]])))
    assert failed.keys() == {"train: 6 images of class 9"} and failed["train: 6 images of class 9"]["found"] == 7
    no_nines = TRAIN[1] != 9
    assert "train: 6 images of class 9" in failures(dataset, (TRAIN[0][no_nines], TRAIN[1][no_nines]))
    unknown = (np.concatenate([TRAIN[0], extra[0][9:]]), np.append(TRAIN[1], np.uint8(10)))
    assert failures(dataset, unknown).keys() == {"labels are 0 to 9"}


def test_images_of_another_size_are_rejected(dataset: Dataset) -> None:
    wide = np.pad(TEST[0], ((0, 0), (0, 0), (0, 1)))
    assert "width is 28 pixels" in failures(dataset, TRAIN, (wide, TEST[1]))


def test_the_stage_writes_both_reports_and_fails_on_invalid_images(
    workspace, dataset: Dataset, monkeypatch, capsys
) -> None:
    raw = workspace / "data" / "raw"
    monkeypatch.setattr(validate, "load_dataset", lambda name: dataset)
    for name, (images, labels) in (("train", TRAIN), ("t10k", TEST)):
        write_idx(raw / f"{name}-images-idx3-ubyte.gz", images)
        write_idx(raw / f"{name}-labels-idx1-ubyte.gz", labels)
    write_json(raw / SOURCE.name, {"dataset": "mnist", "mirror": "m", "fallback": False, "files": {}})
    validate.main()
    assert "100 images satisfy all 33 rules" in capsys.readouterr().out
    assert read_json(workspace / "reports" / "validation.json")["success"] is True

    write_idx(raw / "train-images-idx3-ubyte.gz", changed(blank)[0])
    with pytest.raises(PipelineError, match=r"no image is blank.*train 7"):
        validate.main()
    report = (workspace / "reports" / "validation.html").read_text()
    assert "validation failed" in report and "train 7" in report
    assert "http" not in report.replace("http-equiv", "")
