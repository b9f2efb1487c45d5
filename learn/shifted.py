"""How well trained models read digits that do not stand in the middle: python learn/shifted.py mlp cnn"""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipeline.console import PipelineError, run_main, say
from pipeline.data.splits import load_split
from pipeline.paths import MODELS
from recognition.classifier import Classifier

PIXELS = range(7)
DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0))


def shift(images: NDArray[np.uint8], down: int, right: int) -> NDArray[np.uint8]:
    """Images (n, 28, 28) moved by so many pixels, background coming in from the other side."""
    edge = max(abs(down), abs(right))
    padded = np.pad(images, ((0, 0), (edge, edge), (edge, edge)))
    size = images.shape[1]
    return padded[:, edge - down : edge - down + size, edge - right : edge - right + size]


def accuracy(classifier: Classifier, images: NDArray[np.uint8], labels: NDArray[np.uint8], pixels: int) -> float:
    """Share of right answers, mean over the four directions."""
    shares = []
    for down, right in DIRECTIONS:
        answers = classifier.probabilities(shift(images, pixels * down, pixels * right)).argmax(axis=1)
        shares.append(float((answers == labels).mean()))
    return float(np.mean(shares))


def main(*names: str) -> None:
    """Print the accuracy on validation images for every model and shift, as CSV."""
    val = load_split("val")
    say("model,pixels,accuracy")
    for name in names:
        path = MODELS / name / "model.tflite"
        if not path.exists():
            raise PipelineError(f"models/{name}/model.tflite is missing; run: dvc repro train@{name}")
        classifier = Classifier(path)
        for pixels in PIXELS:
            say(f"{name},{pixels},{accuracy(classifier, val.images, val.labels, pixels):.4f}")


if __name__ == "__main__":
    run_main(main)
