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
from pipeline.evaluation.features import FEATURES, image_features
from pipeline.evaluation.reference import Reference, load_reference, make_reference
from pipeline.evaluation.statistics import accuracy_interval
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
    assert drift.mean_difference(np.zeros(9), np.full(9, 1e-9)) == pytest.approx(1)


def test_population_stability_sums_over_bins() -> None:
    reference, found = np.arange(100.0), np.repeat([5.0, 95.0], [20, 80])  # the first and the last of ten bins
    p, q = np.full(10, 10.5) / 105, np.array([20.5, *[0.5] * 8, 80.5]) / 105
    assert drift.population_stability(reference, found) == pytest.approx(float(((p - q) * np.log(p / q)).sum()))
    assert drift.population_stability(reference, reference) == 0
    halves, between = np.repeat([0.0, 1.0], 50), np.repeat([0.2, 1.0], 50)  # 0.2 is in the bin that begins at 0
    assert drift.population_stability(halves, between) == 0


def test_divergence_of_known_distributions() -> None:
    p, q = np.array([0.5, 0.5, 0.0]), np.array([0.0, 0.0, 1.0])
    assert drift.divergence(p, p) == 0
    assert drift.divergence(p, q) == pytest.approx(1)
    half = np.array([1.0, 0.0, 0.0])
    assert drift.divergence(p, half) == pytest.approx(
        0.5 * (0.5 * np.log2(0.5 / 0.75) + 0.5 * np.log2(0.5 / 0.25)) + 0.5 * np.log2(1 / 0.75)
    )


def predictions(model: str, version: str, pictures: list[int], classes: list[int]) -> pd.DataFrame:
    shared = {"confidence": 1.0, "uncertain": False}
    return pd.DataFrame({"model": model, "version": version, "picture": pictures, "prediction": classes, **shared})


def reference(images: NDArray[np.uint8], labels: NDArray[np.uint8], classes: NDArray[np.integer]) -> Reference:
    """Returns the reference of a model that was trained on the images and predicts `classes` for them."""
    probabilities = np.eye(10, dtype=np.float32)[classes]
    return make_reference(images, Split("mnist", images, labels), probabilities, np.zeros(len(images), bool))


Digits = tuple[NDArray[np.uint8], NDArray[np.uint8]]


def test_every_version_is_compared_with_its_own_reference(digits: Digits) -> None:
    images, labels = digits
    inverted, labelled = 255 - images, np.where(np.arange(40) < 10, labels.astype(int), -1)
    first, second = list(range(20)), list(range(20, 40))
    rows = [predictions("cnn", "1", first, [9] * 20), predictions("cnn", "2", second, labels[second].tolist())]
    window = Window(np.concatenate([images[:20], inverted[20:]]), labelled, pd.concat(rows))
    features = image_features(window.images)
    references = {
        ("cnn", "1"): reference(images[:20], labels[:20], labels[:20]),
        ("cnn", "2"): reference(inverted[20:], labels[20:], labels[20:]),
    }
    found = {
        f"{metric.name} {metric.measure}": metric
        for version in references
        for metric in drift.compare_version(version, references[version], window, features, SETTINGS, 10)
    }
    # The second version was trained on inverted images, so inverted requests are no drift for it
    assert found["mean_intensity.cnn.v1 mean difference"].effect == pytest.approx(0, abs=0.05)
    assert found["mean_intensity.cnn.v2 mean difference"].effect == pytest.approx(0, abs=0.05)
    other = drift.compare_version(("cnn", "2"), references["cnn", "1"], window, features, SETTINGS, 10)
    assert next(metric for metric in other if metric.name.startswith("mean_intensity")).effect > 1
    assert (found["classes.cnn.v1 divergence"].found, found["classes.cnn.v2 divergence"].effect) == (1, 0)
    accuracy = found["accuracy.cnn.v1 loss of a share"]
    assert (accuracy.expected, accuracy.found, accuracy.n) == (1, 0, 10)
    assert "accuracy.cnn.v2 loss of a share" not in found  # none of its pictures has a label


def test_a_feature_that_is_constant_in_training_has_a_minimum_deviation() -> None:
    training, current = (pd.DataFrame({name: np.full(10, value) for name in FEATURES}) for value in (1.0, 1.5))
    metrics = drift.compare_features("cnn.v1", training, current, SETTINGS)
    assert [metric.name for metric in metrics] == [f"{name}.cnn.v1" for name in FEATURES for _ in range(2)]
    found = {metric.name: metric for metric in metrics[::2]}
    assert found["off_centre.cnn.v1"].effect == pytest.approx(2)  # 0.5 pixels, 0.25 at least
    assert found["spread.cnn.v1"].effect == pytest.approx(5e8)


def test_each_metric_of_the_answers_has_its_own_limits() -> None:
    settings = SETTINGS.model_copy(
        update={"minimum": 7, "minimum_labels": 3, "divergence": 0.1, "population_stability": 0.2}
        | {"uncertain": 0.3, "accuracy": 0.4}
    )
    confidences = np.linspace(0.5, 1, 10, dtype=np.float32)
    labels, classes, uncertain = np.repeat([0, 1], [3, 7]), np.repeat([0, 1], 5), np.arange(10) < 2
    trained = Reference(pd.DataFrame(), "", labels, classes, confidences, uncertain)  # two of ten are wrong
    rows = predictions("cnn", "1", list(range(8)), [0, 0, 0, 0, 0, 0, 1, 1])
    rows["uncertain"], rows["confidence"] = [True] * 4 + [False] * 4, 0.75
    given = np.array([0, 1, 1, 1, -1, -1, -1, -1])
    stability = drift.population_stability(confidences, np.full(8, 0.75))
    assert drift.compare_answers("cnn.v1", trained, rows, given, settings, 2) == [
        DriftMetric("classes.cnn.v1", "divergence", 0.5, 0.75, pytest.approx(0.048795, abs=1e-6), 0.1, 8, 7),
        DriftMetric("confidence.cnn.v1", "population stability", pytest.approx(0.75), 0.75, stability, 0.2, 8, 7),
        DriftMetric("uncertain.cnn.v1", "rise of a share", 0.2, 0.5, 0.3, 0.3, 8, 7),
        DriftMetric("accuracy.cnn.v1", "loss of a share", 0.8, 0.25, pytest.approx(0.55), 0.4, 4, 3, wilson(1, 4)),
    ]


def wilson(correct: int, of: int) -> tuple[float, float]:
    return accuracy_interval(np.arange(of) < correct)


def test_a_metric_is_one_line() -> None:
    metric = DriftMetric("classes.cnn.v1", "divergence", 0.5, 0.75, 0.12345, 0.05, 1000, 7)
    assert str(metric) == "classes.cnn.v1: divergence 0.123, threshold 0.05; found 0.75, expected 0.5, 1,000 pictures"


def test_disagreement_is_that_of_the_versions_that_answered_the_same_pictures(digits: Digits) -> None:
    images, labels = digits
    wrong = (labels + 1) % 10
    references = {
        ("cnn", "1"): reference(images, labels, labels),
        ("mlp", "2"): reference(images, labels, np.where(np.arange(40) < 10, wrong, labels)),
        ("mlp", "1"): reference(images[:20], labels[:20], labels[:20]),
    }
    rows = [
        predictions("cnn", "1", list(range(40)), labels.tolist()),
        predictions("mlp", "2", list(range(10)), [*wrong[:5], *labels[5:10]]),
        predictions("mlp", "1", list(range(10, 30)), wrong[10:30].tolist()),
        predictions("old", "9", list(range(40)), wrong.tolist()),  # without a reference
    ]
    window = Window(images, np.full(40, -1), pd.concat(rows))
    metrics, notes = drift.compare_disagreement(references, window, SETTINGS)
    name, limits = "disagreement.cnn.v1.mlp.v2", (SETTINGS.disagreement, 10, SETTINGS.minimum)
    assert metrics == [DriftMetric(name, "rise of a share", 0.25, 0.5, 0.25, *limits)]
    assert notes == [
        "disagreement of cnn v1 and mlp v1: not compared, they were evaluated on different validation images"
    ]


def test_answers_of_a_version_without_a_reference_raise_no_alarm(digits: Digits) -> None:
    images, labels = digits
    settings = SETTINGS.model_copy(update={"minimum": 20, "population_stability": 9.0})  # 20 pictures vary by chance
    answered = predictions("cnn", "1", list(range(20)), labels[:20].tolist())
    rows = [answered, predictions("old", "9", list(range(20, 40)), [3] * 20)]
    window = Window(np.concatenate([images[:20], 255 - images[20:]]), np.full(40, -1), pd.concat(rows))
    references = {("cnn", "1"): reference(images[:20], labels[:20], labels[:20])}
    dataset = load_dataset("mnist").model_copy(update={"expected": wide_expectations()})

    def status(known: dict, **changes: int) -> tuple[int, list[str]]:
        limits = settings.model_copy(update=changes)
        found = monitor.assess_window(known, window, image_features(window.images), dataset, limits)
        return found["status"], found["alarms"]

    assert status(references) == (monitor.AS_TRAINED, [])
    assert status({}) == (monitor.TOO_LITTLE, [])
    assert status(references | {("old", "9"): references["cnn", "1"]})[0] == monitor.DRIFT
    assert status(references, minimum=21) == (monitor.TOO_LITTLE, [])


def wide_expectations() -> object:
    """Rules that the drawn digits satisfy."""
    expected = load_dataset("mnist").expected
    return expected.model_copy(update={"ink_fraction": (0.0, 1.0), "centre_of_mass": (0.0, 27.0)})


@pytest.mark.parametrize(
    ("effect", "n", "interval", "alarm"),
    [
        (1.0, 50, None, True),
        (0.9, 50, None, False),
        (1.0, 49, None, False),
        (1.0, 50, (0.5, 0.8), True),
        (1.0, 50, (0.5, 0.9), False),  # ends at what is expected
        (1.0, 50, (0.5, 0.95), False),
    ],
)
def test_an_alarm_requires_a_large_effect_and_enough_pictures(
    effect: float, n: int, interval: object, alarm: bool
) -> None:
    metric = DriftMetric("x", "y", 0.9, 0.7, effect, 1.0, n, 50, interval)  # type: ignore[arg-type]
    assert metric.alarm is alarm


def load(folder: Path, halves: bool = False) -> tuple[dict[str, Split], Assess]:
    """Returns the splits of a project, and a function that assesses images (with labels).

    `halves`: the reference has one half of the training images, and the split `other` is the other half.
    """
    splits = {}
    for name in ("train", "val", "test"):
        with np.load(folder / "data" / "prepared" / f"{name}.npz") as content:
            splits[name] = Split(str(content["dataset"]), content["images"], content["labels"])
    if halves:
        train = splits["train"]
        order = np.random.default_rng(0).permutation(len(train.labels))
        splits["train"], splits["other"] = (
            Split(train.dataset, train.images[half], train.labels[half]) for half in np.array_split(order, 2)
        )
    models, references = {}, {}
    for model in sorted(path.parent.name for path in folder.glob("models/*/model.tflite")):
        evaluation = folder / "evaluations" / model
        score = OODScore.from_card(read_json(evaluation / "ood_score.json"))
        threshold = read_json(evaluation / "evaluation.json")["metrics"]["val"]["threshold"]
        models[model] = (Classifier(folder / "models" / model / "model.tflite"), score, threshold)
        references[model, "1"] = load_reference(evaluation / "reference.npz")
        if halves:
            half = splits["train"]  # the few validation images give no accuracy that 500 pictures could be held against
            rows = models[model][0].probabilities(half.images)
            uncertain = (rows.max(axis=1) < threshold) | score.rejects(rows, half.images)
            references[model, "1"] = make_reference(half.images, half, rows, uncertain)
    assert references and None not in references.values()

    def predict(images: NDArray[np.uint8], labels: NDArray[np.integer] | None = None) -> Window:
        tables = []
        for model, (classifier, score, threshold) in models.items():
            rows = classifier.probabilities(images)
            table = predictions(model, "1", list(range(len(images))), rows.argmax(axis=1).tolist())
            table["confidence"] = rows.max(axis=1)
            table["uncertain"] = (rows.max(axis=1) < threshold) | score.rejects(rows, images)
            tables.append(table)
        return Window(images, np.full(len(images), -1) if labels is None else labels.astype(int), pd.concat(tables))

    def assess(images: NDArray[np.uint8], labels: NDArray[np.integer] | None = None) -> dict:
        window = predict(np.ascontiguousarray(images), labels)
        dataset, features = load_dataset(splits["val"].dataset), image_features(window.images)
        return monitor.assess_window(references, window, features, dataset, SETTINGS)  # type: ignore[arg-type]

    return splits, assess


@pytest.fixture(scope="module", params=["small project", "MNIST"])
def stream(request: pytest.FixtureRequest) -> tuple[Split, Assess]:
    """Images for windows of 500, and a function that assesses a window."""
    if request.param == "MNIST":
        if not [*REPOSITORY.glob("evaluations/*/reference.npz")]:
            pytest.skip("MNIST is not evaluated: dvc repro")
        splits, assess = load(REPOSITORY)
        if splits["test"].dataset != "mnist":
            pytest.skip(f"{splits['test'].dataset} is prepared instead of MNIST")
        return splits["test"], assess
    project: Project = request.getfixturevalue("project")
    splits, assess = load(project.folder, halves=True)
    # The test set has other writers, and small models are less accurate on them: an alarm would be correct. Training
    # images that the reference has not seen come from its writers, and there are enough of them.
    other, random = splits["other"], np.random.default_rng(0)
    selected = random.integers(0, len(other.labels), 10_000)  # as many as MNIST's test set, sampled with replacement
    return Split(other.dataset, other.images[selected], other.labels[selected]), assess


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
    accuracy = next(row for row in found["figures"] if row["name"] == "accuracy.cnn.v1")
    assert accuracy["found"] < 0.05 and accuracy["interval"][0] <= accuracy["found"] <= accuracy["interval"][1]
    few = assess(images[: SETTINGS.minimum - 1])
    assert few["status"] == monitor.TOO_LITTLE


def test_the_most_unusual_pictures_come_first(digits: Digits) -> None:
    images, labels = digits
    changed = np.concatenate([images, 255 - images[:1]])
    changed[7] = changed[9] = 255 - changed[7]
    rows = predictions("cnn", "1", list(range(40)), labels.tolist())
    window = Window(changed, np.full(41, -1), pd.concat([rows, predictions("old", "9", [40], [0])]))
    references = {("cnn", "1"): reference(images, labels, labels)}
    found = drift.most_unusual(references, window, image_features(changed), 3)
    assert found[0] == 7 and 9 not in found and len(found) == 3
    assert 40 not in drift.most_unusual(references, window, image_features(changed), 99)  # no reference to compare with


def test_the_distance_is_in_standard_deviations_of_the_training_images() -> None:
    spread, off_centre = [0.4, 0.1, -0.25, 0.1, 9.0, 0.15], [0.0, 0.8, 0.0, 0.0, 9.0, 0.0]
    grey = [1, 1, 1, 1, 9, 1 + 1e-10]
    features = pd.DataFrame({"spread": spread, "off_centre": off_centre, "grey": grey})
    training = pd.DataFrame({"spread": [0.0, 0.2], "off_centre": [0.0, 0.0], "grey": [1.0, 1.0]})
    nothing = np.zeros(0, np.uint8)
    references = {("cnn", "1"): Reference(training, "", nothing, nothing, np.zeros(0, np.float32), np.zeros(0, bool))}
    images = np.arange(6, dtype=np.uint8)[:, None, None] * np.ones((1, 28, 28), np.uint8)
    rows = [predictions("cnn", "1", [0, 1, 2, 3, 5], [0] * 5), predictions("old", "9", [4], [0])]
    window = Window(images, np.full(6, -1), pd.concat(rows))
    # Deviations 0.1 and, at least, 0.25 and 1e-9: squared distances 9, 10.24, 12.25, 0, none, 0.26
    assert drift.most_unusual(references, window, features, 9) == [2, 1, 0, 5, 3]
