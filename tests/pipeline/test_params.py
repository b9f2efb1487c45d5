"""params.yaml and datasets.yaml: what is accepted, and what is said of what is not."""

from pathlib import Path

import pytest
import yaml

from pipeline.console import PipelineError
from pipeline.data.datasets import load_dataset, load_datasets
from pipeline.params import flatten, load_params
from pipeline.paths import PARAMS


def changed(tmp_path: Path, edit: str) -> Path:
    content = yaml.safe_load(PARAMS.read_text())
    exec(edit, {"params": content})
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_the_repositorys_own_files_are_valid() -> None:
    assert list(load_params().models) == ["mlp", "cnn"]
    assert set(load_datasets()) == {"mnist", "fashion-mnist", "kmnist", "optdigits"}


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        ("params['models']['cnn']['epocs'] = 3", "models.cnn.epocs"),
        ("params['models']['cnn']['epochs'] = 0", "models.cnn.epochs"),
        ("params['data']['fallback'] = 'kmnist'", "data.fallback"),
        ("params['models']['cnn']['optimizer']['name'] = 'adamm'", "models.cnn.optimizer.name"),
        ("del params['gate']", "gate"),
        ("params['models']['champion'] = params['models']['cnn']", "models.champion"),
        ("params['models']['../x'] = params['models']['cnn']", "models.../x"),
        ("params['models'] = {}", "models"),
    ],
)
def test_a_wrong_key_or_value_is_named(tmp_path: Path, edit: str, named: str) -> None:
    with pytest.raises(PipelineError, match=named.replace(".", r"\.")):
        load_params(changed(tmp_path, edit))


def test_all_wrong_keys_are_named_at_once(tmp_path: Path) -> None:
    path = changed(tmp_path, "params['one'] = 1; params['two'] = 2")
    with pytest.raises(PipelineError) as raised:
        load_params(path)
    assert len(str(raised.value).splitlines()) == 2


def test_a_missing_or_unreadable_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="git checkout"):
        load_params(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("a: [")
    with pytest.raises(PipelineError, match="not valid YAML"):
        load_params(tmp_path / "params.yaml")


def test_an_unknown_dataset_lists_the_known() -> None:
    with pytest.raises(PipelineError, match="optdigits"):
        load_dataset("minst")


def test_the_bar_of_an_unnamed_model_is_the_default() -> None:
    dataset = load_dataset("mnist")
    assert dataset.bar("third") == dataset.quality_bar["default"] < dataset.bar("cnn")


def test_parameters_are_flattened_as_dvc_names_them() -> None:
    flat = flatten(load_params().models["cnn"], "models.cnn")
    assert flat["models.cnn.optimizer.name"] == "adamw"
    assert flat["models.cnn.arguments.filters"] == [28, 40, 64, 128]
