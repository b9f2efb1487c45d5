"""The command `digits`, and errors of all commands: one line and a status, never a traceback."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sql

from pipeline.console import describe_missing
from pipeline.paths import MODELS
from recognition import __version__
from records.database import HEAD
from tests.conftest import REPOSITORY

COMMANDS = {
    "serve", "ask", "predict", "import", "promote", "rollback", "challenge", "champions", "report", "mlflow", "sweep",
    "references", "seeds", "monitor", "feedback", "review", "erase", "migrate", "backup",
}  # fmt: skip
DIGITS = str(Path(sys.executable).with_name("digits"))
LIBRARIES = ("tensorflow", "keras", "mlflow", "great_expectations", "bentoml", "numpy", "pandas", "sqlalchemy")


def run(
    *command: str, folder: Path = REPOSITORY, status: int = 0, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a program of the environment, or Python for a name with `-m`. Checks its status."""
    program = sys.executable if command[0] == "-m" else DIGITS
    arguments = command if command[0] == "-m" else command[1:]
    done = subprocess.run(
        [program, *arguments], cwd=folder, env={**os.environ, **environment}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    return done


def error_of(*command: str, status: int, folder: Path = REPOSITORY, **environment: str) -> str:
    """The only line that a failing command writes."""
    done = run(*command, status=status, folder=folder, **environment)
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ") and done.stdout == ""
    return line.removeprefix("error: ")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code of the project in another folder, without data, models and reports."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("pipeline", "serving", "recognition", "records"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("params.yaml", "digits.py"):
        shutil.copy(REPOSITORY / name, folder)
    return folder


def test_the_help_lists_every_command() -> None:
    listed = run("digits", "--help").stdout.split("Commands:")[1]
    assert set(re.findall(r"^  (\w+) +[A-Z]", listed, re.MULTILINE)) == COMMANDS
    assert run("digits").stdout == run("digits", "--help").stdout


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_has_help_with_an_example(command: str) -> None:
    text = run("digits", command, "--help").stdout
    assert f"Usage: digits {command}" in text and re.search(rf"Example: .*digits {command}", text)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["sweep", "--help"], ["monitor", "--help"]])
def test_help_imports_no_large_library(arguments: list[str]) -> None:
    code = "import atexit, sys, digits; sys.argv[1:] = {}; atexit.register(lambda: print(*sys.modules)); digits.main()"
    done = subprocess.run(
        [sys.executable, "-c", code.format(arguments)], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    imported = done.stdout.splitlines()[-1].split()
    assert "typer" in imported and set(imported) & {*LIBRARIES} == set()


def test_the_version_is_that_of_the_project() -> None:
    assert run("digits", "--version").stdout == f"digits {__version__}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_it_completes_commands_and_options_in_a_shell(shell: str) -> None:
    assert (
        "digits" in run("digits", "--show-completion", shell, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1").stdout
    )
    words = {"_DIGITS_COMPLETE": "complete_bash", "COMP_CWORD": "1", "COMP_WORDS": "digits pro"}
    assert run("digits", **words).stdout.split() == ["promote"]
    words |= {"COMP_CWORD": "2", "COMP_WORDS": "digits promote --re"}
    assert run("digits", **words).stdout.split() == ["--reason"]


def test_it_finds_the_project_from_a_folder_below(clone: Path, tmp_path: Path) -> None:
    variables = {"DIGITS_DATABASE_URL": f"sqlite:///{tmp_path / 'records.db'}"}
    said = run("digits", "migrate", folder=clone / "serving" / "page", **variables).stdout
    assert said == f"sqlite:///{tmp_path / 'records.db'}: schema {HEAD}\n"
    tables = sql.inspect(sql.create_engine(f"sqlite:///{tmp_path / 'records.db'}")).get_table_names()
    assert {"predictions", "labels", "ledger"} <= {*tables}


def test_the_code_of_the_current_folders_project_runs(clone: Path) -> None:
    (clone / "recognition" / "__init__.py").write_text('__version__ = "9.9"\n')
    assert run("digits", "--version", folder=clone / "records").stdout == "digits 9.9\n"
    assert run("digits", "--version").stdout == f"digits {__version__}\n"


def test_outside_a_project_it_names_the_file_that_it_looked_for(tmp_path: Path) -> None:
    for command in (["champions"], ["serve", "--port", "1"], ["report"]):
        said = error_of("digits", *command, status=1, folder=tmp_path)
        assert f"{tmp_path} is in no project" in said and "pipeline/cli/commands.py" in said
    assert "Usage: digits serve" in run("digits", "serve", "--help", folder=tmp_path).stdout
    said = error_of("digits", "ask", "-", "--url", "http://127.0.0.1:9", status=1, folder=tmp_path)
    assert said.startswith("no answer from http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["promot"], "No such command 'promot'. Did you mean 'promote'?"),
        (["promote"], "Missing argument 'version'"),
        (["promote", "3", "4"], "unexpected extra argument"),
        (["serve", "--port", "abc"], "'--port': Input should be a valid integer"),
        (["serve", "--port", "99999"], "'--port': Input should be less than or equal to 65535"),
        (["monitor", "--hours", "x"], "'--hours'"),
        (["review", "--accept", "x"], "'--accept'"),
        (["champions", "--jsn"], "No such option: --jsn"),
    ],
)
def test_wrong_arguments_are_one_line(arguments: list[str], text: str) -> None:
    said = error_of("digits", *arguments, status=2)
    assert text in said and said.endswith("--help shows the usage")


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("pipeline.train", "Missing argument 'name'"),
        ("pipeline.train a b", "unexpected extra argument(s) (b)"),
        ("pipeline.fetch a", "unexpected extra argument(s) (a)"),
        ("pipeline.deployment.serve --port abc", "'--port': Input should be a valid integer"),
        ("pipeline.deployment.serve --port 99999", "'--port': Input should be less than or equal to 65535"),
        ("pipeline.registry.promotion demote", "No such command 'demote'"),
        ("serving.client", "Missing argument 'pictures'"),
        ("learn.from_scratch --epochs 0", "'--epochs': Input should be greater than or equal to 1"),
    ],
)
def test_a_module_with_wrong_arguments_is_one_line(command: str, text: str) -> None:
    assert text in error_of("-m", *command.split(), status=2)


def test_every_module_that_is_a_command_reports_errors_in_this_way() -> None:
    commands = [path for path in (REPOSITORY / "pipeline").rglob("*.py") if "__main__" in path.read_text()]
    assert len(commands) > 25
    for path in commands:
        assert re.search(r"^    run_(main\(main|app\(app)", path.read_text(), re.MULTILINE), path


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (["-m", "pipeline.evaluate", "cnn"], "models/cnn/model.tflite is missing; create it with: dvc repro"),
        (["-m", "pipeline.register"], "reports/comparison.json is missing; create it with: dvc repro"),
        (["-m", "pipeline.package"], "reports/registered.json is missing; create it with: dvc repro"),
        (["-m", "pipeline.validate"], "dvc repro"),
        (["-m", "pipeline.train", "cnn"], "data/prepared/train.npz is missing; run: dvc repro prepare"),
        (["-m", "pipeline.train", "cnm"], "models.cnm is not in params.yaml; known models: mlp, cnn"),
        (["digits", "serve"], "reports/registered.json is missing; create it with: dvc repro"),
        (["digits", "report"], "there is no report yet; run: dvc repro compare"),
        (["digits", "monitor"], "reports/registered.json is missing; create it with: dvc repro"),
        (["digits", "predict", "none"], "none does not exist; expected a folder of pictures or a Parquet file"),
        (["digits", "backup", "--restore", "none"], "none is not a complete backup"),
    ],
)
def test_a_missing_file_is_one_line_with_its_remedy(clone: Path, command: list[str], text: str) -> None:
    assert text in error_of(*command, status=3 if "pipeline.monitoring.monitor" in command else 1, folder=clone)


def test_a_file_that_no_stage_writes_is_not_made_by_dvc(tmp_path: Path) -> None:
    for path in (tmp_path / "x.npz", Path("x.npz")):
        with pytest.raises(FileNotFoundError) as missing:
            path.read_bytes()
        assert describe_missing(missing.value) == f"{path} is missing"
    with pytest.raises(FileNotFoundError) as missing, (MODELS / "none" / "model.tflite").open():
        pass
    assert (
        describe_missing(missing.value) == f"{MODELS / 'none' / 'model.tflite'} is missing; create it with: dvc repro"
    )


def test_a_folder_in_place_of_a_file_is_one_line(clone: Path, tmp_path: Path) -> None:
    (tmp_path / "saved").write_text("")
    said = error_of("digits", "backup", str(tmp_path / "saved"), status=1, folder=clone)
    assert said == f"{tmp_path / 'saved'} cannot be used: Not a directory"


def test_a_missing_program_is_named_with_its_remedy(clone: Path, tmp_path: Path) -> None:
    variables = {"PATH": str(tmp_path), "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}"}
    variables |= {"DIGITS_DATABASE_URL": f"sqlite:///{tmp_path / 'records.db'}"}
    said = error_of("-m", "pipeline.deployment.retrain", status=1, folder=clone, **variables)
    assert said.startswith("the program dvc is not on PATH; activate the environment with: source .venv/bin/activate")
    git = FileNotFoundError(2, "No such file or directory", "git")
    assert describe_missing(git) == "the program git is not on PATH; install it, for example with: apt-get install git"


def wait_for_tensorflow(process: "subprocess.Popen[str]") -> None:
    """Wait until the process loads TensorFlow, which takes seconds."""
    if not Path("/proc").exists():
        process.kill()
        pytest.skip("the loaded libraries are listed in /proc, on Linux only")
    while process.poll() is None and "/tensorflow/" not in Path(f"/proc/{process.pid}/maps").read_text():
        time.sleep(0.01)


def interrupt(command: list[str], folder: Path, wait: Callable[["subprocess.Popen[str]"], object]) -> tuple[int, str]:
    """Send Ctrl-C to a command after `wait`. Returns its status and error output."""

    def listen() -> None:  # a shell's background jobs ignore Ctrl-C, and so would the command
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    pipes: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=folder, preexec_fn=listen, **pipes) as process:
        try:
            wait(process)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
        return process.returncode, said


def test_ctrl_c_during_the_imports_of_a_stage_prints_no_traceback(clone: Path) -> None:
    status, said = interrupt([sys.executable, "-m", "pipeline.train", "cnn"], clone, wait_for_tensorflow)
    # A shell reports 130. Python 3.12 aborts if the interrupt comes while TensorFlow's extension modules initialize
    assert status == -signal.SIGINT or (sys.version_info >= (3, 12) and status == -signal.SIGABRT)
    assert "Traceback" not in said and "KeyboardInterrupt" not in said


def test_ctrl_c_during_the_imports_of_a_command_has_status_130(clone: Path) -> None:
    status, said = interrupt([DIGITS, "references"], clone, wait_for_tensorflow)
    assert status == 130 or (sys.version_info >= (3, 12) and status == -signal.SIGABRT)
    assert "Traceback" not in said and "KeyboardInterrupt" not in said


@pytest.mark.parametrize("command", [[DIGITS, "ask"], [sys.executable, "-m", "serving.client"]])
def test_ctrl_c_in_a_running_command_has_status_130(command: list[str], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "picture.png")
    opened: list[int] = []

    def wait(process: object) -> None:  # until the command reads the picture
        opened.append(os.open(tmp_path / "picture.png", os.O_WRONLY))

    assert interrupt([*command, str(tmp_path / "picture.png")], REPOSITORY, wait) == (130, "")
    os.close(opened[0])


@pytest.mark.slow
def test_setup_installs_the_command_and_repeats_it_after_a_change(tmp_path: Path) -> None:
    folder = tmp_path / "clone"
    for name in ("pipeline", "serving", "recognition", "records"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("Makefile", "pyproject.toml", "digits.py", "README.md", "requirements.in", "LICENSE"):
        shutil.copy(REPOSITORY / name, folder)
    environment = venv.EnvBuilder(with_pip=True, system_site_packages=False)
    environment.create(folder / ".venv")
    (folder / ".venv" / "bin" / "uv").write_text("#!/bin/sh\nexit 1\n")  # pip is the fallback
    (folder / ".venv" / "bin" / "uv").chmod(0o755)
    first = subprocess.run(["make", ".venv/.project"], cwd=folder, capture_output=True, text=True, check=True)
    assert first.stdout == "installing digits\n"
    again = subprocess.run(["make", ".venv/.project"], cwd=folder, capture_output=True, text=True, check=True)
    assert "installing" not in again.stdout
    later = (folder / ".venv" / ".project").stat().st_mtime + 1  # whatever the clock does
    os.utime(folder / "pyproject.toml", (later, later))
    (folder / "recognition" / "__init__.py").write_text('__version__ = "0.2"\n')
    subprocess.run(["make", ".venv/.project"], cwd=folder, check=True, capture_output=True)
    python = folder / ".venv" / "bin" / "python"
    listed = subprocess.run([python, "-m", "pip", "list", "--format=json"], capture_output=True, check=True).stdout
    (installed,) = (entry for entry in json.loads(listed) if entry["name"] == "digits-mlops")
    assert (installed["version"], installed["editable_project_location"]) == ("0.2", str(folder))
    assert (folder / ".venv" / "bin" / "digits").exists()


def test_setup_installs_nothing_into_the_environment_of_another_clone(tmp_path: Path) -> None:
    (tmp_path / "other" / "bin").mkdir(parents=True)
    (tmp_path / "other" / "bin" / "uv").write_text("#!/bin/sh\necho called\n")
    (tmp_path / "other" / "bin" / "uv").chmod(0o755)
    (tmp_path / "clone").mkdir()
    (tmp_path / "clone" / ".venv").symlink_to(tmp_path / "other")
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, tmp_path / "clone")
    done = subprocess.run(
        ["make", ".venv/.project"], cwd=tmp_path / "clone", capture_output=True, text=True, check=True
    )
    assert "called" not in done.stdout and not (tmp_path / "other" / ".project").exists()
