"""Fitting the score for what is no digit: on half of the validation digits and half of the made pictures."""

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

from pipeline.data.splits import Split
from pipeline.paths import DERIVED
from recognition.classifier import Classifier
from recognition.out_of_distribution import (
    ARRAYS,
    Floats,
    Images,
    OODScore,
    Probabilities,
    features,
    picture_measures,
)

PRIOR = 10  # images: a class with few of them borrows from all classes
UNITS = 32
WEIGHT_DECAY = 0.1
EPOCHS = 60


def fit_and_test(
    classifier: Classifier, answers: dict[str, Probabilities], splits: dict[str, Split], refused: float
) -> tuple[OODScore, dict[str, float]]:
    """The score for one model, and its rates on digits and made pictures that it was not fitted on.

    `answers`: the model's probabilities for the images of `splits`, "val" and "test". Every other validation digit and
    made picture fits the score; the other validation digits choose the threshold, which refuses a share of `refused`
    of them. Digits are shown as they are and as the service would place them, so that the placing is no mark of one.
    """
    with np.load(DERIVED / "ood_samples.npz") as content:
        strange, kinds, placed = content["images"], content["kinds"], content["placed"]
    strange_answers = classifier.probabilities(strange)
    fitted = np.arange(len(strange)) // len(set(kinds)) % 2 == 0  # kinds take turns: half of each
    val, test = splits["val"].images, splits["test"].images
    digits = np.concatenate([val[::2], placed])
    digit_answers = np.concatenate([answers["val"][::2], classifier.probabilities(placed)])
    score = fit_score(digits, digit_answers, strange[fitted], strange_answers[fitted])
    threshold = float(np.quantile(score(answers["val"][1::2], val[1::2]), 1 - refused, method="higher"))
    score = replace(score, threshold=threshold)
    accepted = ~score.rejects(strange_answers[~fitted], strange[~fitted])
    rates = {
        "false_rejections_test": float(score.rejects(answers["test"], test).mean()),
        "false_rejections_val": float(score.rejects(answers["val"][1::2], val[1::2]).mean()),
        "accepted": float(accepted.mean()),
    }
    by_kind = {f"{kind}_accepted": float(accepted[kinds[~fitted] == kind].mean()) for kind in sorted(set(kinds))}
    return score, rates | by_kind


def fit_score(
    digits: Images, digit_answers: Probabilities, strange: Images, strange_answers: Probabilities
) -> OODScore:
    """A score without a threshold from pictures, uint8 (n, 28, 28), and the model's answers to them, (n, classes)."""
    mean, deviation = class_statistics(picture_measures(digits), digit_answers)
    pairs = ((digit_answers, digits), (strange_answers, strange))
    found = np.vstack([features(answers, images, mean, deviation) for answers, images in pairs])
    scaler = StandardScaler().fit(found)
    network = MLPClassifier(
        (UNITS,), alpha=WEIGHT_DECAY, max_iter=EPOCHS, learning_rate_init=0.003, batch_size=200, random_state=0
    )
    with warnings.catch_warnings():  # stopping after EPOCHS is meant
        warnings.simplefilter("ignore", ConvergenceWarning)
        network.fit(scaler.transform(found), np.repeat([0, 1], [len(digits), len(strange)]))
    (first, second), (first_bias, second_bias) = network.coefs_, network.intercepts_
    hidden = first / scaler.scale_[:, None]  # the scaling inside the weights
    hidden_bias = first_bias - scaler.mean_ @ hidden
    hidden, hidden_bias, output = (np.asarray(part, np.float32) for part in (hidden, hidden_bias, second[:, 0]))
    return OODScore(mean, deviation, hidden, hidden_bias, output, float(second_bias[0]), threshold=np.inf)


def class_statistics(measures: Floats, answers: Probabilities) -> tuple[Floats, Floats]:
    """Mean and deviation of each measure by predicted class, (classes, measures), drawn towards all classes'."""
    everyone, spread = measures.mean(axis=0), measures.std(axis=0) + 1e-3
    predicted, means, deviations = answers.argmax(axis=1), [], []
    for label in range(answers.shape[1]):
        own = measures[predicted == label]
        mean = (own.sum(axis=0) + PRIOR * everyone) / (len(own) + PRIOR)
        variance = (((own - mean) ** 2).sum(axis=0) + PRIOR * spread**2) / (len(own) + PRIOR)
        means.append(mean)
        deviations.append(np.sqrt(variance))
    return np.stack(means).astype(np.float32), np.stack(deviations).astype(np.float32)


def to_card(score: OODScore) -> dict[str, Any]:
    """The score as plain lists for a model's card, five significant digits each."""

    def short(values: NDArray[np.floating[Any]]) -> Any:
        return np.vectorize(lambda value: float(f"{value:.5g}"))(values).tolist()

    arrays = {name: short(getattr(score, name)) for name in ARRAYS}
    return {**arrays, "bias": round(score.bias, 5), "threshold": round(score.threshold, 5)}
