"""GitHub workflows (schema, permissions, pins, a real run of every command), and the schedules of cron and systemd."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from pipeline.cli.commands import app
from pipeline.files import read_json
from tests.conftest import REPOSITORY, Project
from tests.runner import FOLDER, STAND_IN, TESTED_ELSEWHERE, WORKFLOWS, Runner, commands, steps

SERVICE_UNIT = REPOSITORY / "deploy" / "digits.service"
JOBS = {(workflow, name): job for workflow, content in WORKFLOWS.items() for name, job in content["jobs"].items()}


def test_they_are_valid() -> None:
    command = ["check-jsonschema", "--builtin-schema", "vendor.github-workflows", *map(str, FOLDER.glob("*.yml"))]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert set(WORKFLOWS) == {"audit.yml", "ci.yml", "docs.yml", "kubernetes.yml", "release.yml", "retrain.yml"}


def test_actions_are_pinned_by_commit_each_in_one_version() -> None:
    uses = [found for path in FOLDER.glob("*.yml") for found in re.findall(r"uses: (.*)", path.read_text())]
    assert uses and all(
        re.fullmatch(r"(actions|aquasecurity)/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", text) for text in uses
    )
    assert len({text.split("@")[0] for text in uses}) == len(set(uses))


def test_actions_run_on_a_supported_version_of_node() -> None:
    first_on_node_24 = {  # major version; attest and trivy-action follow other counts
        "checkout": 5, "setup-python": 6, "cache": 5, "upload-artifact": 6, "download-artifact": 7, "attest": 3,
        "configure-pages": 6, "upload-pages-artifact": 5, "deploy-pages": 5,
    }  # fmt: skip
    for path in FOLDER.glob("*.yml"):
        for name, major in re.findall(r"uses: actions/([a-z-]+)@\w+ # v(\d+)", path.read_text()):
            assert int(major) >= first_on_node_24[name], name


def test_jobs_have_minimal_permissions() -> None:
    assert {name: workflow["permissions"] for name, workflow in WORKFLOWS.items()} == {
        "audit.yml": {}, "ci.yml": {"contents": "read"}, "docs.yml": {}, "kubernetes.yml": {},
        "release.yml": {}, "retrain.yml": {},
    }  # fmt: skip
    signs = {"packages": "write", "id-token": "write", "attestations": "write"}
    assert {key: job["permissions"] for key, job in JOBS.items() if "permissions" in job} == {
        ("audit.yml", "requirements"): {"contents": "read"},
        ("audit.yml", "image"): {"contents": "read", "packages": "read"},
        ("ci.yml", "comment"): {"pull-requests": "write"},
        ("docs.yml", "build"): {"contents": "read", "pages": "read"},
        ("docs.yml", "publish"): {"pages": "write", "id-token": "write"},
        ("kubernetes.yml", "trial"): {"contents": "read"},
        ("release.yml", "notes"): {"contents": "read"},
        ("release.yml", "models"): {"contents": "read"},
        ("release.yml", "image"): {"contents": "read", **signs},
        ("release.yml", "release"): {"contents": "write", **signs},
        ("retrain.yml", "retrain"): {"contents": "write", "pull-requests": "write", "actions": "read"},
        ("retrain.yml", "image"): {"contents": "read", "packages": "write"},
    }


def test_pull_requests_see_no_secrets_and_only_own_branches_may_write() -> None:
    triggers = {name: set(workflow[True]) for name, workflow in WORKFLOWS.items()}  # YAML 1.1 reads `on` as true
    assert triggers == {
        "audit.yml": {"schedule", "workflow_dispatch"},
        "ci.yml": {"push", "pull_request"},
        "docs.yml": {"push", "workflow_dispatch"},
        "kubernetes.yml": {"schedule", "workflow_dispatch", "push"},
        "release.yml": {"push"},
        "retrain.yml": {"schedule", "workflow_dispatch", "repository_dispatch"},
    }
    assert WORKFLOWS["release.yml"][True]["push"] == {"tags": ["v*"]}
    assert "secrets." not in (FOLDER / "ci.yml").read_text()
    assert "head.repo.full_name == github.repository" in WORKFLOWS["ci.yml"]["jobs"]["comment"]["if"]
    for workflow in WORKFLOWS:
        for step in steps(workflow):  # external values reach a shell as variables only
            assert "${{" not in step.get("run", "")
            assert "checkout@" not in step.get("uses", "") or step["with"]["persist-credentials"] is False


def test_retrainings_releases_and_checks_of_a_branch_do_not_overlap() -> None:
    for name in ("retrain", "release"):
        assert WORKFLOWS[f"{name}.yml"]["concurrency"] == {"group": name, "cancel-in-progress": False}
    assert WORKFLOWS["ci.yml"]["concurrency"]["cancel-in-progress"] is True


def test_a_step_runs_one_command() -> None:
    for workflow in WORKFLOWS:
        for step in steps(workflow):
            assert not re.search(r"\n.|;|&&|\|", step.get("run", "")), step["run"]


def installed_python(job: dict[str, Any]) -> str:
    """Returns the version of Python that a job installs, or that its container has."""
    container = job.get("container", {})
    image = container["image"] if isinstance(container, dict) and container else container
    if image:
        return re.fullmatch(r"python:([\d.]+)-bookworm", image)[1]  # type: ignore[index]
    (version,) = (step["with"]["python-version"] for step in job["steps"] if "setup-python@" in step.get("uses", ""))
    return str(version)


def test_make_takes_the_version_of_python_that_the_job_installs(tmp_path: Path) -> None:
    checked = []
    for (workflow, name), job in JOBS.items():
        if any(re.match(r"make |bash \.ci/run", step.get("run", "")) for step in job["steps"]):
            variables = WORKFLOWS[workflow].get("env", {}) | job.get("env", {})
            assert variables.get("PYTHON") == f"python{installed_python(job)}", (workflow, name)
            checked.append(name)
    assert len(checked) >= 7
    for name in ("python3", "python3.11", "python3.12"):
        (tmp_path / name).touch(mode=0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHON": "python3.12"}
    rule = "include Makefile\nshow:\n\t@echo $(PYTHON)\n"
    shown = subprocess.check_output(
        ["make", "-f", "-", "show"], cwd=REPOSITORY, env=environment, input=rule, text=True
    )  # fmt: skip
    assert shown == "python3.12\n"


def test_fast_tests_run_on_every_supported_python_on_arm64_and_on_macos() -> None:
    matrix = WORKFLOWS["ci.yml"]["jobs"]["fast"]["strategy"]["matrix"]["include"]
    (lowest, above) = re.findall(
        r'requires-python = ">=3\.(\d+),<3\.(\d+)"', (REPOSITORY / "pyproject.toml").read_text()
    )[0]
    on_linux = {entry["python"] for entry in matrix if entry["runner"] == "ubuntu-24.04"}
    assert on_linux == {f"3.{minor}" for minor in range(int(lowest), int(above))}
    assert {entry["runner"] for entry in matrix} == {"ubuntu-24.04", "ubuntu-24.04-arm", "macos-15"}


def test_a_release_uses_no_caches() -> None:
    assert not any("cache@" in step.get("uses", "") for step in steps("release.yml"))


@pytest.mark.parametrize("line", sorted(line for line in TESTED_ELSEWHERE if line.startswith("make ")))
def test_make_knows_the_targets_that_workflows_name(line: str) -> None:
    """A dry run, which also checks the quotes of the line."""
    assert any(line == step.get("run") for workflow in WORKFLOWS for step in steps(workflow))
    done = subprocess.run(["bash", "-e", "-c", f"{line} --dry-run"], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    if "PYTEST" in line:
        assert '-m "not slow"' in done.stdout


def machine(project: Project, folder: Path) -> Runner:
    """A runner with a copy of a finished project."""
    checkout = folder / "checkout"
    shutil.copytree(project.folder, checkout, symlinks=True)
    os.utime(checkout / "requirements.txt", (0, 0))  # older than the installed packages: make installs nothing
    subprocess.run(["dvc", "repro", "--quiet"], cwd=checkout, env=project.environment(), check=True)
    shutil.rmtree(checkout / ".git")
    return Runner(folder, project.environment())


@pytest.mark.slow
def test_every_command_of_a_retraining_and_of_a_pull_request_runs(project: Project, tmp_path: Path) -> None:
    runner = machine(project, tmp_path)
    output = "".join(runner.run(line) for line in commands("retrain.yml"))
    assert "no DVC remote is set" in output and "no registry of an earlier run" in output
    assert "unchanged: code, data and parameters of the models have not changed; version" in output
    assert "no pull request: the champion stays (outcome=unchanged)" in output
    assert runner.output.read_text() == "outcome=unchanged\n"
    assert runner.summary.read_text().startswith(
        "# unchanged: code, data and parameters of the models have not changed"
    )
    calls = runner.recorded_calls()
    tag = read_json(runner.folder / "reports" / "bento.json")["bento"].split(":")[1]
    for name in (tag, "latest"):
        assert f"docker push --quiet ghcr.io/octo/digits:{name}\n" in calls
    assert "password token" in calls and "gh pr create" not in calls
    assert runner.branches() == {"main", "badges"}
    badge = runner.git("show", "origin/badges:retraining.svg")
    assert badge.startswith("<svg") and "unchanged" in badge

    metrics = runner.folder / "reports" / "mlp" / "metrics.json"
    accuracy = read_json(metrics)["test"]["accuracy"]
    metrics.write_text(metrics.read_text().replace(f'"accuracy": {accuracy}', '"accuracy": 0.5', 1))
    for line in commands("ci.yml"):
        runner.run(line)
    assert "gh pr comment 7 --repo Octo/Digits --edit-last --create-if-none" in runner.recorded_calls()
    difference = (runner.folder / "reports" / "difference.md").read_text()
    assert difference in runner.summary.read_text()
    assert "## Metrics against origin/main" in difference
    assert f"| mlp | test accuracy | {accuracy:.4f} | 0.5000 | {0.5 - accuracy:+.4f} |" in difference


@pytest.mark.slow
def test_the_stores_of_the_last_run_and_of_a_remote_are_restored(project: Project, tmp_path: Path) -> None:
    runner = machine(project, tmp_path)
    runner.artifact.mkdir()
    shutil.move(runner.folder / "mlflow.db", runner.artifact)
    assert "restored registry and promotion history of run 41" in runner.run("bash .ci/restore")
    assert (runner.folder / "mlflow.db").exists()
    (runner.folder / "mlflow.db").unlink()
    unknown = project.run("python", "-m", "pipeline.reporting.metrics_diff", "nowhere", status=1)
    assert unknown.startswith("error: cannot read the metrics of nowhere: ") and len(unknown.splitlines()) == 1
    runner.run(f"dvc remote add --quiet --default storage {tmp_path / 'remote'} && dvc push --quiet")
    (runner.folder / "models" / "mlp" / "model.tflite").unlink()
    output = runner.run("bash .ci/restore", MLFLOW_TRACKING_URI="http://mlflow.example")
    assert "data and models from DVC's remote" in output and "on the MLflow server" in output
    assert (runner.folder / "models" / "mlp" / "model.tflite").exists()
    assert not (runner.folder / "mlflow.db").exists()


@pytest.mark.parametrize(
    "line",
    ["gh pr list", "gh run list --brunch main", "gh pr edit 3 4 --title x", "gh pr comment 7 --edit", "docker build .",
     "docker push --quite x", "docker login a b", "gh pr create --body-file missing.md",
     "gh release create v1 --note x", "gh release create v1 missing.json", "gh release list --branch main",
     "docker buildx imagetools create --tags a b", "docker buildx imagetools inspect a b", "docker buildx build ."],
)  # fmt: skip
def test_the_stand_ins_reject_what_gh_and_docker_do_not_know(line: str, tmp_path: Path) -> None:
    program, *arguments = line.split()
    (tmp_path / program).write_text(STAND_IN)
    environment = {**os.environ, "CALLS": str(tmp_path / "calls"), "ARTIFACT": str(tmp_path / "artifact")}
    command = [sys.executable, tmp_path / program, *arguments]
    assert subprocess.run(command, env=environment, capture_output=True, stdin=subprocess.DEVNULL).returncode != 0


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not installed")
    for unit in [*(REPOSITORY / "deploy" / "retrain").glob("digits-*"), SERVICE_UNIT]:
        text = unit.read_text().replace("/srv/digits", str(REPOSITORY))
        (tmp_path / unit.name).write_text(text)
    units = sorted(map(str, tmp_path.iterdir()))
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True)
    about_ours = [line for line in (done.stdout + done.stderr).splitlines() if "digits" in line]
    assert done.returncode == 0 and about_ours == []
    assert len(units) == 5


def test_the_service_unit_starts_at_boot_and_again_after_its_end() -> None:
    """The lines are settings of systemd; the command is one that `digits` accepts."""
    settings = dict(re.findall(r"^(\w+)=(.*)$", SERVICE_UNIT.read_text(), re.MULTILINE))
    assert settings["Restart"] == "always" and settings["WantedBy"] == "multi-user.target"
    assert settings["EnvironmentFile"] == "-/etc/digits.env"
    values = dict(word.split("=") for word in settings["Environment"].split())
    words = [re.sub(r"\$\{(\w+)\}", lambda name: values[name[1]], word) for word in settings["ExecStart"].split()]
    assert words[0] == "/srv/digits/.venv/bin/digits"
    with get_command(app).make_context("digits", words[1:]) as context:
        command = context.command.get_command(context, words[1])  # type: ignore[attr-defined]
        assert command.make_context("serve", words[2:]).params == {"host": "127.0.0.1", "port": 3000}


def test_the_crontab_starts_monitor_and_retraining(tmp_path: Path) -> None:
    lines = (REPOSITORY / "deploy" / "retrain" / "digits.cron").read_text().splitlines()
    weekly, six_hourly = (line for line in lines if re.match(r"\d", line))
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / "make").write_text('#!/bin/sh\necho "make $*" >> made\n')
    (tmp_path / "make").chmod(0o755)
    settings = tmp_path / "digits.env"
    environment = {**os.environ, "DIGITS": str(tmp_path), "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    environment |= {"SETTINGS": str(settings)}

    def run(line: str, status: int) -> str:
        monitor = tmp_path / ".venv" / "bin" / "python"
        started = '[ "$*" = "-m pipeline.monitoring.monitor" ]'
        monitor.write_text(f'#!/bin/sh\necho "$DIGITS_DATABASE_URL"\n{started} && exit {status}\nexit 99\n')
        monitor.chmod(0o755)
        (tmp_path / "made").unlink(missing_ok=True)
        subprocess.run(["sh", "-c", line.split(maxsplit=5)[5]], env=environment, check=True)
        return (tmp_path / "made").read_text() if (tmp_path / "made").exists() else ""

    assert run(weekly, 0) == "make retrain\n"
    assert {status for status in range(256) if run(six_hourly, status)} == {10}
    assert run(six_hourly, 10) == "make retrain\n"
    settings.write_text("# with PostgreSQL\nDIGITS_DATABASE_URL='postgresql://digits:a b@db/digits'\n")
    (tmp_path / "make").write_text('#!/bin/sh\necho "$DIGITS_DATABASE_URL" >> made\n')
    assert run(weekly, 0) == run(six_hourly, 10) == "postgresql://digits:a b@db/digits\n"
    lines = (tmp_path / "monitor.log").read_text().splitlines()
    assert lines[-1] == "postgresql://digits:a b@db/digits"  # of the monitor


def test_the_monitor_unit_starts_a_retraining_on_drift_only(tmp_path: Path) -> None:
    unit = (REPOSITORY / "deploy" / "retrain" / "digits-monitor.service").read_text()
    assert "OnFailure" not in unit and re.search(r"^SuccessExitStatus=10 11$", unit, re.MULTILINE)
    line = re.search(r"^ExecStopPost=\+/bin/sh -c '(.*)'$", unit, re.MULTILINE)
    assert line is not None
    (tmp_path / "systemctl").write_text('#!/bin/sh\necho "$*" >> started\n')
    (tmp_path / "systemctl").chmod(0o755)

    def started(status: str) -> str:
        """Run the line as systemd does, with the main process's status or the signal that ended it."""
        (tmp_path / "started").unlink(missing_ok=True)
        environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "EXIT_STATUS": status}
        command = line[1].replace("$$", "$")
        subprocess.run(["/bin/sh", "-c", command], cwd=tmp_path, env=environment, check=True)
        return (tmp_path / "started").read_text() if (tmp_path / "started").exists() else ""

    assert {status for status in [*map(str, range(256)), "TERM", "KILL"] if started(status)} == {"10"}
    assert started("10") == "start --no-block digits-retrain.service\n"


def test_the_guide_reports_drift_on_status_10_only() -> None:
    guide = (REPOSITORY / "docs" / "retraining.md").read_text()
    command = re.search(r"^\.venv/bin/python -m pipeline\.monitoring\.monitor; (.*) && gh api", guide, re.MULTILINE)
    assert command is not None
    told = [subprocess.run(["sh", "-c", f"(exit {status}); {command[1]}"]).returncode == 0 for status in range(256)]
    assert [status for status, found in enumerate(told) if found] == [10]
