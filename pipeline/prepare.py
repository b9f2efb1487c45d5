"""Stage `prepare`: raw images into training, validation and test sets; pen strokes of rare forms join the first."""

import numpy as np

from pipeline.console import PipelineError, run_main, say
from pipeline.data.datasets import load_dataset
from pipeline.data.idx import read_raw, read_source
from pipeline.data.pen_strokes import write
from pipeline.data.splits import Split, save_split, validation_mask
from pipeline.params import load_params
from pipeline.paths import FEEDBACK

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


if __name__ == "__main__":
    run_main(main)
