"""Settings files: typed, read-only objects from YAML, and errors that name every invalid key."""

from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from pipeline.console import PipelineError

RENAMED_KEYS = {  # old key: new key, or None for a removed key
    "calm": "final_phase",
    "calm_strength": "final_phase_strength",
    "gate": "selection",
    "inside": "demo_network",
    "members": "ensemble_size",
    "non_digits": "ood_samples",
    "package": None,
    "refused_digits": "false_rejection_rate",
    "resamples": None,
    "reliable_accuracy": "selective_accuracy",
    "test_time_shift": "tta_shift",
}

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
Probability = Annotated[float, Field(gt=0, lt=1)]
Parsed = TypeVar("Parsed")


class Settings(BaseModel):
    """Read-only settings; unknown keys are errors. A default only means "off" (0, none, empty): DVC does not see it."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), validate_default=True)


def required_with(switch: str, *values: str) -> AfterValidator:
    """Returns a validator that forbids None if the earlier key `switch` is one of `values` (without any: is on)."""

    def check(value: Any, info: Any) -> Any:
        setting = info.data.get(switch)
        if value is None and (setting in values if values else setting):
            raise ValueError(f"required, because {switch} is {setting}")
        return value

    return AfterValidator(check)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file. Raises PipelineError if it is missing or not a mapping."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise PipelineError(f"{path.name} is missing; restore it with: git checkout {path.name}") from None
    except yaml.YAMLError as error:
        raise PipelineError(f"{path.name} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise PipelineError(f"{path.name} must be a mapping of keys to values")
    return content


def parse_settings(path: Path, kind: type[Parsed], content: Any) -> Parsed:
    """Validate the `content` of `path`. Raises PipelineError with one line for each invalid key."""
    try:
        return TypeAdapter(kind).validate_python(content)
    except ValidationError as error:
        lines = []
        new_names = {RENAMED_KEYS.get(str(problem["loc"][-1])) for problem in error.errors()}
        for problem in error.errors():
            parts = [str(part) for part in problem["loc"] if part != "[key]"]
            key, message = parts[-1], f"{problem['msg']} (found {problem['input']!r:.60})"
            if problem["type"] == "extra_forbidden" and key in RENAMED_KEYS:
                new_name = RENAMED_KEYS[key]
                message = f"this key was renamed to {new_name}" if new_name else "this key was removed; delete it"
            if key not in new_names or problem["type"] not in ("missing", "value_error"):  # the old key's line names it
                lines.append(f"{path.name}: {'.'.join(parts)}: {message}")
        raise PipelineError("\n".join(lines)) from None
