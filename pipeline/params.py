"""`params.yaml` as typed, frozen objects."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from pipeline.paths import PARAMS
from pipeline.settings import (
    Count,
    Positive,
    Probability,
    Settings,
    Share,
    parse_settings,
    read_yaml,
    required_with,
)


def _no_alias(name: str) -> str:
    if re.fullmatch(r"champion|previous|challenger|latest|v\d+", name):  # MLflow reserves the last two
        raise ValueError("the model registry uses this name as an alias or a version; choose another")
    return name


Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,39}$"), AfterValidator(_no_alias)]  # also names a folder


class Data(Settings):
    dataset: str
    fallback: Literal["optdigits"] | None
    validation_share: Probability
    tuning_share: Probability
    pen_stroke_share: Annotated[float, Field(ge=0, lt=1)]

    @model_validator(mode="after")
    def _some_training_images(self) -> "Data":
        if self.validation_share + self.tuning_share >= 1:
            raise ValueError("validation_share and tuning_share must leave images for training: their sum is below 1")
        return self


class Optimizer(Settings):
    name: Literal["adam", "adamw", "rmsprop", "sgd"]
    learning_rate: Positive
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    beta_2: Annotated[Probability | None, required_with("name", "adam", "adamw")] = None
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0


class Schedule(Settings):
    name: Literal["constant", "cosine"]
    warmup: Share = 0.0


class Augmentation(Settings):  # random distortions of training images; params.yaml gives the units
    rotation: Annotated[float, Field(ge=0, le=180)] = 0.0
    shear: Annotated[float, Field(ge=0, le=45)] = 0.0
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.0
    shift: Annotated[float, Field(ge=0, le=14)] = 0.0
    elastic: Annotated[float, Field(ge=0, le=14)] = 0.0
    smoothness: Annotated[Annotated[int, Field(ge=2, le=14)] | None, required_with("elastic")] = None
    stroke: Share = 0.0
    degraded: Share = 0.0
    outline: Share = 0.0
    lines: Share = 0.0
    invert: Share = 0.0
    blur: Share = 0.0
    erase: Share = 0.0
    light: Share = 0.0
    noise: Share = 0.0
    final_phase: Share = 0.0
    final_phase_strength: Annotated[Share | None, required_with("final_phase")] = None


class Model(Settings):
    architecture: str
    arguments: dict[str, Any] = Field(default={})
    optimizer: Optimizer
    schedule: Schedule
    epochs: Count
    ensemble_size: Count
    tta_shift: Annotated[int, Field(ge=0, le=4)] = 0
    minimum_steps: Annotated[int, Field(ge=0)] = 0
    batch_size: Count
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    augmentation: Augmentation = Augmentation()
    precision: Literal["auto", "float32", "bfloat16"]
    seed: int
    threads: Count


class DemoNetwork(Settings):  # whose activations the page shows
    widths: Annotated[list[int], Field(min_length=2, max_length=2)]
    epochs: Count
    minimum_steps: Annotated[int, Field(ge=0)]
    batch_size: Count
    learning_rate: Positive
    augmentation: Augmentation
    seed: int


class Export(Settings):
    changed_decisions: Share
    accuracy_loss: Share


class Corrupt(Settings):
    seed: int
    images: Count
    validation_images: Annotated[int, Field(ge=2)]
    sensitivity_images: Count
    forms: Annotated[int, Field(ge=0)]
    ood_samples: Annotated[int, Field(ge=20)]
    segments: Annotated[int, Field(ge=20)]


class Evaluate(Settings):
    selective_accuracy: Share
    calibration_bins: Annotated[int, Field(ge=2)]
    latency_calls: Count
    false_rejection_rate: Probability


class Compare(Settings):
    pictures: Count


class Selection(Settings):
    """The rule by which one model replaces another, in the comparison and at the gate."""

    significance: Probability
    tolerance: Share
    corrupted_tolerance: Share
    ood_tolerance: Share
    labelled_tolerance: Share
    minimum_images: Count
    minimum_labels: Count


class Feedback(Settings):
    agreement: Annotated[float, Field(gt=0.5, le=1)]
    rejected_below: Share
    class_share: Share
    client_share: Share


class Monitor(Settings):
    hours: Positive
    images: Count
    minimum: Count
    minimum_labels: Count
    rules: Share
    mean_difference: Positive
    population_stability: Positive
    divergence: Positive
    uncertain: Positive
    disagreement: Positive
    accuracy: Positive
    pictures: Count


class Range(Settings):
    """Search range: `choices`, or `low` to `high`, on a logarithmic scale if `log`."""

    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    choices: list[bool | int | float | str] | None = None

    @model_validator(mode="after")
    def _either_kind(self) -> "Range":
        if (self.choices is None) == (self.low is None or self.high is None):
            raise ValueError("give either low and high, or choices")
        return self


class Sweep(Settings):
    model: Name
    trials: Count
    epochs: Count
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
    selection: Selection
    feedback: Feedback
    monitor: Monitor
    sweep: Sweep


def load_params(path: Path = PARAMS) -> Params:
    """Read `params.yaml`. Raises PipelineError with one line for each invalid key."""
    return parse_settings(path, Params, read_yaml(path))
