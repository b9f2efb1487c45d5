"""Labelled images in files: training, tuning, validation and test images, and sets that are derived from them."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.console import PipelineError
from pipeline.files import replacing
from pipeline.paths import PREPARED


@dataclass(frozen=True)
class Split:
    """Images of one split. `images`: uint8 (n, 28, 28), bright ink; `labels`: uint8 (n,)."""

    dataset: str
    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]

    def digest(self) -> str:
        """sha256 of the bytes of images and labels."""
        return hashlib.sha256(self.images.tobytes() + self.labels.tobytes()).hexdigest()

    def extended(self, images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> "Split":
        """Returns a split with more images at its end."""
        return Split(self.dataset, np.concatenate([self.images, images]), np.concatenate([self.labels, labels]))


def save_split(name: str, split: Split, folder: Path | None = None) -> None:
    """Write `data/prepared/NAME.npz`, or to another folder."""
    with replacing((folder or PREPARED) / f"{name}.npz") as file:
        np.savez_compressed(file, images=split.images, labels=split.labels, dataset=np.array(split.dataset))


def load_split(name: str, folder: Path | None = None) -> Split:
    """Read `data/prepared/NAME.npz`: "train", "tune", "val" or "test"; in `data/derived`: "forms" or "calibration".

    Raises PipelineError if the file is missing.
    """
    try:
        with np.load((folder or PREPARED) / f"{name}.npz", allow_pickle=False) as content:
            return Split(str(content["dataset"]), content["images"], content["labels"])
    except FileNotFoundError:
        where, stage = (folder.name, "corrupt") if folder else ("prepared", "prepare")
        raise PipelineError(f"data/{where}/{name}.npz is missing; run: dvc repro {stage}") from None


def validation_mask(images: NDArray[np.uint8], share: float) -> NDArray[np.bool_]:
    """Select about `share` of the images for validation: bool (n,)."""
    return hash_fractions(images) < share


def split_masks(
    images: NDArray[np.uint8], validation_share: float, tuning_share: float
) -> dict[str, NDArray[np.bool_]]:
    """Which of the published training images belong to the splits "train", "tune" and "val", bool (n,) each."""
    fractions = hash_fractions(images)
    val, train = fractions < validation_share, fractions >= validation_share + tuning_share
    return {"train": train, "tune": ~train & ~val, "val": val}


def hash_fractions(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Position of each image in [0, 1), (n,): the first 8 bytes of its sha256 as a fraction.

    Intervals of it define the splits, so images that are added to the dataset do not move others between splits.
    """
    hashes = [int.from_bytes(hashlib.sha256(image.tobytes()).digest()[:8], "big") for image in images]
    return np.array([value / 2**64 for value in hashes])
