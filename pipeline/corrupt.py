"""Stage `corrupt`: writes corrupted, varied, drawn and out-of-distribution images that calibrate and test models."""

import numpy as np
from numpy.typing import NDArray

from pipeline.console import run_main, say
from pipeline.data.datasets import load_dataset
from pipeline.data.splits import Split, load_split, save_split
from pipeline.drawing.digits import TEST, draw_digits
from pipeline.evaluation.corruptions import CORRUPTIONS, corrupt, from_bytes, vary
from pipeline.evaluation.ood_samples import make_ood_samples, to_mnist_geometry
from pipeline.evaluation.segments import make_segments
from pipeline.files import replacing
from pipeline.params import load_params
from pipeline.paths import DERIVED

FORMS_SEED, CALIBRATION_SEED = 1000, 2000  # the training images have pen strokes with other seeds


def main() -> None:
    settings = load_params().corrupt
    tuning = load_split("tune")
    val, tune, test = load_split("val").images, tuning.images, load_split("test").images
    for file, images, seed in (
        ("corrupted", test[: settings.images], settings.seed),
        ("corrupted_val", val[: settings.validation_images], settings.seed + 1),
    ):
        save(file, {name: corrupt(images, name, seed) for name in CORRUPTIONS})
        say(f"{file}: {len(CORRUPTIONS)} corruptions of {len(images):,} images")
    dataset = load_dataset(tuning.dataset)
    forms = settings.forms if dataset.are_digits else 0
    drawn = Split(tuning.dataset, *draw_digits(forms, FORMS_SEED + settings.seed, TEST))
    save_split("forms", drawn, DERIVED)
    say(f"forms: {forms:,} drawn digits")
    calibration = tuning.extended(damaged(tune, settings.seed), tuning.labels)
    if forms:
        calibration = calibration.extended(*draw_digits(len(tune), CALIBRATION_SEED + settings.seed, TEST))
    save_split("calibration", calibration, DERIVED)
    varied = vary(from_bytes(test[: settings.sensitivity_images]), np.random.default_rng(settings.seed))
    save("varied", {f"{name} {amount:g}": array for name, by in varied.items() for amount, array in by.items()})
    ood_images, kinds = make_ood_samples(settings.ood_samples, tune, settings.seed, dataset.classes)
    placed = np.stack([to_mnist_geometry(digit) for digit in tune])  # to fit the OOD score
    save("ood_samples", {"images": ood_images, "kinds": kinds, "placed": placed})
    say(f"ood_samples: {len(ood_images):,} out-of-distribution images")
    segments = make_segments(tune, settings.segments, settings.seed)
    save("segments", segments)
    whole, others = len(segments["digits"]), len(segments["others"])
    say(f"segments: {whole:,} digits of written numbers, and {others:,} parts of digits and touching digits")


def damaged(images: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """Each image under one of the corruptions, in turn."""
    changed = images.copy()
    for index, name in enumerate(CORRUPTIONS):
        selected = slice(index, None, len(CORRUPTIONS))
        changed[selected] = corrupt(images[selected], name, seed)
    return changed


def save(name: str, arrays: dict[str, NDArray[np.generic]]) -> None:
    """Write `data/derived/NAME.npz`."""
    with replacing(DERIVED / f"{name}.npz") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # array names are keyword arguments


if __name__ == "__main__":
    run_main(main)
