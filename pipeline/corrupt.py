"""Stage `corrupt`: images distorted in known ways, and pictures that are no digit, once for all models."""

import numpy as np
from numpy.typing import NDArray

from pipeline.console import run_main, say
from pipeline.data.splits import load_split
from pipeline.evaluation.corruptions import (
    CORRUPTIONS,
    corrupt,
    from_bytes,
)
from pipeline.evaluation.ood_samples import in_place, make_ood_samples
from pipeline.evaluation.variations import vary
from pipeline.files import replacing
from pipeline.params import load_params
from pipeline.paths import DERIVED


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
    strange, kinds = make_ood_samples(settings.ood_samples, val.images, settings.seed)
    placed = np.stack([in_place(digit) for digit in val.images[::2]])  # the half that fits the score
    save("ood_samples", {"images": strange, "kinds": kinds, "placed": placed})
    counted = f"{len(images):,} test and {len(chosen):,} validation images"
    say(f"{len(CORRUPTIONS)} corruptions of {counted}, {len(strange):,} pictures of no digit")


def save(name: str, arrays: dict[str, NDArray[np.generic]]) -> None:
    """Write `data/derived/NAME.npz`."""
    with replacing(DERIVED / f"{name}.npz") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # names are keywords


if __name__ == "__main__":
    run_main(main)
