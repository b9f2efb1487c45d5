"""Parameter profiles: applied to params.yaml without losing comments, rejected if invalid, printed for DVC."""

import shlex

import pytest
import typer
import yaml

from pipeline.console import PipelineError
from pipeline.params import load_params
from pipeline.paths import PARAMS, ROOT
from pipeline.settings import read_yaml
from pipeline.training import architectures, profiles


@pytest.fixture
def params(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text(PARAMS.read_text())
    return path


def test_a_profile_changes_its_values_only(params) -> None:
    before = yaml.safe_load(params.read_text())
    profiles.apply({"models": {"cnn": {"epochs": 33, "arguments": {"dropout": 0.2}}}}, params)
    after = load_params(params).models["cnn"]
    assert after.epochs == 33 and after.arguments == {**before["models"]["cnn"]["arguments"], "dropout": 0.2}
    content = yaml.safe_load(params.read_text())
    content["models"]["cnn"]["epochs"] = before["models"]["cnn"]["epochs"]
    del content["models"]["cnn"]["arguments"]["dropout"]
    assert content == before
    comments = [line.split("#")[1] for line in PARAMS.read_text().splitlines() if "#" in line]
    assert [line.split("#")[1] for line in params.read_text().splitlines() if "#" in line] == comments


def test_an_unknown_key_is_rejected_and_changes_nothing(params) -> None:
    before = params.read_text()
    with pytest.raises(PipelineError, match=r"models\.cnn\.epoch: .*not permitted"):
        profiles.apply({"models": {"cnn": {"epoch": 33}}}, params)
    assert params.read_text() == before


def test_arguments_for_dvc_contain_the_same_changes() -> None:
    changes = {"models": {"cnn": {"epochs": 3, "arguments": {"filters": [4, 8, 8, 8]}, "precision": "float32"}}}
    options = shlex.split(profiles.arguments(changes))
    assert options == [
        "-S", "++models.cnn.epochs=3", "-S", "++models.cnn.arguments.filters=[4,8,8,8]",
        "-S", "++models.cnn.precision=float32",
    ]  # fmt: skip


def test_a_missing_or_invalid_file_is_an_error(tmp_path) -> None:
    app = typer.Typer()
    app.command()(profiles.main)
    with pytest.raises(typer.BadParameter, match=r"none\.yaml' does not exist"):
        app([str(tmp_path / "none.yaml")], standalone_mode=False)
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(PipelineError, match="must be a mapping"):
        profiles.main(tmp_path / "list.yaml")


def test_the_command_prints_options_or_changes_params(params, monkeypatch, capsys) -> None:
    monkeypatch.setattr(profiles.apply, "__defaults__", (params,))
    before, profile = params.read_text(), params.with_name("profile.yaml")
    profile.write_text("models: {mlp: {epochs: 7}}\n")
    profiles.main(profile, only_print=True)
    assert capsys.readouterr().out == "-S ++models.mlp.epochs=7\n" and params.read_text() == before
    profiles.main(profile)
    assert load_params(params).models["mlp"].epochs == 7
    assert "models.mlp.epochs" in capsys.readouterr().out


@pytest.mark.parametrize("path", sorted((ROOT / "profiles").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_profiles_of_the_repository_apply_and_build(path, params) -> None:
    before = load_params(params)
    profiles.apply(read_yaml(path), params)
    changed = load_params(params)
    assert changed != before
    for settings in changed.models.values():
        network = architectures.build(settings.architecture, 10, settings.arguments)
        convolutions = [layer.filters for layer in network.layers if hasattr(layer, "filters")]
        assert convolutions == settings.arguments.get("filters", [])
