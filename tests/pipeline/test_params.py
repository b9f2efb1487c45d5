"""params.yaml and datasets.yaml: accepted values, and errors that name every invalid key."""

from pathlib import Path

import pytest
import yaml

from pipeline.console import PipelineError
from pipeline.data.datasets import load_dataset, load_datasets
from pipeline.params import RENAMED_KEYS, flatten, load_params
from pipeline.paths import PARAMS


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
    assert set(load_datasets()) == {"mnist", "fashion-mnist", "kmnist", "optdigits"}


@pytest.mark.parametrize(
    ("edit", "key"),
    [
        ("params['models']['cnn']['epocs'] = 3", "models.cnn.epocs"),
        ("params['models']['cnn']['epochs'] = 0", "models.cnn.epochs"),
        ("params['data']['fallback'] = 'kmnist'", "data.fallback"),
        ("params['models']['cnn']['optimizer']['name'] = 'adamm'", "models.cnn.optimizer.name"),
        ("del params['selection']", "selection"),
        ("params['models']['champion'] = params['models']['cnn']", "models.champion"),
        ("params['models']['../x'] = params['models']['cnn']", "models.../x"),
        ("params['models'] = {}", "models"),
    ],
)
def test_an_invalid_key_or_value_is_named(tmp_path: Path, edit: str, key: str) -> None:
    (line,) = error_lines(changed(tmp_path, edit))
    assert line.startswith(f"params.yaml: {key}: ")


def test_all_invalid_keys_are_named_at_once(tmp_path: Path) -> None:
    assert len(error_lines(changed(tmp_path, "params['one'] = 1; params['two'] = 2"))) == 2


def test_a_renamed_key_is_one_error_that_gives_the_new_name(tmp_path: Path) -> None:
    edits = [
        ("", "gate", "selection"),
        ("", "inside", "demo_network"),  # required: the missing new key is not a second error
        ("['evaluate']", "reliable_accuracy", "selective_accuracy"),
        ("['models']['cnn']", "members", "ensemble_size"),  # optional
        ("['models']['cnn']['augmentation']", "calm", "final_phase"),
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
    assert flat["models.cnn.arguments.filters"] == [28, 40, 64, 128]
    assert flatten({"a": {"b": 1}, "c": {}}) == {"a.b": 1}
