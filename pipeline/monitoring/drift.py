"""How far pictures and answers are from those that a model was trained and judged on: effect sizes, no p-values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.evaluation.statistics import accuracy_interval
from pipeline.params import Monitor

BINS = 10  # of equal reference counts
MEASURES = {  # of each picture, with the unit
    "mean_intensity": "mean intensity (0 to 255)",
    "ink_fraction": "share of inked pixels",
    "grey": "half-dark pixels for each dark one",
    "unevenness": "deviation of the dark pixels (0 to 127)",
    "off_centre": "centre of mass beside the middle (pixels)",
    "spread": "distance of the ink from its centre (pixels)",
}
# MNIST's centres of mass lie around 14, those that our preprocessing makes around 13.5: both count as centred
MIDDLE, CENTRED = 13.75, 0.75
LEAST_DEVIATION = {"off_centre": 0.25}  # pixels; in training images it is 0

Numbers = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Answers:
    """What one model said to the pictures numbered `picture`, all (n,)."""

    picture: NDArray[np.integer[Any]]
    prediction: NDArray[np.integer[Any]]
    confidence: Numbers
    uncertain: NDArray[np.bool_]


@dataclass(frozen=True)
class Window:
    """Pictures, uint8 (n, 28, 28), what each model said to them, and their labels, -1 where nobody gave one."""

    images: NDArray[np.uint8]
    answers: Mapping[str, Answers]
    labels: NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Figure:
    """One thing that is watched: `effect` alarms from `threshold` on, where at least `minimum` pictures show it."""

    name: str
    measure: str
    expected: float
    found: float
    effect: float
    threshold: float
    n: int
    minimum: int
    interval: tuple[float, float] | None = None  # of an accuracy: must lie below what is expected

    @property
    def alarm(self) -> bool:
        below = self.interval is None or self.interval[1] < self.expected
        return self.n >= self.minimum and self.effect >= self.threshold and below


def measure(images: NDArray[np.uint8]) -> pd.DataFrame:
    """The MEASURES of each picture, one row each; a blank picture's centre lies at 0."""
    ink, dark = images.astype(np.float64), images > 127
    total, place = np.maximum(ink.sum(axis=(1, 2)), 1e-9), np.arange(images.shape[1])
    count = np.maximum(dark.sum(axis=(1, 2)), 1)
    by_row, by_column = ink.sum(axis=2), ink.sum(axis=1)
    row, column = by_row @ place / total, by_column @ place / total
    variance = (by_row + by_column) @ place**2 / total - row**2 - column**2
    mean = (ink * dark).sum(axis=(1, 2)) / count
    beside = np.maximum(np.abs(row - MIDDLE), np.abs(column - MIDDLE))
    return pd.DataFrame(
        {
            "mean_intensity": ink.mean(axis=(1, 2)),
            "ink_fraction": (images > 0).mean(axis=(1, 2)),
            "grey": ((images > 40) & (images < 215)).sum(axis=(1, 2)) / count,
            "unevenness": np.sqrt((((ink - mean[:, None, None]) * dark) ** 2).sum(axis=(1, 2)) / count),
            "off_centre": np.maximum(beside - CENTRED, 0),
            "spread": np.sqrt(np.maximum(variance, 0)),
        }
    )


def mean_difference(reference: Numbers, found: Numbers, least_deviation: float = 1e-9) -> float:
    """Standardised mean difference: |mean(found) - mean(reference)| in standard deviations of the reference."""
    return float(abs(found.mean() - reference.mean()) / max(reference.std(), least_deviation))


def population_stability(reference: Numbers, found: Numbers) -> float:
    """Population stability index over BINS quantiles of the reference: sum of (p - q) ln(p / q).

    Half a picture is added to every bin, so that an empty one counts as rare. Siddiqi, Credit Risk Scorecards (2006).
    """
    inner = np.unique(np.quantile(reference, np.linspace(0, 1, BINS + 1)[1:-1]))
    shares = []
    for values in (reference, found):
        counts = np.bincount(np.searchsorted(inner, values, side="right"), minlength=len(inner) + 1) + 0.5
        shares.append(counts / counts.sum())
    return float(((shares[0] - shares[1]) * np.log(shares[0] / shares[1])).sum())


def divergence(reference: Numbers, found: Numbers) -> float:
    """Jensen-Shannon divergence of two distributions, 0 to 1 bit. Lin, IEEE Trans. Inf. Theory 37 (1991)."""
    middle = (reference + found) / 2
    halves = [np.sum(p[p > 0] * np.log2(p[p > 0] / middle[p > 0])) for p in (reference, found)]
    return float(sum(halves) / 2)


def agreeing(answers: Mapping[str, Answers]) -> NDArray[np.bool_]:
    """For each picture that at least two models answered, whether all said the same."""
    said = pd.DataFrame({name: pd.Series(rows.prediction, rows.picture) for name, rows in answers.items()})
    said = said[said.notna().sum(axis=1) >= 2]
    return (said.nunique(axis=1) == 1).to_numpy(dtype=bool)


def compare(reference: Window, pictures: pd.DataFrame, window: Window, settings: Monitor, classes: int) -> list[Figure]:
    """Every figure of a window. `pictures`: MEASURES of training images; `reference`: validation images and answers."""
    figures = compare_pictures(pictures, measure(window.images), settings) if len(window.images) else []
    known = {name: rows for name, rows in window.answers.items() if name in reference.answers}
    for name, rows in known.items():
        figures += compare_answers(name, reference.answers[name], rows, settings, classes)
        figures += compare_accuracy(name, reference, window, settings)
    before = agreeing({name: reference.answers[name] for name in known})
    if len(now := agreeing(known)):
        shares = (1 - float(before.mean()), 1 - float(now.mean()))
        effect = (shares[1] - shares[0], settings.disagreement)
        figures.append(Figure("disagreement", "rise of a share", *shares, *effect, len(now), settings.minimum))
    return figures


def compare_pictures(reference: pd.DataFrame, found: pd.DataFrame, settings: Monitor) -> list[Figure]:
    """Two figures for each of the MEASURES."""
    figures = []
    for name in MEASURES:
        old, new = reference[name].to_numpy(), found[name].to_numpy()
        for kind, effect, threshold in (
            ("mean difference", mean_difference(old, new, LEAST_DEVIATION.get(name, 1e-9)), settings.mean_difference),
            ("population stability", population_stability(old, new), settings.population_stability),
        ):
            means = (float(old.mean()), float(new.mean()))
            figures.append(Figure(name, kind, *means, effect, threshold, len(new), settings.minimum))
    return figures


def compare_answers(name: str, old: Answers, new: Answers, settings: Monitor, classes: int) -> list[Figure]:
    """Predicted classes, confidence and share of uncertain answers of one model."""
    first, second = (np.bincount(rows.prediction, minlength=classes) / len(rows.prediction) for rows in (old, new))
    uncertain = (float(old.uncertain.mean()), float(new.uncertain.mean()))
    stability = population_stability(old.confidence, new.confidence)
    size = (len(new.picture), settings.minimum)
    return [
        Figure(
            f"classes.{name}",
            "divergence",
            float(first.max()),
            float(second.max()),
            divergence(first, second),
            settings.divergence,
            *size,
        ),
        Figure(
            f"confidence.{name}",
            "population stability",
            float(old.confidence.mean()),
            float(new.confidence.mean()),
            stability,
            settings.population_stability,
            *size,
        ),
        Figure(
            f"uncertain.{name}",
            "rise of a share",
            *uncertain,
            uncertain[1] - uncertain[0],
            settings.uncertain,
            *size,
        ),
    ]


def compare_accuracy(name: str, reference: Window, window: Window, settings: Monitor) -> list[Figure]:
    """Accuracy of one model on labelled pictures; nothing where there is none."""
    old, new = reference.answers[name], window.answers[name]
    labels = window.labels[new.picture]
    right = (new.prediction == labels)[labels >= 0]
    if not len(right):
        return []
    expected, found = float((old.prediction == reference.labels[old.picture]).mean()), float(right.mean())
    effect, interval = (expected - found, settings.accuracy), accuracy_interval(right)
    size = (len(right), settings.minimum_labels)
    return [Figure(f"accuracy.{name}", "loss of a share", expected, found, *effect, *size, interval)]


def most_unusual(pictures: pd.DataFrame, images: NDArray[np.uint8], count: int) -> list[int]:
    """Numbers of the pictures that lie farthest from training images, in deviations of each measure; equals once."""
    deviation = pictures.std(ddof=0).clip(lower=pd.Series(LEAST_DEVIATION).reindex(pictures.columns, fill_value=1e-9))
    distance = ((measure(images) - pictures.mean()) / deviation).pow(2).sum(axis=1).to_numpy()
    different: dict[bytes, int] = {}
    for index in np.argsort(-distance, kind="stable"):
        different.setdefault(images[index].tobytes(), int(index))
    return list(different.values())[:count]
