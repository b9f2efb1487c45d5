"""`params.yaml` and `datasets.yaml` as typed, frozen objects; every unknown key or wrong value is named at once."""

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipeline.console import PipelineError
from pipeline.paths import PARAMS

Share = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]  # is a folder, an alias, a query parameter
RENAMED_KEYS = {  # old key: new key
    "calm": "final_phase",
    "calm_strength": "final_phase_strength",
    "inside": "demo_network",
    "members": "ensemble_size",
    "non_digits": "ood_samples",
    "refused_digits": "false_rejection_rate",
    "reliable_accuracy": "selective_accuracy",
    "test_time_shift": "tta_shift",
}
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
    final_phase: Share = 0.0
    final_phase_strength: Share = 0.4


class Model(Settings):
    architecture: str
    arguments: dict[str, Any] = {}
    optimizer: Optimizer
    schedule: Schedule
    epochs: Annotated[int, Field(ge=1)]
    ensemble_size: Annotated[int, Field(ge=1)] = 1
    tta_shift: Annotated[int, Field(ge=0, le=4)] = 0
    minimum_steps: Annotated[int, Field(ge=0)] = 0
    batch_size: Annotated[int, Field(ge=1)]
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    augmentation: Augmentation = Augmentation()
    precision: Literal["auto", "float32", "bfloat16"]
    seed: int
    threads: Annotated[int, Field(ge=1)]


class DemoNetwork(Settings):
    """The small network that the page shows at work."""

    widths: Annotated[list[int], Field(min_length=2, max_length=2)]
    epochs: Annotated[int, Field(ge=1)]
    minimum_steps: Annotated[int, Field(ge=0)]
    batch_size: Annotated[int, Field(ge=1)]
    learning_rate: Annotated[float, Field(gt=0)]
    augmentation: Augmentation
    seed: int


class Export(Settings):
    changed_decisions: Share
    accuracy_loss: Share


class Corrupt(Settings):
    seed: int
    images: Annotated[int, Field(ge=1)]
    validation_images: Annotated[int, Field(ge=2)]
    sensitivity_images: Annotated[int, Field(ge=1)]
    ood_samples: Annotated[int, Field(ge=20)]


class Evaluate(Settings):
    selective_accuracy: Share
    calibration_bins: Annotated[int, Field(ge=2)]
    latency_calls: Annotated[int, Field(ge=1)]
    false_rejection_rate: Annotated[float, Field(gt=0, lt=1)]


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
    demo_network: DemoNetwork
    export: Export
    corrupt: Corrupt
    evaluate: Evaluate
    compare: Compare
    gate: Gate
    feedback: Feedback
    monitor: Monitor
    package: Package
    sweep: Sweep


Parsed = TypeVar("Parsed", bound=BaseModel)


def load_params(path: Path = PARAMS) -> Params:
    """Read `params.yaml`. Raises PipelineError with one line for each key that is wrong."""
    params = parse_settings(path, Params, read_yaml(path))
    if reserved := RESERVED_NAMES & params.models.keys():
        raise PipelineError(f"{path.name}: models.{min(reserved)}: the name belongs to the registry; choose another")
    return params


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


def read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PipelineError(f"{path.name} is missing; restore it with: git checkout {path.name}") from None
    except yaml.YAMLError as error:
        raise PipelineError(f"{path.name} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise PipelineError(f"{path.name} must be a mapping of keys to values")
    return content


def parse_settings(path: Path, kind: type[Parsed], content: Any, prefix: str = "") -> Parsed:
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        lines = []
        problems = error.errors()
        renamed = {RENAMED_KEYS.get(str(problem["loc"][-1])) for problem in problems}
        for problem in problems:
            key = ".".join(str(part) for part in (prefix, *problem["loc"]) if part != "")
            last = str(problem["loc"][-1])
            if problem["type"] == "extra_forbidden" and last in RENAMED_KEYS:
                lines.append(f"{path.name}: {key}: this key was renamed to {RENAMED_KEYS[last]}")
            elif problem["type"] != "missing" or last not in renamed:
                lines.append(f"{path.name}: {key}: {problem['msg']} (found {problem['input']!r:.60})")
        raise PipelineError("\n".join(lines)) from None
