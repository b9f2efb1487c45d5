"""Stage `corrupt`: images distorted in known ways, and pictures that are no digit, once for all models."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.corruptions import CORRUPTIONS, Images, affine, corrupt, either_way, from_bytes, rotation, to_bytes
from pipeline.datasets import load_split
from pipeline.files import replacing
from pipeline.nondigits import in_place, non_digits
from pipeline.params import load_params
from pipeline.paths import DERIVED
from pipeline.terminal import say, stage

Bytes = NDArray[np.uint8]


def main() -> None:
    settings = load_params().corrupt
    val, test = load_split("val"), load_split("test")
    images = test.images[: settings.images]
    save("corrupted", {name: corrupt(images, name, settings.seed) for name in CORRUPTIONS})
    chosen = val.images[: settings.validation_images]
    save("corrupted_val", {name: corrupt(chosen, name, settings.seed + 1) for name in CORRUPTIONS})
    few = from_bytes(test.images[: settings.sensitivity_images])
    random = np.random.default_rng(settings.seed)
    save("varied", {f"{name} {amount:g}": v for name, by in vary(few, random).items() for amount, v in by.items()})
    strange, kinds = non_digits(settings.non_digits, val.images, settings.seed)
    placed = np.stack([in_place(digit) for digit in val.images[::2]])  # the half that fits the score
    save("non_digits", {"images": strange, "kinds": kinds, "placed": placed})
    counted = f"{len(images):,} test and {len(chosen):,} validation images"
    say(f"{len(CORRUPTIONS)} corruptions of {counted}, {len(strange):,} pictures of no digit")


def save(name: str, arrays: dict[str, NDArray[np.generic]]) -> None:
    """Write `data/derived/NAME.npz`."""
    with replacing(DERIVED / f"{name}.npz") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # names are keywords


def vary(images: Images, random: np.random.Generator) -> dict[str, dict[float, Bytes]]:
    """The same images (n, 28, 28) of 0..1 changed in one property by several amounts: property, amount, uint8 images.

    Shift in pixels in a random direction, rotation in degrees to either side, scale as a share of the size, stroke as
    pixels that are added to its width.
    """
    count = len(images)
    same, angle = np.tile(np.eye(2), (count, 1, 1)), random.uniform(0, 2 * np.pi, count)
    direction, sign = np.stack([np.sin(angle), np.cos(angle)], axis=1), either_way(random, count, 1, 1)
    return {
        "shift": {step: to_bytes(affine(images, same, step * direction)) for step in (0.0, 1, 2, 3, 4, 5, 6, 8)},
        "rotation": {
            degrees: to_bytes(affine(images, rotation(np.radians(degrees) * sign)))
            for degrees in (0.0, 10, 20, 30, 40, 50, 60)
        },
        "scale": {share: to_bytes(affine(images, same / share)) for share in (0.4, 0.5, 0.6, 0.7, 0.85, 1.0, 1.2, 1.4)},
        "stroke": {width: to_bytes(restroke(images, width)) for width in (-2.0, -1, -0.5, 0, 0.5, 1, 2, 3, 4)},
    }


def restroke(images: Images, width: float) -> Images:
    """Strokes wider (or thinner) by `width` pixels: grey dilation (erosion) by whole steps of 2, blended between."""
    change = ndimage.grey_dilation if width > 0 else ndimage.grey_erosion
    rest = abs(width)
    while rest > 0:
        weight = min(rest / 2, 1)
        images = (1 - weight) * images + weight * change(images, size=(1, 3, 3))
        rest -= 2
    return images


if __name__ == "__main__":
    stage(main)
