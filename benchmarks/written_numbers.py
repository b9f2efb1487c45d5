"""Measures how many handwritten numbers on generated pages are read correctly, with a trained model.

    python -m benchmarks.written_numbers cnn

Digits come from MNIST's validation images and from drawn forms; see pipeline/drawing/number_pages.py.
"""

import argparse
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.data.splits import load_split
from pipeline.drawing.digits import TEST, draw_digits
from pipeline.drawing.number_pages import KINDS, Page, draw_pages
from pipeline.evaluation.statistics import accuracy_interval
from pipeline.files import read_json, sha256
from pipeline.paths import EVALUATIONS, MODELS
from recognition.model import Model
from recognition.segmentation import find_digits

SEED = 20260
FORMS_SHARE = 0.1  # of the digits are drawn forms
FORMS = replace(TEST, widths=(1.2, 4), tilt=8)  # digits of one number are hardly tilted


def evaluated_model(name: str) -> Model:
    """The model of the last run of the pipeline."""
    file, score = MODELS / name / "model.tflite", read_json(EVALUATIONS / name / "whole_digit_score.json")
    return Model(name, None, file, {"digest": sha256(file), "segment": score})


def read_numbers(image: Image.Image, model: Model) -> list[str]:
    """The numbers on a page, from top to bottom."""
    lines = find_digits(image, model.digit_score)
    stacks = [np.stack([digit.pixels for _, digit in line]) for line in lines]
    return ["".join(map(str, model.classifier.probabilities(stack).argmax(1))) for stack in stacks]


def edit_distance(text: str, other: str) -> int:
    """Insertions, deletions and substitutions that make one text the other (Levenshtein, 1966)."""
    row = list(range(len(other) + 1))
    for i, letter in enumerate(text, 1):
        diagonal, row[0] = row[0], i
        for j, second in enumerate(other, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (letter != second))
    return row[-1]


def measure(pages: list[Page], model: Model) -> dict[str, int]:
    """Counts of numbers and digits, and of those that are read correctly."""
    seen: Counter[str] = Counter()
    for page in pages:
        found = read_numbers(page.image, model)
        seen["numbers"] += len(page.numbers)
        seen["exact"] += (Counter(page.numbers) & Counter(found)).total()
        seen["digits"] += sum(map(len, page.numbers))
        seen["edits"] += edit_distance("\n".join(page.numbers), "\n".join(found))
    return dict(seen)


def pages_digits(seed: int = SEED) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images, uint8 (n, 28, 28), and labels (n,): MNIST's validation images and drawn forms."""
    split = load_split("val")
    forms = round(len(split.images) * FORMS_SHARE / (1 - FORMS_SHARE))
    extended = split.extended(*draw_digits(forms, seed, FORMS))
    return extended.images, extended.labels


def main() -> None:
    """Prints a line for each kind of page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="entry of params.yaml, such as cnn")
    parser.add_argument("--pages", type=int, default=200, help="of each kind")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--save", type=Path, help="folder for the first 20 pages of each kind")
    arguments = parser.parse_args()
    model, digits = evaluated_model(arguments.name), pages_digits(arguments.seed)
    for kind in KINDS:
        pages = draw_pages(*digits, kind, arguments.pages, arguments.seed)
        if arguments.save:
            arguments.save.mkdir(parents=True, exist_ok=True)
            for number, page in enumerate(pages[:20]):
                name = "_".join([kind, str(number), *page.numbers])
                page.image.save(arguments.save / f"{name}.png")
        seen = measure(pages, model)
        low, high = accuracy_interval(np.arange(seen["numbers"]) < seen["exact"])
        print(
            f"{kind:13s} {seen['exact']:4d} of {seen['numbers']:4d} numbers exact: "
            f"{seen['exact'] / seen['numbers']:.1%} ({low:.1%} to {high:.1%}); "
            f"digits by edit distance: {1 - seen['edits'] / seen['digits']:.2%} of {seen['digits']}"
        )


if __name__ == "__main__":
    main()
