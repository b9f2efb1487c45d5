"""`make image`: builds a container image of the served models' Bento with docker or podman.

Packages are installed on this machine, which knows its package index, and copied into the build context. The build
needs no network, and the image contains no address of an index.
"""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from pipeline.console import PipelineError, run_main, say
from pipeline.files import read_json
from pipeline.paths import BENTOML_HOME, REPORTS, ROOT
from pipeline.registry import versions
from recognition import __version__

PYTHON: Final = "3.11"  # of the base image; bytecode and wheels are specific to a minor version
GLIBC: Final = "2_28"  # the oldest C library that the wheels support: Debian 10 or newer
LOG_LINES: Final = 15  # shown of a failed command


class Variant(StrEnum):
    """What the service in the image can use."""

    DEFAULT = "default"  # models, rates and log on this machine; the log also in PostgreSQL
    CLUSTER = "cluster"  # also models in S3 and rates in Redis


REQUIREMENTS: Final = {Variant.DEFAULT: "requirements.txt", Variant.CLUSTER: "requirements-cluster.txt"}


def main(
    base_image: Annotated[str, typer.Option(help="Image with Python 3.11 as python3.")] = "python:3.11-slim",
    name: Annotated[str, typer.Option(help="Name of the image.")] = "digits",
    variant: Annotated[Variant, typer.Option(help="cluster: with the packages for S3 and Redis.")] = Variant.DEFAULT,
) -> None:
    """Build an image of the current champion's Bento. The tags are `latest` and the Bento's version."""
    packaged = current_bento()
    version = packaged["bento"].split(":")[1]
    builder = engine()
    pull(builder, base_image)
    options = ["--build-arg", f"BASE_IMAGE={base_image}", "--tag", f"{name}:latest", "--tag", f"{name}:{version}"]
    options += ["--label", f"org.opencontainers.image.version={version}", "--label", f"digits.version={__version__}"]
    options += ["--format", "docker"] if builder == "podman" else []  # the OCI format has no health check
    with tempfile.TemporaryDirectory() as folder:
        context = Path(folder)
        (context / "state").mkdir()
        for file in ("Containerfile", "ready.py"):
            shutil.copy(ROOT / "deploy" / file, context)
        copy_bento(packaged, context / "bento")
        install(context / "bento" / "src" / "serving" / REQUIREMENTS[variant], context / "packages")
        for path in context.rglob("*"):  # the image runs as another user
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        options += ["--file", str(context / "Containerfile"), str(context)]
        run([builder, "build", *options], "cannot build the image")
    added = (size(builder, f"{name}:latest") - size(builder, base_image)) / 1e6
    say(f"built {name}:latest and {name}:{version}, {added:.0f} MB larger than {base_image}; start a container with:")
    say(f"  {builder} run --rm --read-only --tmpfs /tmp --cap-drop ALL -p 127.0.0.1:3000:3000 {name}")


def current_bento() -> dict[str, Any]:
    """Returns the content of reports/bento.json, after packaging again if the registry now serves other versions.

    Without a champion in the registry, for example on a machine that has only the Bento, this is the Bento as it is.
    """
    packaged: dict[str, Any] = read_json(REPORTS / "bento.json")
    model = versions.registered_model(packaged["dataset"])
    if versions.by_alias(model, versions.CHAMPION) is None:
        say(f"the registry has no champion of {model}: building the image of {packaged['bento']} as it is")
        return packaged
    champion, models = versions.served(model)
    numbers = {name: served.version for name, served in models.items()}
    if (champion, numbers) != (packaged["champion"], {n: entry["version"] for n, entry in packaged["models"].items()}):
        say(f"{packaged['bento']} does not contain the models that are served now: packaging {champion} as champion")
        run(["dvc", "repro", "--single-item", "--force", "package"], "cannot package the champion")
        packaged = read_json(REPORTS / "bento.json")
    return packaged


def engine() -> str:
    """Returns "docker" or "podman", the first that works. Raises PipelineError if neither does."""
    for name in ("docker", "podman"):
        if shutil.which(name) and subprocess.run([name, "info"], capture_output=True).returncode == 0:
            return name
    raise PipelineError("neither docker nor podman works; start docker, or install podman")


def pull(builder: str, image: str) -> None:
    """Pull an image unless it exists locally. Raises PipelineError if that fails."""
    if subprocess.run([builder, "image", "inspect", image], capture_output=True).returncode != 0:
        run([builder, "pull", image], f"cannot pull the base image {image}; choose another with BASE_IMAGE=")


def copy_bento(packaged: dict[str, Any], bento: Path) -> None:
    """Copy the Bento's folder with its models to `bento`. Raises PipelineError if one is missing in the store."""
    os.environ["BENTOML_HOME"] = str(BENTOML_HOME)
    import bentoml

    try:
        shutil.copytree(bentoml.bentos.get(packaged["bento"]).path, bento)
        for entry in packaged["models"].values():
            model = bentoml.models.get(entry["tag"])
            shutil.copytree(model.path, bento / "models" / model.tag.name / model.tag.version)
    except bentoml.exceptions.NotFound as error:
        raise PipelineError(f"{error}; run: dvc repro --single-item --force package") from None


def install(requirements: Path, packages: Path, wheels_only: bool = True) -> None:
    """Install packages for Linux on this machine's architecture. `requirements` has their hashes.

    Packages without a wheel, which `wheels_only` excludes, are built with this machine's Python.
    """
    machine = {"arm64": "aarch64", "AMD64": "x86_64"}.get(platform.machine(), platform.machine())
    common = ["install", "--quiet", "--target", str(packages), "--require-hashes", "--requirement", str(requirements)]
    wheels = ["--only-binary", ":all:"] if wheels_only else []
    # As in the Makefile: uv is faster, pip is the fallback if uv cannot reach the configured package index
    uv = [str(Path(sys.executable).with_name("uv")), "pip", *common, *wheels, "--link-mode", "copy"]
    uv += ["--python-version", PYTHON, "--python-platform", f"{machine}-manylinux_{GLIBC}"]
    pip = [sys.executable, "-m", "pip", *common, *wheels, "--no-compile", "--disable-pip-version-check"]
    if wheels_only:  # pip knows other platforms with this option only
        pip += ["--python-version", PYTHON]
        for tag in (f"manylinux_{GLIBC}", "manylinux_2_27", "manylinux_2_17", "manylinux2014"):
            pip += ["--platform", f"{tag}_{machine}"]
    if shutil.which(uv[0]) is None or subprocess.run(uv, capture_output=True).returncode != 0:
        shutil.rmtree(packages, ignore_errors=True)
        run(pip, "cannot install the packages of the image")
    programs = packages / "bin"
    for path in programs.iterdir():
        if path.read_bytes().startswith(b"#!"):  # a script with the path of this machine's Python
            path.unlink()
    if not any(programs.iterdir()):
        programs.rmdir()


def run(command: list[str], failure: str) -> None:
    """Run a command silently. Raises PipelineError with `failure` and the end of the output if it fails."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise PipelineError("\n".join([f"{failure} ({command[0]}):", *done.stdout.strip().splitlines()[-LOG_LINES:]]))


def size(builder: str, image: str) -> int:
    """Returns an image's size in bytes."""
    command = [builder, "image", "inspect", "--format", "{{.Size}}", image]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


if __name__ == "__main__":
    run_main(main)
