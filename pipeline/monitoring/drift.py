"""Drift metrics: effect sizes between logged requests and the references of the versions that answered them."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial.distance import jensenshannon

from pipeline.evaluation.features import FEATURES
from pipeline.evaluation.reference import Reference
from pipeline.evaluation.statistics import accuracy_interval
from pipeline.params import Monitor

BINS = 10  # with equal counts of the reference
MINIMUM_DEVIATIONS = {"off_centre": 0.25}  # pixels; the standard deviation of the training images is 0

Values = NDArray[np.floating[Any]]
Version = tuple[str, str]  # a model's name and the number of its version in the registry
References = Mapping[Version, Reference]
VERSION_COLUMNS = ["model", "version"]  # of the logged predictions


@dataclass(frozen=True)
class Window:
    """Pictures, uint8 (n, 28, 28), with labels (n,), -1 for unlabelled pictures, and the logged predictions.

    `predictions` has the columns model, version, picture (index into `images`), prediction, confidence, uncertain.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.integer[Any]]
    predictions: pd.DataFrame

    def by_version(self) -> dict[Version, pd.DataFrame]:
        """Returns the rows of `predictions` of each version that answered."""
        return {(str(name), str(number)): rows for (name, number), rows in self.predictions.groupby(VERSION_COLUMNS)}


def title(version: Version) -> str:
    """Returns a version as text: "cnn v3"."""
    return f"{version[0]} v{version[1]}"


def key(*versions: Version) -> str:
    """Returns versions as a part of a metric's name: "cnn.v3.mlp.v4"."""
    return ".".join(f"{name}.v{number}" for name, number in versions)


@dataclass(frozen=True)
class DriftMetric:
    """One metric over `n` pictures. It raises an alarm if `n >= minimum` and `effect >= threshold`.

    With an `interval` (of an accuracy), its upper end must also be below `expected`.
    """

    name: str
    measure: str
    expected: float
    found: float
    effect: float
    threshold: float
    n: int
    minimum: int
    interval: tuple[float, float] | None = None

    @property
    def alarm(self) -> bool:
        below = self.interval is None or self.interval[1] < self.expected
        return self.n >= self.minimum and self.effect >= self.threshold and below

    def __str__(self) -> str:
        effect = f"{self.measure} {self.effect:.3g}, threshold {self.threshold:g}"
        return f"{self.name}: {effect}; found {self.found:.4g}, expected {self.expected:.4g}, {self.n:,} pictures"


def mean_difference(reference: Values, found: Values, minimum_deviation: float = 1e-9) -> float:
    """Standardised mean difference: |mean(found) - mean(reference)| in standard deviations of the reference."""
    return float(abs(found.mean() - reference.mean()) / max(reference.std(), minimum_deviation))


def population_stability(reference: Values, found: Values) -> float:
    """Population stability index over BINS quantiles of the reference: sum of (p - q) ln(p / q).

    Half a count is added to every bin, so that empty bins stay finite. Siddiqi, Credit Risk Scorecards (2006).
    """
    edges = np.unique(np.quantile(reference, np.linspace(0, 1, BINS + 1)[1:-1]))
    shares = []
    for values in (reference, found):
        counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1) + 0.5
        shares.append(counts / counts.sum())
    return float(((shares[0] - shares[1]) * np.log(shares[0] / shares[1])).sum())


def divergence(reference: Values, found: Values) -> float:
    """Jensen-Shannon divergence of two distributions, 0 to 1 bit. Lin, IEEE Trans. Inf. Theory 37 (1991)."""
    return float(jensenshannon(reference, found, base=2) ** 2)


def compare_version(
    version: Version, reference: Reference, window: Window, features: pd.DataFrame, settings: Monitor, classes: int
) -> list[DriftMetric]:
    """Returns the metrics of the pictures that one version answered, and of its answers.

    `features`: the `image_features` of all images of the window.
    """
    rows, name = window.by_version()[version], key(version)
    current = features.iloc[rows["picture"].to_numpy(int)]
    return [
        *compare_features(name, reference.training, current, settings),
        *compare_answers(name, reference, rows, window.labels[rows["picture"].to_numpy(int)], settings, classes),
    ]


def compare_features(name: str, training: pd.DataFrame, current: pd.DataFrame, settings: Monitor) -> list[DriftMetric]:
    """Returns two metrics for each of the FEATURES."""
    metrics = []
    for feature in FEATURES:
        old, new = training[feature].to_numpy(), current[feature].to_numpy()
        expected, found = float(old.mean()), float(new.mean())
        effect = mean_difference(old, new, MINIMUM_DEVIATIONS.get(feature, 1e-9))
        limits = (settings.mean_difference, len(new), settings.minimum)
        metrics.append(DriftMetric(f"{feature}.{name}", "mean difference", expected, found, effect, *limits))
        metrics.append(stability(f"{feature}.{name}", old, new, settings))
    return metrics


def compare_answers(
    name: str,
    reference: Reference,
    rows: pd.DataFrame,
    labels: NDArray[np.integer[Any]],
    settings: Monitor,
    classes: int,
) -> list[DriftMetric]:
    """Returns the metrics of classes, confidence, uncertain answers and, with labels, accuracy.

    `rows`: the version's answers; `labels` (n,): the labels of their pictures, -1 for none.
    """
    predictions = rows["prediction"].to_numpy(int)
    before, after = (
        np.bincount(given, minlength=classes) / len(given) for given in (reference.predictions, predictions)
    )
    expected, found = float(before.max()), float(after.max())
    limits = (settings.divergence, len(rows), settings.minimum)
    metrics = [
        DriftMetric(f"classes.{name}", "divergence", expected, found, divergence(before, after), *limits),
        stability(f"confidence.{name}", reference.confidences, rows["confidence"].to_numpy(), settings),
        rise(f"uncertain.{name}", reference.uncertain, rows["uncertain"].to_numpy(bool), settings.uncertain, settings),
    ]
    correct = (predictions == labels)[labels >= 0]
    if len(correct):
        expected = float((reference.predictions == reference.labels).mean())
        found, interval = float(correct.mean()), accuracy_interval(correct)
        limits = (settings.accuracy, len(correct), settings.minimum_labels)
        loss = expected - found
        metrics.append(DriftMetric(f"accuracy.{name}", "loss of a share", expected, found, loss, *limits, interval))
    return metrics


def compare_disagreement(
    references: References, window: Window, settings: Monitor
) -> tuple[list[DriftMetric], list[str]]:
    """Returns a metric for each set of versions that answered the same pictures, and notes on sets left out.

    The expected rate is that of the versions' own predictions for the validation images, so these must be the same.
    """
    answers: dict[int, dict[Version, int]] = defaultdict(dict)
    for version, rows in window.by_version().items():
        if version in references:
            for picture, prediction in zip(rows["picture"], rows["prediction"], strict=True):
                answers[picture][version] = prediction
    found: dict[tuple[Version, ...], list[bool]] = defaultdict(list)
    for given in answers.values():
        if len(given) >= 2:
            found[tuple(sorted(given))].append(len({*given.values()}) > 1)
    metrics, notes = [], []
    for versions, differ in sorted(found.items()):
        if len({references[version].images for version in versions}) > 1:
            names = " and ".join(map(title, versions))
            notes.append(f"disagreement of {names}: not compared, they were evaluated on different validation images")
            continue
        predictions = np.stack([references[version].predictions for version in versions])
        expected = (predictions != predictions[0]).any(axis=0)
        name = f"disagreement.{key(*versions)}"
        metrics.append(rise(name, expected, np.array(differ), settings.disagreement, settings))
    return metrics, notes


def stability(name: str, old: Values, new: Values, settings: Monitor) -> DriftMetric:
    """Returns the metric of the population stability of two samples."""
    effect, limits = population_stability(old, new), (settings.population_stability, len(new), settings.minimum)
    return DriftMetric(name, "population stability", float(old.mean()), float(new.mean()), effect, *limits)


def rise(name: str, old: NDArray[np.bool_], new: NDArray[np.bool_], threshold: float, settings: Monitor) -> DriftMetric:
    """Returns the metric of the rise of the share of True."""
    expected, found = float(old.mean()), float(new.mean())
    return DriftMetric(
        name, "rise of a share", expected, found, found - expected, threshold, len(new), settings.minimum
    )


def most_unusual(references: References, window: Window, features: pd.DataFrame, count: int) -> list[int]:
    """Returns indices of the `count` images farthest from the training images, without duplicate images.

    The distance is Euclidean, with each feature scaled by its standard deviation; the largest of the versions counts.
    """
    distances = np.full(len(window.images), -1.0)
    for version, rows in window.by_version().items():
        if version in references:
            training, pictures = references[version].training, rows["picture"].to_numpy(int)
            least = pd.Series(MINIMUM_DEVIATIONS).reindex(training.columns, fill_value=1e-9)
            deviation = training.std(ddof=0).clip(lower=least)
            distance = ((features.iloc[pictures] - training.mean()) / deviation).pow(2).sum(axis=1).to_numpy()
            distances[pictures] = np.maximum(distances[pictures], distance)
    distinct: dict[bytes, int] = {}
    for index in np.argsort(-distances, kind="stable"):
        if distances[index] >= 0:
            distinct.setdefault(window.images[index].tobytes(), int(index))
    return list(distinct.values())[:count]
