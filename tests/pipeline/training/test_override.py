"""Override files: applied to params.yaml with its comments kept, refused when they would break it, or given to DVC."""

import shlex

import pytest
import yaml

from pipeline.console import PipelineError
from pipeline.params import load_params
from pipeline.paths import PARAMS, ROOT
from pipeline.training import architectures, override


@pytest.fixture
def params(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(PARAMS.read_text())
    return path


def test_named_values_change_and_all_else_stays(params) -> None:
    before = yaml.safe_load(params.read_text())
    override.apply({"models": {"cnn": {"epochs": 33, "arguments": {"dropout": 0.2}}}}, params)
    after = load_params(params).models["cnn"]
    assert after.epochs == 33 and after.arguments == {**before["models"]["cnn"]["arguments"], "dropout": 0.2}
    content = yaml.safe_load(params.read_text())
    content["models"]["cnn"]["epochs"] = before["models"]["cnn"]["epochs"]
    del content["models"]["cnn"]["arguments"]["dropout"]
    assert content == before
    comments = [line.split("#")[1] for line in PARAMS.read_text().splitlines() if "#" in line]
    assert [line.split("#")[1] for line in params.read_text().splitlines() if "#" in line] == comments


def test_what_params_do_not_know_is_refused_and_changes_nothing(params) -> None:
    before = params.read_text()
    with pytest.raises(PipelineError, match=r"models\.cnn\.epoch: .*not permitted"):
        override.apply({"models": {"cnn": {"epoch": 33}}}, params)
    assert params.read_text() == before


def test_arguments_for_dvc_say_the_same() -> None:
    changes = {"models": {"cnn": {"epochs": 3, "arguments": {"filters": [4, 8, 8, 8]}, "precision": "float32"}}}
    words = shlex.split(override.arguments(changes))
    assert words == [
        "-S", "++models.cnn.epochs=3", "-S", "++models.cnn.arguments.filters=[4,8,8,8]",
        "-S", "++models.cnn.precision=float32",
    ]  # fmt: skip


def test_a_file_that_is_missing_or_no_mapping_is_named(tmp_path) -> None:
    with pytest.raises(PipelineError, match=r"none.yaml is missing"):
        override.read(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(PipelineError, match="must be a mapping"):
        override.read(tmp_path / "list.yaml")


@pytest.mark.parametrize("path", sorted((ROOT / "profiles").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_repositorys_profiles_fit_its_params_and_build(path, params) -> None:
    before = load_params(params)
    override.apply(override.read(path), params)
    changed = load_params(params)
    assert changed != before
    for settings in changed.models.values():
        network = architectures.build(settings.architecture, 10, settings.arguments)
        convolutions = [layer.filters for layer in network.layers if hasattr(layer, "filters")]
        assert convolutions == settings.arguments.get("filters", [])
