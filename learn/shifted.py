"""Measure the accuracy of trained models on shifted validation images: python learn/shifted.py mlp cnn"""

import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipeline.console import PipelineError, run_main, say
from pipeline.data.splits import load_split
from pipeline.paths import MODELS
from recognition.classifier import Classifier

SHIFTS = range(7)  # pixels
DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0))  # (down, right)


def shift(images: NDArray[np.uint8], down: int, right: int) -> NDArray[np.uint8]:
    """Shift images (n, h, w) by pixels; negative values shift up and left. The new border is background (0)."""
    edge = max(abs(down), abs(right))
    padded = np.pad(images, ((0, 0), (edge, edge), (edge, edge)))
    _, height, width = images.shape
    return padded[:, edge - down : edge - down + height, edge - right : edge - right + width]


def shifted_accuracy(
    classifier: Classifier, images: NDArray[np.uint8], labels: NDArray[np.uint8], pixels: int
) -> float:
    """Return the mean accuracy (0..1) over the four directions. `images`: (n, h, w), `labels`: (n,)."""
    accuracies = []
    for down, right in DIRECTIONS:
        predictions = classifier.probabilities(shift(images, pixels * down, pixels * right)).argmax(axis=1)
        accuracies.append(float((predictions == labels).mean()))
    return float(np.mean(accuracies))


def main(names: Annotated[list[str], typer.Argument(metavar="MODEL...")]) -> None:
    """Print the accuracy of each MODEL for shifts from 0 to 6 pixels, as CSV."""
    validation = load_split("val")
    say("model,pixels,accuracy")
    for name in names:
        path = MODELS / name / "model.tflite"
        if not path.exists():
            raise PipelineError(f"models/{name}/model.tflite is missing; run: dvc repro train@{name}")
        classifier = Classifier(path)
        for pixels in SHIFTS:
            accuracy = shifted_accuracy(classifier, validation.images, validation.labels, pixels)
            say(f"{name},{pixels},{accuracy:.4f}")


if __name__ == "__main__":
    run_main(main)
