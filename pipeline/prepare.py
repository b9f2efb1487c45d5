"""Stage `prepare`: split the raw images into four sets; add pen strokes and corrections to the training images."""

import numpy as np

from pipeline.console import PipelineError, run_main, say
from pipeline.data.datasets import load_dataset
from pipeline.data.idx import read_raw, read_source
from pipeline.data.splits import Split, save_split, split_masks
from pipeline.drawing.digits import draw_digits
from pipeline.params import load_params
from pipeline.paths import FEEDBACK

MINIMUM_PER_CLASS = 3  # images of each class in each split


def main() -> None:
    settings = load_params().data
    dataset = read_source()["dataset"]
    entry = load_dataset(dataset)
    classes = entry.classes
    images, labels = read_raw("train")
    masks = split_masks(images, settings.validation_share, settings.tuning_share)
    published = {name: Split(dataset, images[mask], labels[mask]) for name, mask in masks.items()}
    train = published["train"]
    pen_strokes = draw_digits(int(settings.pen_stroke_share * len(train.labels)) if entry.are_digits else 0)
    test = Split(dataset, *read_raw("test"))
    splits = {**published, "train": add_corrections(train.extended(*pen_strokes), classes), "test": test}
    for name, split in splits.items():
        counts = np.bincount(split.labels, minlength=len(classes))
        if counts.min() < MINIMUM_PER_CLASS:
            raise PipelineError(
                f"{name}: {counts.min()} images of class {classes[counts.argmin()]}, expected at least "
                f"{MINIMUM_PER_CLASS}; change data.validation_share or data.tuning_share, or add images"
            )
        save_split(name, split)
    sizes = ", ".join(f"{len(split.labels):,} {name}" for name, split in splits.items())
    say(f"{dataset}: {sizes}; train includes {len(pen_strokes[1]):,} images of pen strokes")


def add_corrections(train: Split, classes: list[str]) -> Split:
    """Append the corrections that `make feedback` exported, if they belong to the same dataset and the same classes."""
    path = FEEDBACK / "labels.npz"
    if not path.exists():
        if path.with_name("labels.npz.dvc").exists():
            raise PipelineError("data/feedback/labels.npz is missing; run: dvc checkout data/feedback/labels.npz.dvc")
        return train
    with np.load(path, allow_pickle=False) as content:
        if str(content["dataset"]) != train.dataset:
            say(f"data/feedback/labels.npz is for {content['dataset']}: ignored")
            return train
        if "classes" in content and content["classes"].tolist() != classes:
            say(f"data/feedback/labels.npz is for earlier classes of {train.dataset}: ignored; run: make feedback")
            return train
        say(f"{len(content['labels']):,} corrections added to train")
        return train.extended(content["images"], content["labels"])


if __name__ == "__main__":
    run_main(main)
