"""`make image`: the Bento that was built last as a container image, by docker or podman.

Packages are installed here, where the machine's package index is configured, and copied into the build. So the build
needs no network, and nothing about an index can stay in the image.
"""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import click

from pipeline.console import PipelineError, run_main, say
from pipeline.files import read_json
from pipeline.paths import BENTOML_HOME, REPORTS, ROOT

PYTHON: Final = "3.11"  # the base image's; bytecode and wheels are for one minor version
GLIBC: Final = "2_28"  # the oldest C library that the wheels ask for: Debian 10 and later


@click.command()
@click.option("--base-image", default="python:3.11-slim", show_default=True, help="One with Python 3.11 as python3.")
@click.option("--name", default="digits", show_default=True, help="The image's name.")
def main(base_image: str, name: str) -> None:
    """Make an image of the Bento that was built last, tagged `latest` and with the Bento's version."""
    try:
        packaged = read_json(REPORTS / "bento.json")
    except FileNotFoundError:
        raise PipelineError("reports/bento.json is missing: nothing was packaged yet; run: make repro") from None
    builder = engine()
    have(builder, base_image)
    with tempfile.TemporaryDirectory() as folder:
        context = Path(folder)
        (context / "state").mkdir()
        for file in ("Containerfile", "ready.py"):
            shutil.copy(ROOT / "deploy" / file, context)
        copy_bento(packaged, context / "bento")
        install(context / "bento" / "env" / "python" / "requirements.txt", context / "packages")
        make_readable(context)
        version = packaged["bento"].split(":")[1]
        build(builder, context, base_image, name, version)
    added = (size(builder, f"{name}:latest") - size(builder, base_image)) / 1e6
    say(f"{name}:latest and {name}:{version} are {added:.0f} MB above {base_image}; run it:")
    say(f"  {builder} run --rm --read-only --tmpfs /tmp --cap-drop ALL -p 127.0.0.1:3000:3000 {name}")


def engine() -> str:
    """docker or podman, the first that works here. Raises PipelineError."""
    for name in ("docker", "podman"):
        if shutil.which(name) and subprocess.run([name, "info"], capture_output=True).returncode == 0:
            return name
    raise PipelineError("neither docker nor podman works here; start docker, or install podman")


def have(builder: str, image: str) -> None:
    """Pull an image unless it is here. Raises PipelineError where it cannot be had."""
    if subprocess.run([builder, "image", "inspect", image], capture_output=True).returncode != 0:
        run([builder, "pull", image], f"the base image {image} cannot be had, name another by BASE_IMAGE=")


def copy_bento(packaged: dict[str, Any], bento: Path) -> None:
    """The Bento's folder with its models inside, where BentoML looks for them when it serves a folder."""
    os.environ["BENTOML_HOME"] = str(BENTOML_HOME)
    import bentoml

    try:
        shutil.copytree(bentoml.bentos.get(packaged["bento"]).path, bento)
        for entry in packaged["models"].values():
            model = bentoml.models.get(entry["tag"])
            shutil.copytree(model.path, bento / "models" / model.tag.name / model.tag.version)
    except bentoml.exceptions.NotFound as error:
        raise PipelineError(f"{error}; run: dvc repro --single-item --force package") from None


def install(requirements: Path, packages: Path) -> None:
    """The packages that the service needs, for Linux on this machine's processor, at the repository's versions."""
    machine = {"arm64": "aarch64", "AMD64": "x86_64"}.get(platform.machine(), platform.machine())
    common = ["install", "--quiet", "--target", str(packages), "--only-binary", ":all:", "--python-version", PYTHON]
    common += ["--constraint", str(ROOT / "requirements.txt"), "--requirement", str(requirements)]
    # As in the Makefile: uv is faster; pip serves where uv cannot reach an index that pip is configured for
    uv = [str(Path(sys.executable).with_name("uv")), "pip", *common, "--python-platform"]
    uv += [f"{machine}-manylinux_{GLIBC}", "--link-mode", "copy"]
    pip = [sys.executable, "-m", "pip", *common, "--no-compile", "--disable-pip-version-check"]
    for tag in (f"manylinux_{GLIBC}", "manylinux_2_27", "manylinux_2_17", "manylinux2014"):
        pip += ["--platform", f"{tag}_{machine}"]
    if shutil.which(uv[0]) is None or subprocess.run(uv, capture_output=True).returncode != 0:
        shutil.rmtree(packages, ignore_errors=True)
        run(pip, "the service's packages cannot be installed")
    shutil.rmtree(packages / "bin")  # commands that name this machine's Python


def make_readable(folder: Path) -> None:
    """Let every user read what was copied: in the image another one serves than made it."""
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)


def build(builder: str, context: Path, base_image: str, name: str, version: str) -> None:
    """Build and tag the image. Raises PipelineError with the end of what the builder said."""
    command = [builder, "build", "--file", str(context / "Containerfile"), "--build-arg", f"BASE_IMAGE={base_image}"]
    command += ["--tag", f"{name}:latest", "--tag", f"{name}:{version}"]
    command += ["--label", f"org.opencontainers.image.version={version}"]
    if builder == "podman":
        command += ["--format", "docker"]  # OCI's own has no health check
    run([*command, str(context)], "the image cannot be built")


def run(command: list[str], failure: str) -> None:
    """Run a command without its output; where it fails, a PipelineError with the end of it."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise PipelineError("\n".join([f"{failure} ({command[0]}):", *done.stdout.strip().splitlines()[-15:]]))


def size(builder: str, image: str) -> int:
    """An image's size in bytes."""
    command = [builder, "image", "inspect", "--format", "{{.Size}}", image]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


if __name__ == "__main__":
    run_main(main)
