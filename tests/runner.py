"""A machine of GitHub Actions: a checkout with an origin, the variables of a job, stand-ins for programs."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import REPOSITORY

FOLDER = REPOSITORY / ".github" / "workflows"
WORKFLOWS: dict[str, dict[str, Any]] = {path.name: yaml.safe_load(path.read_text()) for path in FOLDER.glob("*.yml")}
TESTED_ELSEWHERE = {  # and where
    "make lint": ".ci/run",
    """make test PYTEST='-m "not slow"'""": "these tests",
    "bash .ci/run site": "tests/test_ci_scripts.py",
    "make image": "tests/test_container.py",
    "make audit": "tests/test_ci_scripts.py",
    'bash .ci/run "$PART"': "tests/test_ci_scripts.py",
    "bash .ci/run models": "tests/test_ci_scripts.py",
    "bash .ci/kubernetes": "tests/test_ci_scripts.py",
}
STAND_IN = (REPOSITORY / "tests" / "command_stand_in.py").read_text()
IDENTITY = ("-c", "user.name=test", "-c", "user.email=test@example.org")


def steps(workflow: str) -> list[dict[str, Any]]:
    return [step for job in WORKFLOWS[workflow]["jobs"].values() for step in job["steps"]]


def commands(workflow: str) -> list[str]:
    """Returns the shell commands of a workflow, except those that other tests run."""
    lines = [step["run"] for step in steps(workflow) if "run" in step]
    return [line for line in lines if line not in TESTED_ELSEWHERE]


class Runner:
    """Runs the lines of a workflow in the folder `checkout` below `folder`, which must exist."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, programs = folder / "checkout", folder / "programs"
        self.calls, self.summary, self.output = folder / "calls", folder / "summary", folder / "output"
        self.artifact, self.origin = folder / "artifact", folder / "origin.git"
        programs.mkdir()
        for name in ("gh", "docker", "kubectl", "kind"):
            (programs / name).write_text(f"#!{sys.executable}\n{STAND_IN}")
            (programs / name).chmod(0o755)
        if not (self.folder / ".venv").exists():
            (self.folder / ".venv").symlink_to(REPOSITORY / ".venv")
        self.git("init", "--quiet")
        self.git("checkout", "-q", "-B", "main")
        self.git("add", "-A")
        self.git(*IDENTITY, "commit", "-qm", "the checked out commit")
        subprocess.run(["git", "clone", "-q", "--bare", str(self.folder), str(self.origin)], check=True)
        self.git("remote", "add", "origin", self.origin.as_uri())
        self.git("fetch", "-q", "origin")
        variables = {
            "CALLS": self.calls, "ARTIFACT": self.artifact, "GIT_CONFIG_GLOBAL": folder / "gitconfig",
            "GITHUB_STEP_SUMMARY": self.summary, "GITHUB_OUTPUT": self.output, "GITHUB_BASE_REF": "main",
            "GITHUB_REF_NAME": "main", "GITHUB_ACTOR": "octo", "GITHUB_ACTIONS": "true",
            "GITHUB_REPOSITORY": "Octo/Digits", "GITHUB_WORKSPACE": self.folder, "GH_TOKEN": "token", "NUMBER": "7",
        }  # fmt: skip
        self.environment = environment | {name: str(value) for name, value in variables.items()}
        self.environment["PATH"] = f"{programs}:{environment['PATH']}"
        self.ran: list[str] = []

    def git(self, *arguments: str) -> str:
        command = ["git", "-C", str(self.folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def run(self, line: str, status: int = 0, **more: str) -> str:
        """Run a line like a workflow step. Returns its output."""
        done = subprocess.run(
            ["bash", "-e", "-c", line], cwd=self.folder, env={**self.environment, **more}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert done.returncode == status, f"{line}:\n{done.stdout}"
        self.ran.append(line)
        return done.stdout

    def recorded_calls(self) -> str:
        """Returns the calls of gh and docker since the last time."""
        text = self.calls.read_text() if self.calls.exists() else ""
        self.calls.unlink(missing_ok=True)
        return text

    def branches(self) -> set[str]:
        """Returns the names of the branches at the origin."""
        lines = self.git("ls-remote", "--heads", "origin").splitlines()
        return {line.rpartition("/")[2] for line in lines}
