"""Synthetic files in the form of EMNIST Balanced: 47 classes, MNIST's format, transposed images."""

from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pipeline.data.datasets import load_dataset
from pipeline.data.idx import RAW_FILES, write_idx
from recognition.preprocessing import centre_by_mass, fit_to_box

NAME = "emnist-balanced"
CLASSES = load_dataset(NAME).classes
PUBLISHED = {"train": "emnist-balanced-train", "test": "emnist-balanced-test"}
FONTS = ("DejaVuSans.ttf", "DejaVuSans-Oblique.ttf", "DejaVuSansMono.ttf", "DejaVuSerif.ttf", "DejaVuSerif-Italic.ttf")


@cache
def draw_characters(per_class: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Upright characters in the fonts of matplotlib, slightly rotated, in random order: uint8 (n, 28, 28), (n,)."""
    random = np.random.default_rng(seed)
    folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
    fonts = [ImageFont.truetype(str(folder / name), 60) for name in FONTS]
    labels = random.permutation(np.repeat(np.arange(len(CLASSES)), per_class)).astype(np.uint8)
    images = [draw(CLASSES[label], fonts[random.integers(len(fonts))], random) for label in labels]
    return np.stack(images), labels


def draw(character: str, font: ImageFont.FreeTypeFont, random: np.random.Generator) -> NDArray[np.uint8]:
    canvas = Image.new("L", (96, 96))
    ImageDraw.Draw(canvas).text((48, 48), character, font=font, fill=255, anchor="mm")
    turned = canvas.rotate(float(random.uniform(-10, 10)), Image.Resampling.BICUBIC)
    return centre_by_mass(fit_to_box(np.asarray(turned)))


def write_files(folder: Path, per_class: dict[str, int]) -> None:
    """Write the four files as they are published; `per_class`: images of each class in "train" and "test"."""
    for seed, split in enumerate(RAW_FILES):
        images, labels = draw_characters(per_class[split], seed)
        write_idx(folder / f"{PUBLISHED[split]}-images-idx3-ubyte.gz", images.transpose(0, 2, 1))
        write_idx(folder / f"{PUBLISHED[split]}-labels-idx1-ubyte.gz", labels)
