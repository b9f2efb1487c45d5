"""`params.yaml` and `datasets.yaml` as typed, frozen objects; every unknown key or wrong value is named at once."""

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipeline.paths import DATASETS, PARAMS, REFERENCE_MODELS
from pipeline.terminal import PipelineError

Share = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]  # is a folder, an alias, a query parameter
RESERVED_NAMES = {"champion", "previous", "latest"}  # aliases of the registry's own


class Settings(BaseModel):
    """Base of all settings: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Data(Settings):
    dataset: str
    fallback: Literal["optdigits"] | None
    validation_share: Annotated[float, Field(gt=0, lt=1)]
    pen_stroke_share: Annotated[float, Field(ge=0, lt=1)]


class Optimizer(Settings):
    name: Literal["adam", "adamw", "rmsprop", "sgd"]
    learning_rate: Annotated[float, Field(gt=0)]
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    beta_2: Annotated[float, Field(gt=0, lt=1)] = 0.999
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0


class Schedule(Settings):
    name: Literal["constant", "cosine"]
    warmup: Share = 0.0


class Augmentation(Settings):
    """Random distortions of training images; the unit of each stands in `params.yaml`."""

    rotation: Annotated[float, Field(ge=0, le=180)] = 0.0
    shear: Annotated[float, Field(ge=0, le=45)] = 0.0
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.0
    shift: Annotated[float, Field(ge=0, le=14)] = 0.0
    elastic: Annotated[float, Field(ge=0, le=14)] = 0.0
    smoothness: Annotated[int, Field(ge=2, le=14)] = 4
    stroke: Share = 0.0
    degraded: Share = 0.0
    blur: Share = 0.0
    erase: Share = 0.0
    light: Share = 0.0
    noise: Share = 0.0
    calm: Share = 0.0
    calm_strength: Share = 0.4


class Model(Settings):
    architecture: str
    arguments: dict[str, Any] = {}
    optimizer: Optimizer
    schedule: Schedule
    epochs: Annotated[int, Field(ge=1)]
    members: Annotated[int, Field(ge=1)] = 1
    test_time_shift: Annotated[int, Field(ge=0, le=4)] = 0
    minimum_steps: Annotated[int, Field(ge=0)] = 0
    batch_size: Annotated[int, Field(ge=1)]
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    augmentation: Augmentation = Augmentation()
    precision: Literal["auto", "float32", "bfloat16"]
    seed: int
    threads: Annotated[int, Field(ge=1)]


class Inside(Settings):
    """The small network that the page shows at work."""

    widths: Annotated[list[int], Field(min_length=2, max_length=2)]
    epochs: Annotated[int, Field(ge=1)]
    minimum_steps: Annotated[int, Field(ge=0)]
    batch_size: Annotated[int, Field(ge=1)]
    learning_rate: Annotated[float, Field(gt=0)]
    augmentation: Augmentation
    seed: int


class Reference(Model):
    """A model that others describe: as an entry of `models:`, with what the description says and leaves open."""

    described: str
    stated: str
    open: str | None = None
    validation_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    architecture: str = "plain"
    optimizer: Optimizer = Optimizer(name="adam", learning_rate=0.001)
    schedule: Schedule = Schedule(name="constant")
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    seed: int = 1
    threads: Annotated[int, Field(ge=1)] = 2


class Export(Settings):
    changed_decisions: Share
    accuracy_loss: Share


class Corrupt(Settings):
    seed: int
    images: Annotated[int, Field(ge=1)]
    validation_images: Annotated[int, Field(ge=2)]
    sensitivity_images: Annotated[int, Field(ge=1)]
    non_digits: Annotated[int, Field(ge=20)]


class Evaluate(Settings):
    reliable_accuracy: Share
    calibration_bins: Annotated[int, Field(ge=2)]
    latency_calls: Annotated[int, Field(ge=1)]
    refused_digits: Annotated[float, Field(gt=0, lt=1)]


class Compare(Settings):
    significance: Annotated[float, Field(gt=0, lt=1)]
    resamples: Annotated[int, Field(ge=100)]
    seed: int
    pictures: Annotated[int, Field(ge=1)]


class Gate(Settings):
    tolerance: Share
    labelled_tolerance: Share
    minimum_labels: Annotated[int, Field(ge=1)]
    significance: Annotated[float, Field(gt=0, lt=1)]


class Feedback(Settings):
    agreement: Annotated[float, Field(gt=0.5, le=1)]
    rejected_below: Share
    class_share: Share
    client_share: Share


class Monitor(Settings):
    hours: Annotated[float, Field(gt=0)]
    images: Annotated[int, Field(ge=1)]
    minimum: Annotated[int, Field(ge=1)]
    minimum_labels: Annotated[int, Field(ge=1)]
    rules: Share
    mean_difference: Annotated[float, Field(gt=0)]
    population_stability: Annotated[float, Field(gt=0)]
    divergence: Annotated[float, Field(gt=0)]
    uncertain: Annotated[float, Field(gt=0)]
    disagreement: Annotated[float, Field(gt=0)]
    accuracy: Annotated[float, Field(gt=0)]
    pictures: Annotated[int, Field(ge=1)]


class Package(Settings):
    probability_tolerance: Share


class Range(Settings):
    """Values to search: one of `choices`, or between `low` and `high`, evenly in the logarithm when `log`."""

    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    choices: list[bool | int | float | str] | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> "Range":
        if (self.choices is None) == (self.low is None or self.high is None):
            raise ValueError("give either low and high, or choices")
        return self


class Sweep(Settings):
    model: Name
    trials: Annotated[int, Field(ge=1)]
    epochs: Annotated[int, Field(ge=1)]
    storage: str
    seed: int
    ranges: Annotated[dict[str, Range], Field(min_length=1)]


class Params(Settings):
    data: Data
    models: Annotated[dict[Name, Model], Field(min_length=1)]
    inside: Inside
    export: Export
    corrupt: Corrupt
    evaluate: Evaluate
    compare: Compare
    gate: Gate
    feedback: Feedback
    monitor: Monitor
    package: Package
    sweep: Sweep


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


Parsed = TypeVar("Parsed", bound=BaseModel)


def load_params(path: Path = PARAMS) -> Params:
    """Read `params.yaml`. Raises PipelineError with one line for each key that is wrong."""
    params = _parse(path, Params, _read_yaml(path))
    if reserved := RESERVED_NAMES & params.models.keys():
        raise PipelineError(f"{path.name}: models.{min(reserved)}: the name belongs to the registry; choose another")
    return params


def load_datasets(path: Path = DATASETS) -> dict[str, Dataset]:
    """Read `datasets.yaml`: name to entry. Raises PipelineError with one line for each key that is wrong."""
    return {name: _parse(path, Dataset, entry, name) for name, entry in _read_yaml(path).items()}


def load_references(path: Path = REFERENCE_MODELS) -> dict[str, Reference]:
    """Read `references.yaml`: name to entry. Raises PipelineError with one line for each key that is wrong."""
    return {name: _parse(path, Reference, entry, name) for name, entry in _read_yaml(path).items()}


def load_dataset(name: str) -> Dataset:
    """The entry of one dataset. Raises PipelineError that lists the known names when it is not among them."""
    datasets = load_datasets()
    if name not in datasets:
        raise PipelineError(f"data.dataset: {name!r} is unknown; known are {', '.join(datasets)}")
    return datasets[name]


def flatten(settings: BaseModel, prefix: str) -> dict[str, Any]:
    """Leaves of `settings` by dotted path, as DVC and MLflow name parameters."""
    flat: dict[str, Any] = {}

    def walk(node: Any, path: str) -> None:
        if isinstance(node, dict):
            for key, value in node.items():
                walk(value, f"{path}.{key}")
        else:
            flat[path] = node

    walk(settings.model_dump(), prefix)
    return flat


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PipelineError(f"{path.name} is missing; restore it with: git checkout {path.name}") from None
    except yaml.YAMLError as error:
        raise PipelineError(f"{path.name} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise PipelineError(f"{path.name} must be a mapping of keys to values")
    return content


def _parse(path: Path, kind: type[Parsed], content: Any, prefix: str = "") -> Parsed:
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            key = ".".join(str(part) for part in (prefix, *problem["loc"]) if part != "")
            lines.append(f"{path.name}: {key}: {problem['msg']} (found {problem['input']!r:.60})")
        raise PipelineError("\n".join(lines)) from None
