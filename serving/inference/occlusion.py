"""Explains predictions by occlusion: how the answer changes when a part of the image is erased or inked."""

import numpy as np
from numpy.typing import NDArray

from recognition.classifier import SHAPE, Classifier
from recognition.image_format import IMAGE_SIZE

PATCH = 5  # pixels a side: about as wide as a stroke, so that one patch can break it
STEP = 2  # pixels from one patch to the next
MARGIN = 4  # pixels; MNIST's border is empty, so a patch there shows nothing
FLOOR = 1e-4  # probabilities are clipped to FLOOR .. 1 - FLOOR before their log-odds are compared

Floats = NDArray[np.float32]


def _patches() -> Floats:
    """Soft squares, float32 (n, 28, 28) in 0..1, at all positions inside the border."""
    axis = np.arange(IMAGE_SIZE)
    places = np.arange(MARGIN, IMAGE_SIZE - MARGIN, STEP) + 0.5
    reach = np.clip((PATCH + 1) / 2 - np.abs(axis - places[:, None]), 0, 1)
    return (reach[:, None, :, None] * reach[None, :, None, :]).reshape(-1, *SHAPE).astype(np.float32)


PATCHES = _patches()
COVER = PATCHES.sum(axis=0) + np.float32(1e-6)


def evidence(classifier: Classifier, image: NDArray[np.uint8], label: int) -> Floats:
    """Evidence of each pixel for class `label`, float32 (28, 28), in log-odds; negative values are evidence against it.

    image: uint8 (28, 28), ink bright. An inked pixel gets the mean loss of log-odds over the patches that erase it, an
    empty pixel the mean loss over the patches that ink it. Occlusion (Zeiler and Fergus, arXiv 1311.2901) with ink as a
    second occluder, because empty regions also matter: a gap distinguishes 4 from 9.
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
