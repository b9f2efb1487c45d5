"""Makes a dataset of a folder of pictures: IDX files in `data/imported`, and an entry in `datasets.yaml`.

Every picture goes through the preprocessing of the service, so training and requests see the same images.
"""

import hashlib
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from pipeline.console import PipelineError, progress, say
from pipeline.data.datasets import Dataset, load_datasets
from pipeline.data.expectations import describe
from pipeline.data.idx import RAW_FILES, write_idx
from pipeline.files import sha256, write_text
from pipeline.paths import DATASETS, IMPORTED
from pipeline.settings import parse_settings
from recognition.decoding import ImageError, decode_image
from recognition.image_format import IMAGE_SIZE, SUFFICIENT_SIDE
from recognition.preprocessing import to_digit

NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")  # also names a folder, an experiment and a registered model
MAX_CLASSES = 256  # labels are bytes
NAMED_ERRORS = 10  # unusable pictures that an error message lists


def import_folder(folder: Path, name: str, test_share: float, quality_bar: float, datasets: Path = DATASETS) -> None:
    """Import the pictures `folder/CLASS/*` as dataset `name`; another import of the same name replaces the first.

    A hash of the converted image assigns about `test_share` of the pictures to the test set, so equal pictures are in
    the same split. Raises PipelineError, without writing, if a picture cannot be used or another dataset has the name.
    """
    mirror = f"data/imported/{name}/"
    check_name(name, mirror, load_datasets(datasets))
    classes = list_classes(folder)
    images, labels = read_pictures(folder, classes)
    test = is_test(images, test_share)
    splits = {"train": (images[~test], labels[~test]), "test": (images[test], labels[test])}
    for split, (_, split_labels) in splits.items():
        if missing := [found for label, found in enumerate(classes) if label not in split_labels]:
            raise PipelineError(
                f"no {split} picture of class {missing[0]} (of {len(images)} pictures in {folder}); "
                "add pictures of it, or change --test-share"
            )
    for split, (image_file, label_file) in RAW_FILES.items():
        write_idx(IMPORTED / name / image_file, splits[split][0])
        write_idx(IMPORTED / name / label_file, splits[split][1])
    frame = pd.concat([describe(split, *arrays) for split, arrays in splits.items()])
    checksums = {file: f"sha256:{sha256(IMPORTED / name / file)}" for pair in RAW_FILES.values() for file in pair}
    entry = {
        "title": name,
        "source": "own pictures",
        "classes": classes,
        "mirrors": [mirror],
        "files": {file: {"checksum": checksum} for file, checksum in checksums.items()},
        "counts": {split: np.bincount(found, minlength=len(classes)).tolist() for split, (_, found) in splits.items()},
        "expected": measure(frame),
        "contested_labels": [],
        "quality_bar": {"default": quality_bar},
    }
    parse_settings(datasets, dict[str, Dataset], {name: entry})
    write_entry(datasets, name, entry)
    say(f"{name}: {(~test).sum():,} training and {test.sum():,} test images of {len(classes)} classes")
    say(f"to use it, set data.dataset: {name} in params.yaml, then run: dvc repro")


def check_name(name: str, mirror: str, entries: dict[str, Dataset]) -> None:
    """Raise PipelineError if the name is invalid or belongs to a dataset that was not imported."""
    if not NAME.fullmatch(name):
        raise PipelineError(f"{name!r} is not a dataset name; expected lower-case letters, digits and hyphens")
    if name in entries and entries[name].mirrors != [mirror]:
        raise PipelineError(f"datasets.yaml has another dataset named {name}; choose another name")


def list_classes(folder: Path) -> list[str]:
    """Returns the names of the subfolders, sorted: the classes. Raises PipelineError unless there are 2 to 256."""
    if not folder.is_dir():
        raise PipelineError(f"{folder} is not a folder; expected one with a subfolder of pictures for each class")
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if len(classes) < 2:
        found = f"only the subfolder {classes[0]}" if classes else "no subfolders"
        raise PipelineError(f"{folder} has {found}; expected one for each class, at least two, with its pictures")
    if len(classes) > MAX_CLASSES:
        raise PipelineError(f"{folder} has {len(classes)} subfolders; expected at most {MAX_CLASSES}, one per class")
    return classes


def read_pictures(folder: Path, classes: list[str]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read and convert all pictures: uint8 (n, 28, 28), ink bright, and their labels, uint8 (n,).

    Raises PipelineError with one line for each unusable picture.
    """
    files = [
        (path, label)
        for label, name in enumerate(classes)
        for path in sorted((folder / name).rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    ]
    images, errors = [np.zeros((0, IMAGE_SIZE, IMAGE_SIZE), np.uint8)], []
    with progress() as display:
        for path, _ in display.track(files, description="converting"):
            try:
                digit = to_digit(decode_image(path.read_bytes(), min_side=SUFFICIENT_SIDE))
            except ImageError as error:
                errors.append(f"{path}: {error}")
                continue
            if digit.blank:
                errors.append(f"{path}: no ink was found; expected one dark or bright figure on an even background")
            images.append(digit.pixels[None])
    if errors:
        more = [f"and {len(errors) - NAMED_ERRORS} more"] if len(errors) > NAMED_ERRORS else []
        remedy = f"{len(errors)} of {len(files)} files cannot be used; repair or remove them; nothing was imported"
        raise PipelineError("\n".join([*errors[:NAMED_ERRORS], *more, remedy]))
    return np.concatenate(images), np.array([label for _, label in files], np.uint8)


def is_test(images: NDArray[np.uint8], share: float) -> NDArray[np.bool_]:
    """Which images (n, 28, 28) are test images, bool (n,), by another hash than that of the validation images."""
    hashes = [hashlib.sha256(b"test" + image.tobytes()).digest()[:8] for image in images]
    return np.array([int.from_bytes(value, "big") < share * 2**64 for value in hashes], bool)


def measure(frame: pd.DataFrame) -> dict[str, Any]:
    """The `expected` properties of an entry, from the rows of `describe`.

    The ranges are a little wider than those of the images, because the monitor applies them to later requests.
    """
    centres = frame[["centre_row", "centre_column"]]
    ink = frame["ink_fraction"]
    means = frame.groupby("split")["mean_intensity"].mean()
    return {
        "mean_intensity": {**{split: round(float(means[split]), 3) for split in RAW_FILES}, "tolerance": 0.01},
        "ink_fraction": [math.floor(80 * ink.min()) / 100, min(1.0, math.ceil(120 * ink.max()) / 100)],
        "centre_of_mass": [math.floor(centres.min().min() - 0.5), math.ceil(centres.max().max() + 0.5)],
        "duplicates": math.ceil(1000 * float(frame["sha256"].duplicated(keep=False).mean())) / 1000,
    }


def write_entry(path: Path, name: str, entry: dict[str, Any]) -> None:
    """Append an entry to `datasets.yaml`, in place of an earlier one of this name. Other lines stay as they are."""
    text = re.sub(rf"^{name}:\n(?:[ \t].*\n|\n)*", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    added = yaml.safe_dump({name: entry}, sort_keys=False, allow_unicode=True, width=1000, default_flow_style=None)
    write_text(path, f"{text.rstrip()}\n\n{added}")
