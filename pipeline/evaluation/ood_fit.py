"""Fit and evaluate the out-of-distribution (OOD) score of a model."""

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
from recognition.out_of_distribution import ARRAYS, Floats, Images, OODScore, Probabilities, features, image_measures

PRIOR = 10  # images: weight of the statistics of all classes in those of each class
HIDDEN_UNITS = 64
WEIGHT_DECAY = 0.5
EPOCHS = 120
SEGMENT_EPOCHS = 25  # there are several times as many segments of numbers as OOD samples


def fit_and_evaluate(
    classifier: Classifier,
    probabilities: dict[str, Probabilities],
    splits: dict[str, Split],
    false_rejection_rate: float,
) -> tuple[OODScore, dict[str, float], NDArray[np.bool_]]:
    """Fit the OOD score of one model, and measure its error rates on images that it was not fitted on.

    Returns the score, the rates, and which of the OOD samples that it was not fitted on it rejects, bool (k,).

    `probabilities`: of the model, (n, classes), for the images of the splits "tune", "val" and "test". The score is
    fitted on the tuning images and on half of the OOD images of each kind. The fit sees each digit both as it is and as
    the service centres it, so that the score does not depend on the centring. The threshold rejects the share
    `false_rejection_rate` of the tuning images, each scored by a fit on the other half of them (cross-fitting).
    """
    images, kinds, fitted = load_samples()
    with np.load(DERIVED / "ood_samples.npz") as arrays:
        placed = arrays["placed"]
    ood_probabilities = classifier.probabilities(images)
    tune = splits["tune"].images
    of_tune, of_placed = probabilities["tune"], classifier.probabilities(placed)

    def fit(selected: NDArray[np.bool_]) -> OODScore:
        digits, answers = np.concatenate([tune[selected], placed[selected]]), (of_tune[selected], of_placed[selected])
        return fit_score(digits, np.concatenate(answers), images[fitted], ood_probabilities[fitted])

    first_half, scores = np.arange(len(tune)) % 2 == 0, np.empty(len(tune))
    for half in (first_half, ~first_half):
        scores[~half] = fit(half)(of_tune[~half], tune[~half])
    threshold = float(np.quantile(scores, 1 - false_rejection_rate, method="higher"))
    score = replace(fit(np.ones(len(tune), bool)), threshold=threshold)
    rejected, kinds = score.rejects(ood_probabilities[~fitted], images[~fitted]), kinds[~fitted]
    rates = {
        "false_rejections_test": float(score.rejects(probabilities["test"], splits["test"].images).mean()),
        "false_rejections_val": float(score.rejects(probabilities["val"], splits["val"].images).mean()),
        "accepted": float((~rejected).mean()),
        **{f"{kind}_accepted": float((~rejected[kinds == kind]).mean()) for kind in sorted(set(kinds))},
    }
    return score, rates, rejected


def fit_whole_digit_score(classifier: Classifier) -> OODScore:
    """Fit the score with which reading numbers tells whole digits from other segments; it needs no threshold."""
    with np.load(DERIVED / "segments.npz") as arrays:
        digits, others, shapes = arrays["digits"], arrays["others"], (arrays["digit_shapes"], arrays["other_shapes"])
    of_digits, of_others = classifier.probabilities(digits), classifier.probabilities(others)
    score = fit_score(digits, of_digits, others, of_others, np.concatenate(shapes), SEGMENT_EPOCHS)
    return replace(score, threshold=0.0)


def load_samples() -> tuple[Images, NDArray[np.str_], NDArray[np.bool_]]:
    """The OOD samples, uint8 (n, 28, 28), their kinds (n,), and which of them the score is fitted on, bool (n,)."""
    with np.load(DERIVED / "ood_samples.npz") as arrays:
        images, kinds = arrays["images"], arrays["kinds"]
    return images, kinds, np.arange(len(images)) // len(set(kinds)) % 2 == 0  # the kinds come in rotation: half of each


def rejected_samples(classifier: Classifier, score: OODScore | None) -> NDArray[np.bool_]:
    """Which of the OOD samples that no score was fitted on a model rejects, bool (k,); none without a score."""
    images, _, fitted = load_samples()
    if score is None:
        return np.zeros(int((~fitted).sum()), bool)
    return score.rejects(classifier.probabilities(images[~fitted]), images[~fitted])


def fit_score(
    digits: Images,
    digit_probabilities: Probabilities,
    ood_images: Images,
    ood_probabilities: Probabilities,
    shapes: Floats | None = None,
    epochs: int = EPOCHS,
) -> OODScore:
    """Fit a score, still without a threshold, to images, uint8 (n, 28, 28), and their probabilities, (n, classes).

    `shapes`: further inputs, (digits and OOD images, k).
    """
    mean, deviation = class_statistics(image_measures(digits), digit_probabilities)
    pairs = ((digit_probabilities, digits), (ood_probabilities, ood_images))
    inputs = np.vstack([features(probabilities, images, mean, deviation) for probabilities, images in pairs])
    inputs = inputs if shapes is None else np.hstack([inputs, shapes])
    scaler = StandardScaler().fit(inputs)
    network = MLPClassifier(
        (HIDDEN_UNITS,), alpha=WEIGHT_DECAY, max_iter=epochs, learning_rate_init=0.003, batch_size=200, random_state=0
    )
    with warnings.catch_warnings():  # training ends after `epochs`, converged or not
        warnings.simplefilter("ignore", ConvergenceWarning)
        network.fit(scaler.transform(inputs), np.repeat([0, 1], [len(digits), len(ood_images)]))
    (first, second), (first_bias, second_bias) = network.coefs_, network.intercepts_
    hidden = first / scaler.scale_[:, None]  # the scaling becomes part of the weights
    hidden_bias = first_bias - scaler.mean_ @ hidden
    hidden, hidden_bias, output = (np.asarray(part, np.float32) for part in (hidden, hidden_bias, second[:, 0]))
    return OODScore(mean, deviation, hidden, hidden_bias, output, float(second_bias[0]), threshold=np.inf)


def class_statistics(measures: Floats, probabilities: Probabilities) -> tuple[Floats, Floats]:
    """Mean and standard deviation of each measure for each predicted class, (classes, measures).

    Both are shrunk towards those of all classes, with the weight of PRIOR images.
    """
    overall_mean, overall_deviation = measures.mean(axis=0), measures.std(axis=0) + 1e-3
    predicted, means, deviations = probabilities.argmax(axis=1), [], []
    for label in range(probabilities.shape[1]):
        own = measures[predicted == label]
        mean = (own.sum(axis=0) + PRIOR * overall_mean) / (len(own) + PRIOR)
        variance = (((own - mean) ** 2).sum(axis=0) + PRIOR * overall_deviation**2) / (len(own) + PRIOR)
        means.append(mean)
        deviations.append(np.sqrt(variance))
    return np.stack(means).astype(np.float32), np.stack(deviations).astype(np.float32)


def to_card(score: OODScore) -> dict[str, Any]:
    """The score as JSON content for model.json, rounded to five significant digits; `OODScore.from_card` reads it."""
    shorten = np.vectorize(lambda value: float(f"{value:.5g}"))
    arrays = {name: shorten(getattr(score, name)).tolist() for name in ARRAYS}
    return {**arrays, "bias": round(score.bias, 5), "threshold": round(score.threshold, 5)}
