"""params.yaml and datasets.yaml: accepted values, and errors that name every invalid key."""

from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from pipeline.console import PipelineError
from pipeline.data.datasets import Dataset, load_dataset, load_datasets
from pipeline.params import Augmentation, Optimizer, Params, load_params
from pipeline.paths import PARAMS
from pipeline.settings import RENAMED_KEYS, Settings
from pipeline.tracking import flatten


def changed(tmp_path: Path, edit: str) -> Path:
    content = yaml.safe_load(PARAMS.read_text())
    exec(edit, {"params": content})
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def error_lines(path: Path) -> list[str]:
    with pytest.raises(PipelineError) as raised:
        load_params(path)
    return str(raised.value).splitlines()


def test_the_files_of_the_repository_are_valid() -> None:
    assert list(load_params().models) == ["mlp", "cnn"]
    assert set(load_datasets()) == {"mnist", "fashion-mnist", "kmnist", "emnist-balanced", "optdigits"}


@pytest.mark.parametrize(
    ("edit", "key"),
    [
        ("params['models']['cnn']['epocs'] = 3", "models.cnn.epocs"),
        ("params['models']['cnn']['epochs'] = 0", "models.cnn.epochs"),
        ("params['data']['fallback'] = 'kmnist'", "data.fallback"),
        ("params['models']['cnn']['optimizer']['name'] = 'adamm'", "models.cnn.optimizer.name"),
        ("del params['selection']", "selection"),
        ("params['models']['champion'] = params['models']['cnn']", "models.champion"),
        ("params['models']['challenger'] = params['models']['cnn']", "models.challenger"),
        ("params['models']['latest'] = params['models']['cnn']", "models.latest"),
        ("params['models']['v2'] = params['models']['cnn']", "models.v2"),
        ("params['models']['v10'] = params['models']['cnn']", "models.v10"),
        ("params['models']['../x'] = params['models']['cnn']", "models.../x"),
        ("params['models'] = {}", "models"),
    ],
)
def test_an_invalid_key_or_value_is_named(tmp_path: Path, edit: str, key: str) -> None:
    (line,) = error_lines(changed(tmp_path, edit))
    assert line.startswith(f"params.yaml: {key}: ")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ("del params['models']['cnn']['augmentation']['smoothness']",
         "models.cnn.augmentation.smoothness: Value error, required, because elastic is 0.6"),
        ("del params['demo_network']['augmentation']['smoothness']",
         "demo_network.augmentation.smoothness: Value error, required, because elastic is 0.7"),
        ("del params['models']['mlp']['augmentation']['final_phase_strength']",
         "models.mlp.augmentation.final_phase_strength: Value error, required, because final_phase is 0.25"),
        ("del params['models']['mlp']['optimizer']['beta_2']",
         "models.mlp.optimizer.beta_2: Value error, required, because name is adamw"),
    ],
)  # fmt: skip
def test_a_value_is_required_while_what_uses_it_is_on(tmp_path: Path, edit: str, message: str) -> None:
    (line,) = error_lines(changed(tmp_path, edit))
    assert line.startswith(f"params.yaml: {message}")


def test_a_value_that_nothing_uses_may_be_missing(tmp_path: Path) -> None:
    model = "params['models']['cnn']"
    edit = f"{model}['optimizer'] = {{'name': 'sgd', 'learning_rate': 0.1}}; {model}['augmentation'] = {{'shift': 1}}"
    assert load_params(changed(tmp_path, edit)).models["cnn"].optimizer.beta_2 is None


def classes_below(kind: Any) -> set[type[Settings]]:
    """The settings classes that an annotation contains, with all below them."""
    if isinstance(kind, type) and issubclass(kind, Settings):
        return {kind}.union(*(classes_below(field.annotation) for field in kind.model_fields.values()))
    return set().union(*map(classes_below, get_args(kind)))


def test_a_default_in_the_code_means_off() -> None:
    found = classes_below(Params) | classes_below(Dataset)
    assert {Augmentation, Optimizer, Dataset} <= found
    defaults = {
        f"{kind.__name__}.{name}": field.default
        for kind in found
        for name, field in kind.model_fields.items()
        if not field.is_required()
    }
    assert "Augmentation.smoothness" in defaults
    off = {name: value.model_dump() if isinstance(value, Settings) else value for name, value in defaults.items()}
    assert not {name for name, value in off.items() if (any(value.values()) if isinstance(value, dict) else value)}


def test_all_invalid_keys_are_named_at_once(tmp_path: Path) -> None:
    assert len(error_lines(changed(tmp_path, "params['one'] = 1; params['two'] = 2"))) == 2


def test_a_renamed_key_is_one_error_that_gives_the_new_name(tmp_path: Path) -> None:
    edits = [
        ("", "gate", "selection"),
        ("", "inside", "demo_network"),  # required: the missing new key is not a second error
        ("['evaluate']", "reliable_accuracy", "selective_accuracy"),
        ("['models']['cnn']", "members", "ensemble_size"),
        ("['models']['cnn']['augmentation']", "calm", "final_phase"),  # optional
        ("['models']['cnn']['augmentation']", "calm_strength", "final_phase_strength"),  # required by final_phase
    ]
    for place, old, new in edits:
        path = changed(tmp_path, f"params{place}['{old}'] = params{place}.pop('{new}')")
        (line,) = error_lines(path)
        assert f"{old}: this key was renamed to {new}" in line


def test_a_missing_key_is_named_although_another_one_was_renamed(tmp_path: Path) -> None:
    path = changed(tmp_path, "params['inside'] = params.pop('demo_network'); del params['selection']")
    lines = error_lines(path)
    assert len(lines) == 2 and any("selection: Field required" in line for line in lines)


def test_every_renamed_key_is_unknown_and_its_new_name_known() -> None:
    known = {part for key in flatten(load_params().model_dump()) for part in key.split(".")}
    assert not RENAMED_KEYS.keys() & known
    assert {new for new in RENAMED_KEYS.values() if new} <= known


def test_the_removed_section_is_an_error(tmp_path: Path) -> None:
    lines = error_lines(changed(tmp_path, "params['package'] = {'probability_tolerance': 0.01}"))
    assert lines == ["params.yaml: package: this key was removed; delete it"]


def test_a_missing_or_unreadable_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="git checkout"):
        load_params(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("a: [")
    with pytest.raises(PipelineError, match="not valid YAML"):
        load_params(tmp_path / "params.yaml")


def test_an_unknown_dataset_is_an_error_with_the_known_names() -> None:
    with pytest.raises(PipelineError, match="optdigits"):
        load_dataset("minst")


def test_the_default_quality_bar_applies_to_unnamed_models() -> None:
    dataset = load_dataset("mnist")
    assert dataset.bar("third") == dataset.quality_bar["default"] < dataset.bar("cnn")


def test_parameters_are_flattened_to_dotted_keys() -> None:
    flat = flatten(load_params().models["cnn"].model_dump(), "models.cnn")
    assert flat["models.cnn.optimizer.name"] == "adamw"
    assert flat["models.cnn.arguments.filters"] == [16, 32, 64, 128]
    assert flatten({"a": {"b": 1}, "c": {}}) == {"a.b": 1}
