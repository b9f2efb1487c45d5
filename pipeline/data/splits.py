"""Our splits: prepared images and labels, and the rule that holds validation images out of training."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.console import PipelineError
from pipeline.files import replacing
from pipeline.paths import PREPARED


@dataclass(frozen=True)
class Split:
    """Images of one split. `images`: uint8 (n, 28, 28), ink bright; `labels`: uint8 (n,)."""

    dataset: str
    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]

    def digest(self) -> str:
        """sha256 of the images' and labels' bytes, in order."""
        return hashlib.sha256(self.images.tobytes() + self.labels.tobytes()).hexdigest()


def save_split(name: str, split: Split) -> None:
    """Write `data/prepared/NAME.npz`."""
    PREPARED.mkdir(parents=True, exist_ok=True)
    path = PREPARED / f"{name}.npz"
    with replacing(path) as file:
        np.savez_compressed(file, images=split.images, labels=split.labels, dataset=np.array(split.dataset))


def load_split(name: str) -> Split:
    """Read `data/prepared/NAME.npz`: "train", "val" or "test"."""
    try:
        with np.load(PREPARED / f"{name}.npz", allow_pickle=False) as content:
            return Split(str(content["dataset"]), content["images"], content["labels"])
    except FileNotFoundError:
        raise PipelineError(f"data/prepared/{name}.npz is missing; run: dvc repro prepare") from None


def validation_mask(images: NDArray[np.uint8], share: float) -> NDArray[np.bool_]:
    """Which images validate, bool (n,): by a hash of each image's bytes, so that added data changes nothing."""
    hashes = [int.from_bytes(hashlib.sha256(image.tobytes()).digest()[:8], "big") for image in images]
    return np.array([value < share * 2**64 for value in hashes], dtype=bool)
