"""The small dataset inside scikit-learn, which replaces a dataset whose mirrors cannot be reached.

`python -m pipeline.data.fallback` removes it again as soon as a mirror answers.
"""

import os
import tempfile
from pathlib import Path

from pipeline.console import run_main, say
from pipeline.data.datasets import load_dataset
from pipeline.data.idx import RAW_FILES, read_source, write_idx
from pipeline.data.mirrors import Unreachable, download, mirrors, unreachable, write_source
from pipeline.params import load_params
from pipeline.paths import RAW, SOURCE

TRAINING_IMAGES = 1437  # the first four fifths of the 1,797 embedded images; the rest is the test set


def allowed_fallback() -> str | None:
    """Returns `data.fallback`, or None (no fallback) where the variable `DIGITS_NO_FALLBACK` is set."""
    return None if os.environ.get("DIGITS_NO_FALLBACK") else load_params().data.fallback


def write_embedded(name: str, fallback: bool) -> None:
    """Write scikit-learn's handwritten digits as IDX files in MNIST's geometry: uint8 (n, 28, 28), ink bright."""
    import numpy as np
    from sklearn.datasets import load_digits

    from recognition.preprocessing import centre_by_mass, fit_to_box

    digits = load_digits()
    images = np.stack([centre_by_mass(fit_to_box(image * (255 / 16))) for image in digits.images]).astype(np.uint8)
    labels = digits.target.astype(np.uint8)
    for split, part in (("train", slice(0, TRAINING_IMAGES)), ("test", slice(TRAINING_IMAGES, None))):
        image_file, label_file = RAW_FILES[split]
        write_idx(RAW / image_file, images[part])
        write_idx(RAW / label_file, labels[part])
    write_source(name, "scikit-learn", fallback)
    say(f"{name}: {len(images):,} images from scikit-learn")


def main() -> None:
    """Delete the record of a fallback if a mirror answers again, so that `dvc repro` fetches the real dataset.

    Raises PipelineError if no mirror answers and no fallback is allowed.
    """
    name = load_params().data.dataset
    if not SOURCE.exists() or not read_source()["fallback"]:
        return
    dataset = load_dataset(name)
    smallest = min(dataset.files, key=lambda file: "images" in file)
    for mirror in mirrors(name, dataset):
        with tempfile.TemporaryDirectory(dir=RAW.parent, prefix=".fetch-") as folder:
            try:
                download(mirror, smallest, Path(folder), retries=0)
            except Unreachable:
                continue
        say(f"{mirror} answers: {dataset.title} replaces the fallback")
        SOURCE.unlink()
        return
    fallback = allowed_fallback()
    if fallback is None:
        raise unreachable(name)
    say(f"{dataset.title} still cannot be reached: using the fallback {fallback}")


if __name__ == "__main__":
    run_main(main)
