"""What a model says about images and whether to rely on it: one rule for the service and for whole folders."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pipeline.inference import Classifier
from pipeline.novelty import NonDigitScore

ENOUGH: Final = 1024  # pixels a side of a picture of one digit; preprocessing goes on with fewer


def answer_images(
    images: NDArray[np.uint8], classifier: Classifier, threshold: float, score: NonDigitScore | None
) -> list[dict[str, Any]]:
    """One answer for each of `images`, uint8 (n, 28, 28), ink bright, in their order.

    `prediction` (the most probable class), `confidence` (its probability), `probabilities`, `uncertain`, and as
    `reason` "blank", "not_a_digit" (by `score`, where there is one), "low_confidence" (below `threshold`) or None.
    """
    blank = (images == 0).all(axis=(1, 2)).tolist()
    answers = classifier.probabilities(images)
    refused = score.refuses(answers, images).tolist() if score else [False] * len(images)
    rows = []
    for probabilities, empty, strange in zip(answers, blank, refused, strict=True):
        prediction = int(probabilities.argmax())
        confidence = float(probabilities[prediction])
        doubt = "not_a_digit" if strange else "low_confidence" if confidence < threshold else None
        reason = "blank" if empty else doubt
        rows.append(
            {
                "prediction": prediction,
                "confidence": confidence,
                "probabilities": probabilities.tolist(),
                "uncertain": reason is not None,
                "reason": reason,
            }
        )
    return rows
