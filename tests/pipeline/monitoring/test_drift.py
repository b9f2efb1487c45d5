"""Known effect sizes, and simulated streams: unchanged images raise no alarm, every kind of drift raises one."""

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
from pipeline.monitoring.drift import DriftMetric, Window
from pipeline.params import load_params
from recognition.classifier import Classifier
from recognition.out_of_distribution import OODScore
from tests.conftest import REPOSITORY, Project

SETTINGS = load_params().monitor
Assess = Callable[..., dict]


def test_a_shift_by_one_standard_deviation_has_an_effect_of_one() -> None:
    reference = np.array([1.0, 3.0] * 50)
    assert drift.mean_difference(reference, reference + 1) == pytest.approx(1)
    assert drift.mean_difference(reference, reference) == 0
    assert drift.mean_difference(np.zeros(9), np.full(9, 0.5), minimum_deviation=0.25) == pytest.approx(2)


def test_population_stability_sums_over_bins() -> None:
    reference, found = np.arange(100.0), np.repeat([5.0, 95.0], [20, 80])  # the first and the last of ten bins
    p, q = np.full(10, 10.5) / 105, np.array([20.5, *[0.5] * 8, 80.5]) / 105
    assert drift.population_stability(reference, found) == pytest.approx(float(((p - q) * np.log(p / q)).sum()))
    assert drift.population_stability(reference, reference) == 0


def test_divergence_of_known_distributions() -> None:
    p, q = np.array([0.5, 0.5, 0.0]), np.array([0.0, 0.0, 1.0])
    assert drift.divergence(p, p) == 0
    assert drift.divergence(p, q) == pytest.approx(1)
    half = np.array([1.0, 0.0, 0.0])
    assert drift.divergence(p, half) == pytest.approx(
        0.5 * (0.5 * np.log2(0.5 / 0.75) + 0.5 * np.log2(0.5 / 0.25)) + 0.5 * np.log2(1 / 0.75)
    )


def predictions(model: str, pictures: list[int], classes: list[int]) -> pd.DataFrame:
    return pd.DataFrame(
        {"model": model, "picture": pictures, "prediction": classes, "confidence": 1.0, "uncertain": False}
    )


def test_pictures_with_predictions_of_two_models_are_compared() -> None:
    one, other = predictions("a", [0, 1, 2], [4, 5, 6]), predictions("b", [1, 2, 3], [5, 7, 8])
    assert drift.models_differ(pd.concat([one, other])).tolist() == [False, True]
    assert drift.models_differ(one).tolist() == []
    assert drift.models_differ(one[:0]).tolist() == []


def test_a_window_is_compared_by_model_and_only_with_known_models(
    digits: tuple[NDArray[np.uint8], NDArray[np.uint8]],
) -> None:
    images, labels = digits
    every = list(range(40))
    training, correct = drift.image_features(images), labels.astype(int).tolist()
    reference = Window(images, labels.astype(int), pd.concat([predictions(name, every, correct) for name in "ab"]))
    found = pd.concat([predictions("a", every, correct), predictions("b", every[:20], [9] * 20)])
    some_labels = np.where(np.arange(40) < 10, labels.astype(int), -1)
    window = Window(images, some_labels, pd.concat([found, predictions("unknown", every, correct)]))
    metrics = {
        f"{metric.name} {metric.measure}": metric for metric in drift.compare(reference, training, window, SETTINGS, 10)
    }
    assert not any("unknown" in name for name in metrics)
    assert metrics["mean_intensity mean difference"].effect == 0
    assert (metrics["classes.a divergence"].effect, metrics["classes.b divergence"].found) == (0, 1)
    assert metrics["accuracy.b loss of a share"].found == 0 and metrics["accuracy.b loss of a share"].n == 10
    assert metrics["accuracy.a loss of a share"].effect == 0
    disagreement = metrics["disagreement rise of a share"]
    assert (disagreement.expected, disagreement.found, disagreement.n) == (0, 1, 20)
    assert drift.compare(reference, training, Window(images[:0], labels[:0].astype(int), found[:0]), SETTINGS, 10) == []


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
def test_an_alarm_requires_a_large_effect_and_enough_pictures(
    effect: float, n: int, interval: object, alarm: bool
) -> None:
    metric = DriftMetric("x", "y", 0.9, 0.7, effect, 1.0, n, 50, interval)  # type: ignore[arg-type]
    assert metric.alarm is alarm


def test_off_centre_is_the_distance_from_the_centred_range() -> None:
    def dot(row: int, column: int) -> NDArray[np.uint8]:
        image = np.zeros((28, 28), np.uint8)
        image[row : row + 2, column : column + 2] = 255  # its centre is half a pixel further
        return image

    centred, beside = np.stack([dot(13, 13), dot(14, 13)]), np.stack([dot(13, 16), dot(10, 13)])
    assert drift.image_features(centred)["off_centre"].tolist() == [0, 0]
    assert drift.image_features(beside)["off_centre"].tolist() == [2.0, 2.5]


def load(folder: Path) -> tuple[dict[str, Split], Assess]:
    """Returns the splits of a project, and a function that assesses images (with labels)."""
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

    def predict(images: NDArray[np.uint8], labels: NDArray[np.integer] | None = None) -> Window:
        tables = []
        for model, (classifier, score, threshold) in models.items():
            rows = classifier.probabilities(images)
            table = predictions(model, list(range(len(images))), rows.argmax(axis=1).tolist())
            table["confidence"] = rows.max(axis=1)
            table["uncertain"] = (rows.max(axis=1) < threshold) | score.rejects(rows, images)
            tables.append(table)
        return Window(images, np.full(len(images), -1) if labels is None else labels.astype(int), pd.concat(tables))

    training, expected = (
        drift.image_features(splits["train"].images),
        predict(splits["val"].images, splits["val"].labels),
    )

    def assess(images: NDArray[np.uint8], labels: NDArray[np.integer] | None = None) -> dict:
        window = predict(np.ascontiguousarray(images), labels)
        return monitor.assess_window(expected, training, window, load_dataset(splits["val"].dataset), SETTINGS)

    return splits, assess


@pytest.fixture(scope="module", params=["small project", "MNIST"])
def stream(request: pytest.FixtureRequest) -> tuple[Split, Assess]:
    """Images for windows of 500, and a function that assesses a window."""
    if request.param == "MNIST":
        if not (REPOSITORY / "data" / "prepared" / "test.npz").exists():
            pytest.skip("MNIST is not prepared: dvc repro")
        splits, assess = load(REPOSITORY)
        if splits["test"].dataset != "mnist":
            pytest.skip(f"{splits['test'].dataset} is prepared instead of MNIST")
        return splits["test"], assess
    project: Project = request.getfixturevalue("project")
    splits, assess = load(project.folder)
    # The test set has other writers, and small models are less accurate on them: an alarm would be correct
    known, random = splits["val"], np.random.default_rng(0)
    selected = random.integers(0, len(known.labels), 10_000)  # as many as MNIST's test set, sampled with replacement
    return Split(known.dataset, known.images[selected], known.labels[selected]), assess


@pytest.mark.slow
def test_unchanged_images_raise_no_alarm_in_twenty_windows(stream: tuple[Split, Assess]) -> None:
    test, assess = stream
    for start in range(0, 10_000, 500):
        found = assess(test.images[start : start + 500], test.labels[start : start + 500])
        assert (found["status"], found["alarms"]) == (monitor.AS_TRAINED, []), f"window from {start}"


@pytest.mark.slow
def test_every_kind_of_drift_raises_an_alarm(stream: tuple[Split, Assess]) -> None:
    test, assess = stream
    images = test.images[np.random.default_rng(1).permutation(10_000)[:500]]
    drifted = {
        "shifted right": np.roll(images, 2, axis=2),
        "shifted down": np.roll(images, 3, axis=1),
        "one class": test.images[test.labels == 3][:500],
        "inverted": 255 - images,
        "blank": np.zeros_like(images),
    }
    found = {name: assess(changed) for name, changed in drifted.items()}
    assert {name: result["status"] for name, result in found.items()} == dict.fromkeys(drifted, monitor.DRIFT)
    assert any("off_centre" in line for line in found["shifted right"]["alarms"])
    assert any("classes" in line for line in found["one class"]["alarms"])


@pytest.mark.slow
@pytest.mark.parametrize("stream", ["MNIST"], indirect=True)  # the severities are defined for MNIST
def test_every_corruption_raises_an_alarm(stream: tuple[Split, Assess]) -> None:
    test, assess = stream
    images = test.images[np.random.default_rng(1).permutation(10_000)[:500]]
    statuses = {name: assess(corrupt(images, name, 0))["status"] for name in CORRUPTIONS}
    assert statuses == dict.fromkeys(CORRUPTIONS, monitor.DRIFT)


@pytest.mark.slow
def test_wrong_labels_raise_an_alarm_and_few_pictures_do_not(stream: tuple[Split, Assess]) -> None:
    test, assess = stream
    images, labels = test.images[:500], test.labels[:500]
    found = assess(images, (labels + 1) % 10)
    assert found["status"] == monitor.DRIFT and all("accuracy" in line for line in found["alarms"])
    accuracy = next(row for row in found["figures"] if row["name"] == "accuracy.cnn")
    assert accuracy["found"] < 0.05 and accuracy["interval"][0] <= accuracy["found"] <= accuracy["interval"][1]
    few = assess(images[: SETTINGS.minimum - 1])
    assert few["status"] == monitor.TOO_LITTLE


def test_the_most_unusual_pictures_come_first(digits: tuple[NDArray[np.uint8], NDArray[np.uint8]]) -> None:
    images, _ = digits
    training = pd.concat([drift.image_features(images)] * 2)
    changed = images.copy()
    changed[7] = changed[9] = 255 - changed[7]
    found = drift.most_unusual(training, changed, 3)
    assert found[0] == 7 and 9 not in found and len(found) == 3
