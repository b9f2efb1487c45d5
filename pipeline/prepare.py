"""Stage `prepare`: raw images into training, validation and test sets; pen strokes of rare forms join the first."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets import Split, read_raw, read_source, save_split
from pipeline.params import load_dataset, load_params
from pipeline.paths import FEEDBACK
from pipeline.pen import write
from pipeline.terminal import PipelineError, say, stage

LEAST_PER_CLASS = 3  # in every split: below that neither learning nor judging makes sense
DIGITS = [str(digit) for digit in range(10)]


def main() -> None:
    settings = load_params().data
    dataset = read_source()["dataset"]
    classes = load_dataset(dataset).classes
    images, labels = read_raw("train")
    chosen = validation_mask(images, settings.validation_share)
    drawn = write(int(settings.pen_stroke_share * (~chosen).sum()) if classes == DIGITS else 0)
    splits = {
        "train": with_feedback(
            Split(dataset, np.concatenate([images[~chosen], drawn[0]]), np.concatenate([labels[~chosen], drawn[1]]))
        ),
        "val": Split(dataset, images[chosen], labels[chosen]),
        "test": Split(dataset, *read_raw("test")),
    }
    for name, split in splits.items():
        counts = np.bincount(split.labels, minlength=len(classes))
        if counts.min() < LEAST_PER_CLASS:
            raise PipelineError(
                f"{name}: {counts.min()} images of class {classes[counts.argmin()]}, expected {LEAST_PER_CLASS}; "
                "change data.validation_share or add images"
            )
        save_split(name, split)
    counted = ", ".join(f"{len(split.labels):,} {name}" for name, split in splits.items())
    say(f"{dataset}: {counted}; {len(drawn[1]):,} of train drawn in pen strokes")


def with_feedback(train: Split) -> Split:
    """The training images and behind them the corrections that `make feedback` exported, where there are any."""
    path = FEEDBACK / "labels.npz"
    if not path.exists():
        if path.with_name("labels.npz.dvc").exists():
            raise PipelineError("data/feedback/labels.npz is missing; run: dvc checkout data/feedback/labels.npz.dvc")
        return train
    with np.load(path, allow_pickle=False) as given:
        if str(given["dataset"]) != train.dataset:
            say(f"data/feedback/labels.npz belongs to {given['dataset']}: left out")
            return train
        say(f"{len(given['labels']):,} corrections learnt from")
        images, labels = (np.concatenate([getattr(train, name), given[name]]) for name in ("images", "labels"))
        return Split(train.dataset, images, labels)


def validation_mask(images: NDArray[np.uint8], share: float) -> NDArray[np.bool_]:
    """Which images validate, bool (n,): by a hash of each image's bytes, so that added data changes nothing."""
    hashes = [int.from_bytes(hashlib.sha256(image.tobytes()).digest()[:8], "big") for image in images]
    return np.array([value < share * 2**64 for value in hashes], dtype=bool)


if __name__ == "__main__":
    stage(main)
