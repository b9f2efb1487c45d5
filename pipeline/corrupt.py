"""Stage `corrupt`: writes corrupted, varied and out-of-distribution images, on which every model is evaluated."""

import numpy as np
from numpy.typing import NDArray

from pipeline.console import run_main, say
from pipeline.data.splits import load_split
from pipeline.evaluation.corruptions import CORRUPTIONS, corrupt, from_bytes, vary
from pipeline.evaluation.ood_samples import make_ood_samples, to_mnist_geometry
from pipeline.files import replacing
from pipeline.params import load_params
from pipeline.paths import DERIVED


def main() -> None:
    settings = load_params().corrupt
    val, tune, test = (load_split(name).images for name in ("val", "tune", "test"))
    for file, images, seed in (
        ("corrupted", test[: settings.images], settings.seed),
        ("corrupted_val", val[: settings.validation_images], settings.seed + 1),
    ):
        save(file, {name: corrupt(images, name, seed) for name in CORRUPTIONS})
        say(f"{file}: {len(CORRUPTIONS)} corruptions of {len(images):,} images")
    varied = vary(from_bytes(test[: settings.sensitivity_images]), np.random.default_rng(settings.seed))
    save("varied", {f"{name} {amount:g}": array for name, by in varied.items() for amount, array in by.items()})
    ood_images, kinds = make_ood_samples(settings.ood_samples, tune, settings.seed)
    placed = np.stack([to_mnist_geometry(digit) for digit in tune])  # to fit the OOD score
    save("ood_samples", {"images": ood_images, "kinds": kinds, "placed": placed})
    say(f"ood_samples: {len(ood_images):,} out-of-distribution images")


def save(name: str, arrays: dict[str, NDArray[np.generic]]) -> None:
    """Write `data/derived/NAME.npz`."""
    with replacing(DERIVED / f"{name}.npz") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]  # array names are keyword arguments


if __name__ == "__main__":
    run_main(main)
