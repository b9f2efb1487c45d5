"""Why a model says what it says: how its answer changes when a part of the picture is wiped out, or inked."""

import numpy as np
from numpy.typing import NDArray

from recognition.classifier import Classifier

PATCH = 5  # pixels a side: about as wide as a stroke, so that one patch can break it
STEP = 2  # pixels from one patch to the next
MARGIN = 4  # MNIST's empty border, where ink means nothing but another picture
FLOOR = 1e-4  # probabilities are compared as log-odds between this and 1 minus this: beyond, they mean nothing more

Floats = NDArray[np.float32]


def _patches() -> Floats:
    """Soft squares (n, 28, 28) of 0..1, one for each place, together covering all but the border."""
    axis = np.arange(28)
    places = np.arange(MARGIN, 28 - MARGIN, STEP) + 0.5
    reach = np.clip((PATCH + 1) / 2 - np.abs(axis - places[:, None]), 0, 1)
    return (reach[:, None, :, None] * reach[None, :, None, :]).reshape(-1, 28, 28).astype(np.float32)


PATCHES = _patches()
COVER = PATCHES.sum(axis=0) + np.float32(1e-6)


def evidence(classifier: Classifier, image: NDArray[np.uint8], label: int) -> Floats:
    """How much each pixel speaks for class `label`, float32 (28, 28), in log-odds; against it: negative.

    image: uint8 (28, 28), ink bright. An inked pixel gets the mean loss of log-odds over the patches that wipe it
    out, an empty one that over the patches that ink it. Occlusion after Zeiler and Fergus, arXiv 1311.2901, with ink as
    a second occluder: what is absent tells a 4 from a 9.
    """
    ink = image.astype(np.float32) / 255
    wiped, inked = ink * (1 - PATCHES), np.maximum(ink, PATCHES)
    changed = np.rint(np.concatenate([ink[None], wiped, inked]) * 255).astype(np.uint8)
    probability = np.clip(classifier.probabilities(changed)[:, label], FLOOR, 1 - FLOOR)
    log_odds = np.log(probability / (1 - probability))
    lost = (log_odds[0] - log_odds[1:]).reshape(2, len(PATCHES)).astype(np.float32)
    of_ink, of_gap = np.tensordot(lost, PATCHES, axes=1) / COVER
    found: Floats = (ink * of_ink + (1 - ink) * of_gap).astype(np.float32)
    return found
