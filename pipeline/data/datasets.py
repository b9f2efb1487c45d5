"""The entries of `datasets.yaml` as typed objects: classes, files, mirrors and expected properties."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from pipeline.console import PipelineError
from pipeline.paths import DATASETS
from pipeline.settings import Settings, Share, parse_settings, read_yaml

Checksum = Annotated[str, Field(pattern=r"^(sha256:[0-9a-f]{64}|md5:[0-9a-f]{32})$")]


def _distinct(names: list[str]) -> list[str]:
    if repeated := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"{min(repeated)!r} occurs more than once; each class needs a name of its own")
    return names


class DatasetFile(Settings):
    """A published file: one of `data/raw`, or a zip archive that has them as `members`."""

    checksum: Checksum
    decompressed: Checksum | None = None
    members: dict[str, str] = Field(default={})
    transposed: bool = False


class Counts(Settings):
    train: list[int]
    test: list[int]


class MeanIntensity(Settings):
    train: float
    test: float
    tolerance: Share


class IntensityQuantiles(Settings):
    """Quantiles of the images' mean intensities; `shares` are their probabilities."""

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
    classes: Annotated[list[str], Field(min_length=2, max_length=256), AfterValidator(_distinct)]  # labels are bytes
    mirrors: list[str]
    files: dict[str, DatasetFile]
    counts: Counts
    expected: Expected
    contested_labels: list[int]
    quality_bar: dict[str, Share]

    @property
    def are_digits(self) -> bool:
        """Whether the classes are the ten digits."""
        return self.classes == [str(digit) for digit in range(10)]

    def bar(self, model: str) -> float:
        """Minimum validation accuracy that `model` needs for registration."""
        return self.quality_bar.get(model, self.quality_bar["default"])


def load_datasets(path: Path = DATASETS) -> dict[str, Dataset]:
    """Read `datasets.yaml`: entries by name. Raises PipelineError with one line for each invalid key."""
    return parse_settings(path, dict[str, Dataset], read_yaml(path))


def load_dataset(name: str) -> Dataset:
    """Returns the entry of one dataset. Raises PipelineError, with the known names, if there is none."""
    datasets = load_datasets()
    if name not in datasets:
        raise PipelineError(f"data.dataset: unknown dataset {name!r}; known: {', '.join(datasets)}")
    return datasets[name]
