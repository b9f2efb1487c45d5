"""GitHub workflows (schema, permissions, pins, a real run of every command), and the schedules of cron and systemd."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.files import read_json
from tests.conftest import REPOSITORY, Project

FOLDER = REPOSITORY / ".github" / "workflows"
WORKFLOWS: dict[str, dict[str, Any]] = {path.name: yaml.safe_load(path.read_text()) for path in FOLDER.glob("*.yml")}
STAND_IN = (REPOSITORY / "tests" / "command_stand_in.py").read_text()
NOT_RUN = {  # with the reason
    "bash .ci/run": "runs these tests",
    "make image": "run by tests/test_container.py",
    "make docs": "run by .ci/run and tests/docs/test_site.py",
    "sudo apt-get update --quiet && sudo apt-get install --quiet --yes libjs-katex fonts-lmodern": "needs root",
    'git config --global --add safe.directory "$GITHUB_WORKSPACE"': "would change the settings of this machine",
}


def steps() -> list[dict[str, Any]]:
    return [step for workflow in WORKFLOWS.values() for job in workflow["jobs"].values() for step in job["steps"]]


def test_they_are_valid() -> None:
    command = ["check-jsonschema", "--builtin-schema", "vendor.github-workflows", *map(str, FOLDER.glob("*.yml"))]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert set(WORKFLOWS) == {"ci.yml", "docs.yml", "retrain.yml"}


def test_actions_are_pinned_by_commit() -> None:
    for path in FOLDER.glob("*.yml"):
        uses = re.findall(r"uses: (.*)", path.read_text())
        assert uses and all(re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40} # v[\d.]+", text) for text in uses)


def test_jobs_have_minimal_permissions() -> None:
    assert {name: workflow["permissions"] for name, workflow in WORKFLOWS.items()} == {
        "ci.yml": {"contents": "read"}, "docs.yml": {}, "retrain.yml": {},
    }  # fmt: skip
    assert {
        name: job["permissions"] for workflow in WORKFLOWS.values() for name, job in workflow["jobs"].items()
        if "permissions" in job
    } == {
        "comment": {"pull-requests": "write"},
        "build": {"contents": "read", "pages": "read"},
        "publish": {"pages": "write", "id-token": "write"},
        "retrain": {"contents": "write", "pull-requests": "write", "actions": "read"},
        "image": {"contents": "read", "packages": "write"},
    }  # fmt: skip


def test_pull_requests_see_no_secrets_and_only_own_branches_may_write() -> None:
    triggers = {name: set(workflow[True]) for name, workflow in WORKFLOWS.items()}  # YAML 1.1 reads `on` as true
    assert triggers == {"ci.yml": {"push", "pull_request"}, "docs.yml": {"push", "workflow_dispatch"}, "retrain.yml": {
        "schedule", "workflow_dispatch", "repository_dispatch",
    }}  # fmt: skip
    assert "secrets." not in (FOLDER / "ci.yml").read_text()
    assert "head.repo.full_name == github.repository" in WORKFLOWS["ci.yml"]["jobs"]["comment"]["if"]
    for step in steps():  # external values reach a shell as variables only
        assert "${{" not in step.get("run", "")


def test_retrainings_and_checks_of_a_branch_do_not_overlap() -> None:
    assert WORKFLOWS["retrain.yml"]["concurrency"] == {"group": "retrain", "cancel-in-progress": False}
    assert WORKFLOWS["ci.yml"]["concurrency"]["cancel-in-progress"] is True


class Runner:
    """A workflow machine: a copy of a finished project with an origin, and replacements of gh and docker."""

    def __init__(self, project: Project, folder: Path) -> None:
        self.folder, self.programs = folder / "checkout", folder / "programs"
        self.calls, self.summary, self.output = folder / "calls", folder / "summary", folder / "output"
        self.artifact, self.origin = folder / "artifact", folder / "origin.git"
        shutil.copytree(project.folder, self.folder, symlinks=True)
        if not (self.folder / ".venv").exists():
            (self.folder / ".venv").symlink_to(REPOSITORY / ".venv")
        os.utime(self.folder / "requirements.txt", (0, 0))  # older than the installed packages: make installs nothing
        self.programs.mkdir()
        for name in ("gh", "docker"):
            (self.programs / name).write_text(f"#!{sys.executable}\n{STAND_IN}")
            (self.programs / name).chmod(0o755)
        subprocess.run(["dvc", "repro", "--quiet"], cwd=self.folder, env=project.environment(), check=True)
        self.git("checkout", "-q", "-B", "main")
        self.git("add", "-A")
        self.git("-c", "user.name=test", "-c", "user.email=test@example.org", "commit", "-qm", "metrics")
        subprocess.run(["git", "clone", "-q", "--bare", str(self.folder), str(self.origin)], check=True)
        self.git("remote", "add", "origin", self.origin.as_uri())
        variables = {
            "CALLS": self.calls, "ARTIFACT": self.artifact,
            "GITHUB_STEP_SUMMARY": self.summary, "GITHUB_OUTPUT": self.output, "GITHUB_BASE_REF": "main",
            "GITHUB_REF_NAME": "main", "GITHUB_ACTOR": "octo", "GITHUB_ACTIONS": "true",
            "GITHUB_REPOSITORY": "Octo/Digits", "GH_TOKEN": "token", "NUMBER": "7",
        }  # fmt: skip
        self.environment = project.environment(**{name: str(value) for name, value in variables.items()})
        self.environment["PATH"] = f"{self.programs}:{self.environment['PATH']}"
        self.ran: list[str] = []

    def git(self, *arguments: str) -> str:
        command = ["git", "-C", str(self.folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def run(self, line: str, **more: str) -> str:
        """Run a line like a workflow step. Returns its output."""
        done = subprocess.run(
            ["bash", "-e", "-c", line], cwd=self.folder, env={**self.environment, **more}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}:\n{done.stdout}"
        self.ran.append(line)
        return done.stdout

    def recorded_calls(self) -> str:
        """Returns the calls of gh and docker since the last time."""
        text = self.calls.read_text() if self.calls.exists() else ""
        self.calls.unlink(missing_ok=True)
        return text


@pytest.mark.slow
def test_every_command_runs(project: Project, tmp_path: Path) -> None:
    runner = Runner(project, tmp_path)
    lines = {
        name: [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
        for name, workflow in WORKFLOWS.items()
    }
    outputs = []
    for line in lines["retrain.yml"]:
        if line not in NOT_RUN:
            outputs.append(runner.run(line))
    output = "".join(outputs)
    assert "no DVC remote is set" in output and "no registry of an earlier run" in output
    assert "unchanged: code, data and parameters of the models have not changed; version" in output
    assert runner.output.read_text() == "outcome=unchanged\n"
    assert runner.summary.read_text().startswith(
        "# unchanged: code, data and parameters of the models have not changed"
    )
    calls = runner.recorded_calls()
    tag = read_json(runner.folder / "reports" / "bento.json")["bento"].split(":")[1]
    assert f"docker push --quiet ghcr.io/octo/digits:{tag}" in calls and "password token" in calls
    assert "gh pr create" not in calls, runner.git("log", "--all", "-2", "--stat", "-p")  # no tracked file changed
    badges = subprocess.run(
        ["git", "-C", str(runner.origin), "show", "badges:retraining.svg"], capture_output=True, text=True, check=True
    ).stdout
    assert badges.startswith("<svg") and "unchanged" in badges

    metrics = runner.folder / "reports" / "mlp" / "metrics.json"
    accuracy = read_json(metrics)["test"]["accuracy"]
    metrics.write_text(metrics.read_text().replace(f'"accuracy": {accuracy}', '"accuracy": 0.5', 1))
    (runner.folder / "reports" / "retraining.md").write_text("# promoted: version 3: more accurate\n")
    for attempt in ("gh pr create", "gh pr edit"):
        runner.run("bash .ci/propose")
        calls = runner.recorded_calls()
        assert attempt in calls and "--title Retrained, promoted: version 3" in calls
        runner.git("reset", "-q", "--soft", "HEAD~1")
    proposed = runner.git("ls-remote", runner.origin.as_uri(), "retraining")
    assert proposed.endswith("refs/heads/retraining")
    runner.run("""sed -n '1s/^# \\([a-z]*\\):.*/outcome=\\1/p' reports/retraining.md >> "$GITHUB_OUTPUT\"""")
    assert runner.output.read_text().endswith("outcome=promoted\n")

    for line in lines["ci.yml"]:
        if line not in NOT_RUN:
            runner.run(line)
    assert "gh pr comment 7 --repo Octo/Digits --edit-last --create-if-none" in runner.recorded_calls()
    difference = (runner.folder / "reports" / "difference.md").read_text()
    assert difference in runner.summary.read_text()
    assert "## Metrics against origin/main" in difference
    assert f"| mlp | test accuracy | {accuracy:.4f} | 0.5000 | {0.5 - accuracy:+.4f} |" in difference
    assert {line for group in lines.values() for line in group} - set(NOT_RUN) <= set(runner.ran)


@pytest.mark.slow
def test_the_stores_of_the_last_run_and_of_a_remote_are_restored(project: Project, tmp_path: Path) -> None:
    runner = Runner(project, tmp_path)
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
     "docker push --quite x", "docker login a b", "gh pr create --body-file missing.md"],
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
    for unit in (REPOSITORY / "deploy" / "retrain").glob("digits-*"):
        text = unit.read_text().replace("/srv/digits", str(REPOSITORY))
        (tmp_path / unit.name).write_text(text)
    units = sorted(map(str, tmp_path.iterdir()))
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True)
    about_ours = [line for line in (done.stdout + done.stderr).splitlines() if "digits" in line]
    assert done.returncode == 0 and about_ours == []
    assert len(units) == 4


def test_the_crontab_starts_monitor_and_retraining(tmp_path: Path) -> None:
    lines = (REPOSITORY / "deploy" / "retrain" / "digits.cron").read_text().splitlines()
    weekly, six_hourly = (line for line in lines if re.match(r"\d", line))
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / "make").write_text('#!/bin/sh\necho "make $*" >> made\n')
    (tmp_path / "make").chmod(0o755)
    environment = {**os.environ, "DIGITS": str(tmp_path), "PATH": f"{tmp_path}:{os.environ['PATH']}"}

    def run(line: str, status: int) -> str:
        monitor = tmp_path / ".venv" / "bin" / "python"
        monitor.write_text(f'#!/bin/sh\n[ "$*" = "-m pipeline.monitoring.monitor" ] && exit {status}\nexit 99\n')
        monitor.chmod(0o755)
        (tmp_path / "made").unlink(missing_ok=True)
        subprocess.run(["sh", "-c", line.split(maxsplit=5)[5]], env=environment, check=True)
        return (tmp_path / "made").read_text() if (tmp_path / "made").exists() else ""

    assert run(weekly, 0) == "make retrain\n"
    assert {status for status in range(256) if run(six_hourly, status)} == {10}
    assert run(six_hourly, 10) == "make retrain\n"


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
