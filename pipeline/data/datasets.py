"""The entries of `datasets.yaml` as typed objects: files, mirrors, classes, and what validation expects."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from pipeline.console import PipelineError
from pipeline.params import Settings, Share, parse_settings, read_yaml
from pipeline.paths import DATASETS


class DatasetFile(Settings):
    checksum: Annotated[str, Field(pattern=r"^(sha256:[0-9a-f]{64}|md5:[0-9a-f]{32})$")]
    decompressed: Annotated[str | None, Field(pattern=r"^(sha256:[0-9a-f]{64}|md5:[0-9a-f]{32})$")] = None


class Counts(Settings):
    train: list[int]
    test: list[int]


class MeanIntensity(Settings):
    train: float
    test: float
    tolerance: Share


class IntensityQuantiles(Settings):
    """Below which mean intensity each of `shares` of the images lies."""

    shares: list[Share]
    train: list[float]
    test: list[float]


class Expected(Settings):
    mean_intensity: MeanIntensity
    intensity_quantiles: IntensityQuantiles | None = None
    ink_fraction: tuple[Share, Share]
    centre_of_mass: tuple[float, float]
    duplicates: Share


class Dataset(Settings):
    title: str
    source: str
    classes: Annotated[list[str], Field(min_length=2)]
    mirrors: list[str]
    files: dict[str, DatasetFile]
    counts: Counts
    expected: Expected
    contested_labels: list[int]
    quality_bar: dict[str, Share]

    def bar(self, model: str) -> float:
        """Accuracy on validation images below which `model` is not registered."""
        return self.quality_bar.get(model, self.quality_bar["default"])


def load_datasets(path: Path = DATASETS) -> dict[str, Dataset]:
    """Read `datasets.yaml`: name to entry. Raises PipelineError with one line for each key that is wrong."""
    return {name: parse_settings(path, Dataset, entry, name) for name, entry in read_yaml(path).items()}


def load_dataset(name: str) -> Dataset:
    """The entry of one dataset. Raises PipelineError that lists the known names when it is not among them."""
    datasets = load_datasets()
    if name not in datasets:
        raise PipelineError(f"data.dataset: {name!r} is unknown; known are {', '.join(datasets)}")
    return datasets[name]
