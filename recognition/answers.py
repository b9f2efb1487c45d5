"""What a model says about images and whether to rely on it: one rule for the service and for whole folders."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recognition.classifier import Classifier
from recognition.out_of_distribution import OODScore

ENOUGH: Final = 1024  # pixels a side of a picture of one digit; preprocessing goes on with fewer


def answer_images(
    images: NDArray[np.uint8], classifier: Classifier, threshold: float, score: OODScore | None
) -> list[dict[str, Any]]:
    """One answer for each of `images`, uint8 (n, 28, 28), ink bright, in their order.

    `prediction` (the most probable class), `confidence` (its probability), `probabilities`, `uncertain`, and as
    `reason` "blank", "not_a_digit" (by `score`, where there is one), "low_confidence" (below `threshold`) or None.
    """
    inked = list(np.any(images, axis=(1, 2)))
    answers = classifier.probabilities(images)
    refused = score.rejects(answers, images).tolist() if score else [False] * len(images)
    predictions, confidences = answers.argmax(axis=1).tolist(), answers.max(axis=1).tolist()
    rows = []
    for prediction, confidence, probabilities, drawn, strange in zip(
        predictions, confidences, answers.tolist(), inked, refused, strict=True
    ):
        doubt = "not_a_digit" if strange else "low_confidence" if confidence < threshold else None
        reason = doubt if drawn else "blank"
        rows.append(
            {
                "prediction": prediction,
                "confidence": confidence,
                "probabilities": probabilities,
                "uncertain": reason is not None,
                "reason": reason,
            }
        )
    return rows
