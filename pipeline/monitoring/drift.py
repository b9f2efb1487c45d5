"""Drift metrics: effect sizes between logged requests and the images that a model was trained and evaluated on."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial.distance import jensenshannon

from pipeline.evaluation.statistics import accuracy_interval
from pipeline.params import Monitor

BINS = 10  # with equal counts of the reference
INK = 127  # brighter pixels count as ink
FEATURES = {  # of an image, with the unit
    "mean_intensity": "mean intensity (0 to 255)",
    "ink_fraction": "share of pixels above 0",
    "grey": "pixels of medium intensity per ink pixel",
    "unevenness": "standard deviation of the ink pixels (0 to 127)",
    "off_centre": "centre of mass outside the centred range (pixels)",
    "spread": "distance of the ink from its centre (pixels)",
}
# The centre of mass is near 14 in MNIST and near 13.5 after our preprocessing: both count as centred
CENTRE, CENTRE_TOLERANCE = 13.75, 0.75
MINIMUM_DEVIATIONS = {"off_centre": 0.25}  # pixels; the standard deviation of the training images is 0

Values = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Window:
    """Pictures, uint8 (n, 28, 28), with labels (n,), -1 for unlabelled pictures, and the models' predictions.

    `predictions` has the columns model, picture (index into `images`), prediction, confidence, uncertain.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.integer[Any]]
    predictions: pd.DataFrame


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


def image_features(images: NDArray[np.uint8]) -> pd.DataFrame:
    """Returns the FEATURES of uint8 (n, 28, 28), one row per image. The centre of a blank image is at 0."""
    intensity, ink = images.astype(np.float64), images > INK
    total, position = np.maximum(intensity.sum(axis=(1, 2)), 1e-9), np.arange(images.shape[1])
    count = np.maximum(ink.sum(axis=(1, 2)), 1)
    by_row, by_column = intensity.sum(axis=2), intensity.sum(axis=1)
    row, column = by_row @ position / total, by_column @ position / total
    variance = (by_row + by_column) @ position**2 / total - row**2 - column**2
    mean = (intensity * ink).sum(axis=(1, 2)) / count
    offset = np.maximum(np.abs(row - CENTRE), np.abs(column - CENTRE))
    return pd.DataFrame(
        {
            "mean_intensity": intensity.mean(axis=(1, 2)),
            "ink_fraction": (images > 0).mean(axis=(1, 2)),
            "grey": ((images > 40) & (images < 215)).sum(axis=(1, 2)) / count,
            "unevenness": np.sqrt((((intensity - mean[:, None, None]) * ink) ** 2).sum(axis=(1, 2)) / count),
            "off_centre": np.maximum(offset - CENTRE_TOLERANCE, 0),
            "spread": np.sqrt(np.maximum(variance, 0)),
        }
    )


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


def models_differ(predictions: pd.DataFrame) -> NDArray[np.bool_]:
    """Returns for each picture with predictions of two or more models whether they differ."""
    pictures = predictions.groupby("picture")["prediction"].agg(["size", "nunique"])
    return (pictures.loc[pictures["size"] >= 2, "nunique"] > 1).to_numpy(dtype=bool)


def compare(
    reference: Window, training: pd.DataFrame, window: Window, settings: Monitor, classes: int
) -> list[DriftMetric]:
    """Returns all metrics of a window.

    `reference` holds the validation images, `training` the `image_features` of the training images. Models without
    reference predictions are left out.
    """
    metrics = compare_features(training, image_features(window.images), settings) if len(window.images) else []
    models = sorted({*window.predictions["model"]} & {*reference.predictions["model"]})
    for model in models:
        metrics += compare_model(model, reference, window, settings, classes)
    old, new = (models_differ(side[side["model"].isin(models)]) for side in (reference.predictions, window.predictions))
    if len(new):
        metrics.append(rise("disagreement", old, new, settings.disagreement, settings.minimum))
    return metrics


def compare_features(training: pd.DataFrame, current: pd.DataFrame, settings: Monitor) -> list[DriftMetric]:
    """Returns two metrics for each of the FEATURES."""
    metrics = []
    for name in FEATURES:
        old, new = training[name].to_numpy(), current[name].to_numpy()
        expected, found = float(old.mean()), float(new.mean())
        effect = mean_difference(old, new, MINIMUM_DEVIATIONS.get(name, 1e-9))
        limits = (settings.mean_difference, len(new), settings.minimum)
        metrics.append(DriftMetric(name, "mean difference", expected, found, effect, *limits))
        metrics.append(stability(name, old, new, settings))
    return metrics


def compare_model(name: str, reference: Window, window: Window, settings: Monitor, classes: int) -> list[DriftMetric]:
    """Returns the metrics of one model's classes, confidence, uncertain predictions and, with labels, accuracy."""
    old, new = (side.predictions[side.predictions["model"] == name] for side in (reference, window))
    before, after = (np.bincount(rows["prediction"], minlength=classes) / len(rows) for rows in (old, new))
    confidence, uncertain = ((old[column].to_numpy(), new[column].to_numpy()) for column in ("confidence", "uncertain"))
    expected, found = float(before.max()), float(after.max())
    limits = (settings.divergence, len(new), settings.minimum)
    metrics = [
        DriftMetric(f"classes.{name}", "divergence", expected, found, divergence(before, after), *limits),
        stability(f"confidence.{name}", *confidence, settings),
        rise(f"uncertain.{name}", *uncertain, settings.uncertain, settings.minimum),
    ]
    labels = window.labels[new["picture"].to_numpy(int)]
    correct = (new["prediction"].to_numpy(int) == labels)[labels >= 0]
    if len(correct):
        expected = float((old["prediction"].to_numpy(int) == reference.labels[old["picture"]]).mean())
        found, interval = float(correct.mean()), accuracy_interval(correct)
        limits = (settings.accuracy, len(correct), settings.minimum_labels)
        loss = expected - found
        metrics.append(DriftMetric(f"accuracy.{name}", "loss of a share", expected, found, loss, *limits, interval))
    return metrics


def stability(name: str, old: Values, new: Values, settings: Monitor) -> DriftMetric:
    """Returns the metric of the population stability of two samples."""
    effect, limits = population_stability(old, new), (settings.population_stability, len(new), settings.minimum)
    return DriftMetric(name, "population stability", float(old.mean()), float(new.mean()), effect, *limits)


def rise(name: str, old: NDArray[np.bool_], new: NDArray[np.bool_], threshold: float, minimum: int) -> DriftMetric:
    """Returns the metric of the rise of the share of True."""
    expected, found = float(old.mean()), float(new.mean())
    return DriftMetric(name, "rise of a share", expected, found, found - expected, threshold, len(new), minimum)


def most_unusual(training: pd.DataFrame, images: NDArray[np.uint8], count: int) -> list[int]:
    """Returns indices of the `count` images farthest from the training images, without duplicate images.

    The distance is Euclidean, with each feature scaled by its standard deviation.
    """
    deviation = training.std(ddof=0).clip(
        lower=pd.Series(MINIMUM_DEVIATIONS).reindex(training.columns, fill_value=1e-9)
    )
    distance = ((image_features(images) - training.mean()) / deviation).pow(2).sum(axis=1).to_numpy()
    distinct: dict[bytes, int] = {}
    for index in np.argsort(-distance, kind="stable"):
        distinct.setdefault(images[index].tobytes(), int(index))
    return list(distinct.values())[:count]
