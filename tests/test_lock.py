"""dvc.lock fits the code: every stage's files in git, parameters and command are those that it names."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import REPOSITORY
from tests.test_repository import tracked

REMEDY = "run `dvc repro`, then commit dvc.lock"


def in_git(path: str, names: set[str]) -> bool:
    """Returns whether a dependency is a file in git or a folder of them. What users add in data/ is data, not code."""
    folder = f"{path}/"
    return not path.startswith("data/") and any(name == path or name.startswith(folder) for name in names)


def stale(checkout: Path) -> list[str]:
    """Returns one line for each dependency in git, parameter or command that differs from dvc.lock."""
    command = [sys.executable, "-m", "dvc", "status", "--json"]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    names = {path.relative_to(REPOSITORY).as_posix() for path in tracked()}
    lines = []
    for stage, changes in json.loads(done.stdout).items():
        for change in changes:
            if isinstance(change, str):
                lines.append(f"{stage}: {change}")
                continue
            for path, state in change.get("changed deps", {}).items():
                if isinstance(state, dict):
                    lines += [f"{stage}: {path}: {name} is {kind}" for name, kind in state.items()]
                elif in_git(path, names):
                    lines.append(f"{stage}: {path} is {state}")
    return lines


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The files of the repository that are in git, without data and models."""
    return check_out(tmp_path)


def check_out(folder: Path) -> Path:
    for path in tracked():
        copy = folder / path.relative_to(REPOSITORY)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    return folder


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What is stale in the repository as it is."""
    return stale(check_out(tmp_path_factory.mktemp("unchanged")))


def test_the_lock_file_fits_the_code(before: list[str]) -> None:
    assert not before, f"dvc.lock does not fit the code; {REMEDY}:\n" + "\n".join(before)


def test_a_changed_module_folder_or_parameter_is_found(checkout: Path, before: list[str]) -> None:
    for name in ("pipeline/prepare.py", "recognition/new.py", "docs/references.json"):
        with (checkout / name).open("a") as file:
            file.write("\n")
    params = checkout / "params.yaml"
    text = params.read_text()
    assert text.count("\n  tuning_share: ") == 1
    params.write_text(text.replace("\n  tuning_share: ", "\n  tuning_share: 0.5  # "))
    found = set(stale(checkout)) - set(before)
    assert found == {
        "prepare: pipeline/prepare.py is modified",
        "package: recognition is modified",
        "compare: docs/references.json is modified",
        *(f"{stage}: params.yaml: data.tuning_share is modified" for stage in ("prepare", "train@mlp", "train@cnn")),
    }


def test_a_stage_that_is_not_in_the_lock_file_or_has_another_command_is_found(checkout: Path) -> None:
    lock = checkout / "dvc.lock"
    content = yaml.safe_load(lock.read_text())
    del content["stages"]["corrupt"]
    content["stages"]["validate"]["cmd"] = "python -m pipeline.validation"
    lock.write_text(yaml.safe_dump(content))
    found = stale(checkout)
    assert "validate: changed command" in found
    assert "corrupt: pipeline/corrupt.py is modified" in found


def test_corrections_and_outputs_of_stages_are_not_compared(checkout: Path, before: list[str]) -> None:
    (checkout / "data" / "feedback" / "labels.npz").write_bytes(b"corrections of users")
    assert stale(checkout) == before
