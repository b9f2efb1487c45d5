"""The fallback for unreachable mirrors: scikit-learn's embedded digits.

`python -m pipeline.data.fallback` drops a fallback in use as soon as a mirror is reachable.
"""

import os

import numpy as np

from pipeline.console import PipelineError, run_main, say
from pipeline.data.datasets import load_dataset
from pipeline.data.idx import RAW_FILES, read_source, write_idx
from pipeline.data.mirrors import is_reachable, mirrors, write_source
from pipeline.params import load_params
from pipeline.paths import RAW, SOURCE
from recognition.preprocessing import centre_by_mass, fit_to_box

TRAINING_IMAGES = 1437  # the first four fifths of the 1,797 embedded images; the rest is the test set


def fallback_for(dataset: str) -> str:
    """Returns `data.fallback`. Raises PipelineError if it is null or the variable `DIGITS_NO_FALLBACK` is set."""
    fallback = None if os.environ.get("DIGITS_NO_FALLBACK") else load_params().data.fallback
    if fallback is None:
        raise PipelineError(
            f"no mirror of {dataset} can be reached and data.fallback is null; "
            "set DATA_MIRROR to a folder or URL that has its files"
        )
    return fallback


def write_embedded(name: str, fallback: bool) -> None:
    """Write scikit-learn's digits into `data/raw` as IDX files in MNIST's format: uint8 (n, 28, 28), bright ink."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.stack([centre_by_mass(fit_to_box(image * (255 / 16))) for image in digits.images]).astype(np.uint8)
    labels = digits.target.astype(np.uint8)
    for split, part in (("train", slice(TRAINING_IMAGES)), ("test", slice(TRAINING_IMAGES, None))):
        image_file, label_file = RAW_FILES[split]
        write_idx(RAW / image_file, images[part])
        write_idx(RAW / label_file, labels[part])
    write_source(name, "scikit-learn", fallback)
    say(f"{name}: {len(images):,} images from scikit-learn")


def main() -> None:
    """Delete the record of a fallback if a mirror is reachable, so that `dvc repro` fetches the dataset.

    Raises PipelineError if no mirror is reachable and no fallback is allowed.
    """
    name = load_params().data.dataset
    if not SOURCE.exists() or not read_source()["fallback"]:
        return
    dataset = load_dataset(name)
    if not dataset.files:  # the embedded dataset was chosen after it was the fallback of another one
        return
    for mirror in filter(lambda mirror: is_reachable(mirror, dataset), mirrors(name, dataset)):
        say(f"{mirror} is reachable: {dataset.title} replaces the fallback")
        SOURCE.unlink()
        return
    say(f"{dataset.title} still cannot be reached: using the fallback {fallback_for(name)}")


if __name__ == "__main__":
    run_main(main)
