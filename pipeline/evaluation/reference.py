"""The reference of a model: what its training images look like and what it predicts for the validation images.

It travels with each registered version, so that the monitor compares answers with the version that gave them.
"""

import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.data.splits import Split
from pipeline.evaluation.features import FEATURES, feature_quantiles
from pipeline.files import replacing

REFERENCE_FILE: Final = "reference.npz"


@dataclass(frozen=True)
class Reference:
    """`training`: quantiles (1000, features) of the FEATURES of the training images.

    For the n validation images: `images`, the sha256 of their pixels; `labels`, `predictions` uint8 (n,);
    `confidences` float32 (n,); `uncertain` bool (n,). It holds no picture.
    """

    training: pd.DataFrame
    images: str
    labels: NDArray[np.uint8]
    predictions: NDArray[np.uint8]
    confidences: NDArray[np.float32]
    uncertain: NDArray[np.bool_]


def make_reference(
    training_images: NDArray[np.uint8],
    val: Split,
    probabilities: NDArray[np.floating[Any]],
    uncertain: NDArray[np.bool_],
) -> Reference:
    """`probabilities` (n, classes) and `uncertain` (n,): the model's answers to the images of `val`."""
    predictions, confidences = probabilities.argmax(axis=1), probabilities.max(axis=1)
    digest = hashlib.sha256(val.images.tobytes()).hexdigest()
    training = feature_quantiles(training_images).astype(np.float32)
    return Reference(
        training, digest, val.labels, predictions.astype(np.uint8), confidences.astype(np.float32), uncertain
    )


def save_reference(path: Path, reference: Reference) -> None:
    """Write a reference; equal references give equal bytes."""
    arrays = {**vars(reference), "training": reference.training.to_numpy(), "images": np.array(reference.images)}
    with replacing(path) as file:
        np.savez_compressed(file, **arrays)


def load_reference(path: Path) -> Reference | None:
    """Read a reference; None if the file is missing or damaged."""
    try:
        with np.load(path, allow_pickle=False) as content:
            training = pd.DataFrame(content["training"].astype(np.float64), columns=[*FEATURES])
            answers = (content[name] for name in ("labels", "predictions", "confidences", "uncertain"))
            return Reference(training, str(content["images"]), *answers)
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile):
        return None
