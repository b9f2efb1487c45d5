"""`make pipeline-image`: builds a container image of the pipeline with docker or podman.

In a cluster it runs the schedules, the migration of the database and MLflow's server. As with `make image`, packages
are installed on this machine and copied into the build context.
"""

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Annotated, Final

import typer

from pipeline.console import run_main, say
from pipeline.deployment.image import engine, install, pull, run, size
from pipeline.paths import ROOT
from recognition import __version__

BASE_IMAGE: Final = "python:3.11-bookworm"  # the slim image has no git
SOURCE: Final = ROOT / "deploy" / "pipeline"
PROGRAMS: Final = {  # by the command of `python3` that each one starts
    "python": "",
    "digits": "/opt/digits/project/digits.py",
    "dvc": "-m dvc",
    "mlflow": "-m mlflow",
    "ray": "-m ray.scripts.scripts",
}


def main(
    base_image: Annotated[
        str, typer.Option(help="Image with Python 3.11 as python3, and git.")
    ] = "python:3.11-bookworm",
    name: Annotated[str, typer.Option(help="Name of the image.")] = "digits-pipeline",
) -> None:
    """Build an image of the pipeline at the current commit. The tags are `latest` and the commit."""
    commit = git("rev-parse", "--short=12", "HEAD")
    if git("status", "--porcelain", "--untracked-files=no"):
        say("the image contains the last commit, without the changes that are not committed")
    builder = engine()
    pull(builder, base_image)
    with tempfile.TemporaryDirectory() as folder:
        context = Path(folder)
        write_context(context)
        install(ROOT / "requirements-image.txt", context / "packages", wheels_only=False)
        build(builder, context, base_image, name, commit)
    say(f"built {name}:latest and {name}:{commit}, {size(builder, f'{name}:latest') / 1e9:.1f} GB")


def write_context(context: Path) -> None:
    """Write everything that the image needs except the packages: the last commit, programs, the Containerfile."""
    command = ["git", "clone", "--quiet", "--depth", "1", "--no-tags", ROOT.as_uri(), str(context / "project")]
    run(command, "cannot copy the project")
    run(["git", "-C", str(context / "project"), "remote", "remove", "origin"], "cannot copy the project")
    shutil.copy(SOURCE / "Containerfile", context)
    (context / "bin").mkdir()
    shutil.copy(SOURCE / "update-workspace", context / "bin")
    for program, start in PROGRAMS.items():
        (context / "bin" / program).write_text(f'#!/bin/sh\nexec python3 {start} "$@"\n')
        (context / "bin" / program).chmod(0o755)


def build(builder: str, context: Path, base_image: str, name: str, commit: str) -> None:
    """Build the image from a complete context. Raises PipelineError."""
    for path in context.rglob("*"):  # the image runs as another user
        path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    options = ["--build-arg", f"BASE_IMAGE={base_image}", "--tag", f"{name}:latest", "--tag", f"{name}:{commit}"]
    options += ["--label", f"org.opencontainers.image.revision={commit}", "--label", f"digits.version={__version__}"]
    run([builder, "build", *options, str(context)], "cannot build the image")


def git(*arguments: str) -> str:
    """Output of git in the repository."""
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    run_main(main)
