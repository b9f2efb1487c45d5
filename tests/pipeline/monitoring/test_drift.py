"""Effect sizes by hand, and simulated streams: the test set raises no alarm, whatever is changed raises one."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from pipeline.data.datasets import load_dataset
from pipeline.data.splits import Split
from pipeline.evaluation.corruptions import CORRUPTIONS, corrupt
from pipeline.files import read_json
from pipeline.monitoring import drift, monitor
from pipeline.monitoring.drift import Answers, Figure, Window
from pipeline.params import load_params
from recognition.classifier import Classifier
from recognition.out_of_distribution import OODScore
from tests.conftest import REPOSITORY, Project

SETTINGS = load_params().monitor
Judge = Callable[..., dict]


def test_a_mean_that_moves_by_a_deviation_has_an_effect_of_one() -> None:
    reference = np.array([1.0, 3.0] * 50)
    assert drift.mean_difference(reference, reference + 1) == pytest.approx(1)
    assert drift.mean_difference(reference, reference) == 0
    assert drift.mean_difference(np.zeros(9), np.full(9, 0.5), least_deviation=0.25) == pytest.approx(2)


def test_population_stability_is_the_sum_over_bins() -> None:
    reference, found = np.arange(100.0), np.repeat([5.0, 95.0], [20, 80])  # the first and the last of ten bins
    p, q = np.full(10, 10.5) / 105, np.array([20.5, *[0.5] * 8, 80.5]) / 105
    assert drift.population_stability(reference, found) == pytest.approx(float(((p - q) * np.log(p / q)).sum()))
    assert drift.population_stability(reference, reference) == 0


def test_divergence_is_between_nothing_and_one_bit() -> None:
    p, q = np.array([0.5, 0.5, 0.0]), np.array([0.0, 0.0, 1.0])
    assert drift.divergence(p, p) == 0
    assert drift.divergence(p, q) == pytest.approx(1)
    half = np.array([1.0, 0.0, 0.0])
    assert drift.divergence(p, half) == pytest.approx(
        0.5 * (0.5 * np.log2(0.5 / 0.75) + 0.5 * np.log2(0.5 / 0.25)) + 0.5 * np.log2(1 / 0.75)
    )


def test_models_are_compared_where_at_least_two_answered() -> None:
    def said(pictures: list[int], predictions: list[int]) -> Answers:
        count = len(pictures)
        return Answers(np.array(pictures), np.array(predictions), np.ones(count), np.zeros(count, bool))

    both = drift.agreeing({"a": said([0, 1, 2], [4, 5, 6]), "b": said([1, 2, 3], [5, 7, 8])})
    assert both.tolist() == [True, False]
    assert drift.agreeing({"a": said([0, 1], [4, 5])}).tolist() == []
    assert drift.agreeing({}).tolist() == []


@pytest.mark.parametrize(
    ("effect", "n", "interval", "alarm"),
    [
        (1.0, 50, None, True),
        (0.9, 50, None, False),
        (1.0, 49, None, False),
        (1.0, 50, (0.5, 0.8), True),
        (1.0, 50, (0.5, 0.95), False),
    ],
)
def test_an_alarm_needs_effect_and_enough_pictures(effect: float, n: int, interval: object, alarm: bool) -> None:
    figure = Figure("x", "y", 0.9, 0.7, effect, 1.0, n, 50, interval)  # type: ignore[arg-type]
    assert figure.alarm is alarm


def test_a_centre_counts_as_off_beyond_both_conventions() -> None:
    def dot(row: int, column: int) -> NDArray[np.uint8]:
        image = np.zeros((28, 28), np.uint8)
        image[row : row + 2, column : column + 2] = 255  # its centre: half a pixel on
        return image

    centred, beside = np.stack([dot(13, 13), dot(14, 13)]), np.stack([dot(13, 16), dot(10, 13)])
    assert drift.measure(centred)["off_centre"].tolist() == [0, 0]
    assert drift.measure(beside)["off_centre"].tolist() == [2.0, 2.5]


def load(folder: Path) -> tuple[dict[str, Split], Judge, Callable[[NDArray[np.uint8]], Window]]:
    """Splits of a project, a function that judges images (with labels), and one that answers them."""
    splits = {}
    for name in ("train", "val", "test"):
        with np.load(folder / "data" / "prepared" / f"{name}.npz") as content:
            splits[name] = Split(str(content["dataset"]), content["images"], content["labels"])
    models = {}
    for model in sorted(path.parent.name for path in folder.glob("models/*/model.tflite")):
        evaluation = folder / "evaluations" / model
        score = OODScore.from_card(read_json(evaluation / "ood_score.json"))
        threshold = read_json(evaluation / "evaluation.json")["metrics"]["val"]["threshold"]
        models[model] = (Classifier(folder / "models" / model / "model.tflite"), score, threshold)

    def answer(images: NDArray[np.uint8], labels: NDArray[np.integer] | None = None) -> Window:
        answers = {}
        for model, (classifier, score, threshold) in models.items():
            rows = classifier.probabilities(images)
            uncertain = (rows.max(axis=1) < threshold) | score.rejects(rows, images)
            answers[model] = Answers(np.arange(len(images)), rows.argmax(axis=1), rows.max(axis=1), uncertain)
        return Window(images, answers, np.full(len(images), -1) if labels is None else labels.astype(int))

    trained_on, expected = drift.measure(splits["train"].images), answer(splits["val"].images, splits["val"].labels)

    def judge(images: NDArray[np.uint8], labels: NDArray[np.integer] | None = None) -> dict:
        window = answer(np.ascontiguousarray(images), labels)
        return monitor.judge(expected, trained_on, window, load_dataset(splits["val"].dataset), SETTINGS)

    return splits, judge, answer


@pytest.fixture(scope="module", params=["small project", "MNIST"])
def stream(request: pytest.FixtureRequest) -> tuple[Split, Judge]:
    """Images to take windows of 500 from, and how a window is judged."""
    if request.param == "MNIST":
        if not (REPOSITORY / "data" / "prepared" / "test.npz").exists():
            pytest.skip("MNIST was not prepared here: dvc repro")
        splits, judge, _ = load(REPOSITORY)
        if splits["test"].dataset != "mnist":
            pytest.skip(f"{splits['test'].dataset} was prepared here, not MNIST")
        return splits["test"], judge
    project: Project = request.getfixturevalue("project")
    splits, judge, _ = load(project.folder)
    # Its test set is of other writers, whom so small models read worse: an alarm would be right
    known, random = splits["val"], np.random.default_rng(0)
    chosen = random.integers(0, len(known.labels), 10_000)  # as many as MNIST's test set has, drawn anew from the few
    return Split(known.dataset, known.images[chosen], known.labels[chosen]), judge


@pytest.mark.slow
def test_the_test_set_raises_no_alarm_in_twenty_windows(stream: tuple[Split, Judge]) -> None:
    test, judge = stream
    for start in range(0, 10_000, 500):
        here = slice(start, start + 500)
        found = judge(test.images[here], test.labels[here])
        assert (found["status"], found["alarms"]) == (monitor.AS_TRAINED, []), f"window from {start}"


@pytest.mark.slow
def test_every_kind_of_drift_raises_an_alarm(stream: tuple[Split, Judge]) -> None:
    test, judge = stream
    images = test.images[np.random.default_rng(1).permutation(10_000)[:500]]
    drifted = {
        "shifted right": np.roll(images, 2, axis=2),
        "shifted down": np.roll(images, 3, axis=1),
        "one class": test.images[test.labels == 3][:500],
        "inverted": 255 - images,
        "blank": np.zeros_like(images),
    }
    found = {name: judge(changed) for name, changed in drifted.items()}
    assert {name: result["status"] for name, result in found.items()} == dict.fromkeys(drifted, monitor.DRIFT)
    assert any("off_centre" in line for line in found["shifted right"]["alarms"])
    assert any("classes" in line for line in found["one class"]["alarms"])


@pytest.mark.slow
@pytest.mark.parametrize("stream", ["MNIST"], indirect=True)  # severities are those of MNIST
def test_every_corruption_raises_an_alarm(stream: tuple[Split, Judge]) -> None:
    test, judge = stream
    images = test.images[np.random.default_rng(1).permutation(10_000)[:500]]
    statuses = {name: judge(corrupt(images, name, 0))["status"] for name in CORRUPTIONS}
    assert statuses == dict.fromkeys(CORRUPTIONS, monitor.DRIFT)


@pytest.mark.slow
def test_wrong_labels_and_too_few_pictures_are_told(stream: tuple[Split, Judge]) -> None:
    test, judge = stream
    images, labels = test.images[:500], test.labels[:500]
    found = judge(images, (labels + 1) % 10)
    assert found["status"] == monitor.DRIFT and all("accuracy" in line for line in found["alarms"])
    accuracy = next(row for row in found["figures"] if row["name"] == "accuracy.cnn")
    assert accuracy["found"] < 0.05 and accuracy["interval"][0] <= accuracy["found"] <= accuracy["interval"][1]
    few = judge(images[: SETTINGS.minimum - 1])
    assert few["status"] == monitor.TOO_LITTLE


def test_the_most_unusual_pictures_come_first(digits: tuple[NDArray[np.uint8], NDArray[np.uint8]]) -> None:
    images, _ = digits
    trained_on = pd.concat([drift.measure(images)] * 2)
    changed = images.copy()
    changed[7] = changed[9] = 255 - changed[7]
    found = drift.most_unusual(trained_on, changed, 3)
    assert found[0] == 7 and 9 not in found and len(found) == 3
