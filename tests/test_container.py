"""The container image, built and run for real on a small project: who it runs as, what it can do, what is inside."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests

from pipeline.console import PipelineError
from pipeline.deployment.bento_server import free_port
from pipeline.deployment.image import engine, pull, size
from pipeline.deployment.image import main as make_image
from recognition import __version__
from tests.conftest import Project

pytestmark = pytest.mark.slow

BASE_IMAGE = os.environ.get("BASE_IMAGE", "python:3.11-slim")
NAME = "localhost/digits-under-test"
MARK = "a-package-index-of-this-machine"  # part of an address that the build is given, and that must not stay


class Container:
    """A running container of the image; `url` is where its service is."""

    def __init__(self, builder: str, name: str, url: str) -> None:
        self.builder, self.name, self.url = builder, name, url

    def inside(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([self.builder, "exec", self.name, *command], capture_output=True, text=True)


@pytest.fixture(scope="module")
def builder() -> str:
    """docker or podman, with the base image at hand."""
    try:
        found = engine()
        pull(found, BASE_IMAGE)
    except PipelineError as error:
        pytest.skip(str(error).splitlines()[0])
    return found


@pytest.fixture(scope="module")
def image(builder: str, project: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The image of the small project's Bento; what `make image` said is its `log`."""
    index = str(tmp_path_factory.mktemp(MARK))
    links = {variable: f"{os.environ.get(variable, '')} {index}".strip() for variable in ("PIP_FIND_LINKS",)}
    command = (sys.executable, "-m", "pipeline.deployment.image", "--base-image", BASE_IMAGE, "--name", NAME)
    said = project.run(*command, UV_FIND_LINKS=index, **links)
    assert f"{NAME}:latest and {NAME}:" in said
    yield f"{NAME}:latest"
    command = [builder, "image", "inspect", "--format", "{{.Id}}", f"{NAME}:latest"]
    made = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    subprocess.run([builder, "rmi", "--force", made], capture_output=True)  # whatever its tags


@pytest.fixture(scope="module")
def container(builder: str, image: str) -> Iterator[Container]:
    """The image run as it should be: nothing to write but /tmp, no capabilities, on loopback."""
    name, port = f"digits-under-test-{os.getpid()}", free_port()
    limits = ("--ulimit", "nofile=20000:20000", "--ulimit", "nproc=20000:20000", "--memory=512m", "--pids-limit=128")
    rights = ("--read-only", "--tmpfs", "/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges")
    place = ("--network=host", "-e", "BENTOML_HOST=127.0.0.1", "-e", f"BENTOML_PORT={port}")
    command = [builder, "run", "--detach", "--name", name, *limits, *rights, *place, image]
    try:
        started = subprocess.run(command, capture_output=True, text=True)
        assert started.returncode == 0, started.stderr
        yield wait_for(Container(builder, name, f"http://127.0.0.1:{port}"))
    finally:
        subprocess.run([builder, "rm", "--force", name], capture_output=True)


def wait_for(container: Container) -> Container:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        try:
            if requests.get(f"{container.url}/readyz", timeout=5).status_code == 200:
                return container
        except requests.RequestException:
            time.sleep(0.2)
    logs = subprocess.run([container.builder, "logs", container.name], capture_output=True, text=True)
    pytest.fail(f"the container was not ready:\n{(logs.stdout + logs.stderr)[-3000:]}")


def test_it_answers_as_evaluated(container: Container, project: Project) -> None:
    with np.load(project.folder / "evaluations" / "cnn" / "known_digits.npz") as known:
        body = {"images": known["images"].tolist(), "model": "cnn"}
        rows = requests.post(f"{container.url}/predict_pixels", json=body, timeout=30).json()["results"]
        assert np.array([row["probabilities"] for row in rows]) == pytest.approx(known["probabilities"], abs=1e-4)
    assert requests.get(container.url, timeout=30).text.startswith("<!doctype html>")


def test_nobody_in_it_is_root_or_has_a_capability(container: Container) -> None:
    assert container.inside("id", "-u").stdout.strip() == "1034"
    status = container.inside("sh", "-c", "cat /proc/[0-9]*/status").stdout
    users = re.findall(r"^Uid:\s+(.+)$", status, re.MULTILINE)
    assert len(users) >= 2 and {number for line in users for number in line.split()} == {"1034"}
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd"):
        assert set(re.findall(rf"^{kind}:\s+(\w+)$", status, re.MULTILINE)) == {"0" * 16}


@pytest.mark.parametrize("path", ["/x", "/opt/digits/x", "/var/lib/digits/x"])
def test_its_root_cannot_be_written(container: Container, path: str) -> None:
    written = container.inside("touch", path)
    assert written.returncode != 0 and "Read-only file system" in written.stderr
    assert container.inside("mktemp").returncode == 0


def test_its_files_are_not_its_users(container: Container) -> None:
    assert "Permission denied" in container.inside("touch", "/opt/digits/bento/bento.yaml").stderr


def test_it_is_small_and_lean(builder: str, image: str, container: Container) -> None:
    added = size(builder, image) - size(builder, BASE_IMAGE)
    assert 50e6 < added <= 280e6
    packages = set(container.inside("ls", "/opt/digits/packages").stdout.split())
    assert {"ai_edge_litert", "bentoml", "numpy"} < packages
    unwanted = {"tensorflow", "keras", "mlflow", "dvc", "great_expectations", "pandas", "sklearn", "pip", "bin"}
    assert packages & unwanted == set()


def addresses() -> list[str]:
    """Where this machine's pip and uv look for packages, apart from PyPI itself, which documentation names."""
    configured = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True).stdout
    lines = [line for line in configured.splitlines() if re.search(r"index-url|find-links", line)]
    values = [line.split("=", 1)[1].strip("' ") for line in lines]
    values += [value for name, value in os.environ.items() if re.match(r"(UV|PIP)_.*(INDEX|FIND_LINKS)", name)]
    return [address for value in values for address in value.split() if not address.startswith("https://pypi.org/")]


def test_no_package_index_is_named_in_it(builder: str, image: str, container: Container) -> None:
    searched = [MARK, *addresses()]
    patterns = [part for address in searched for part in ("-e", address)]
    folders = ("/opt/digits", "/etc", "/var/lib/digits", "/tmp")
    found = container.inside("grep", "-rlFIs", *patterns, *folders)
    assert (found.returncode, found.stdout) in ((1, ""), (2, ""))  # 2: some file of the base is for root only
    assert "ai_edge_litert" in container.inside("grep", "-rlFs", "-e", "ai_edge_litert", "/opt/digits").stdout
    history = subprocess.run([builder, "history", "--no-trunc", image], capture_output=True, text=True, check=True)
    inspected = subprocess.run([builder, "image", "inspect", image], capture_output=True, text=True, check=True)
    assert json.loads(inspected.stdout)[0]["Config"]["Labels"]["digits.version"] == __version__
    assert "/opt/digits" in history.stdout and "/opt/digits" in inspected.stdout
    for text in (history.stdout, inspected.stdout):
        assert [address for address in (*searched, "INDEX_URL", "index-url", "FIND_LINKS") if address in text] == []


def test_its_health_check_tells_a_ready_service_from_none(builder: str, image: str, container: Container) -> None:
    config = json.loads(subprocess.run([builder, "image", "inspect", image], capture_output=True, check=True).stdout)[0]
    config = {**config, **config["Config"]}
    assert config["User"] == "1034:1034" and "BENTOML_HOST=0.0.0.0" in config["Env"]
    kind, *command = config["Healthcheck"]["Test"]
    assert kind == "CMD" and container.inside(*command).returncode == 0
    assert container.inside("env", f"BENTOML_PORT={free_port()}", *command).returncode == 1


def test_it_stops_when_asked(container: Container) -> None:
    subprocess.run([container.builder, "stop", "--time", "20", container.name], check=True, capture_output=True)
    command = [container.builder, "inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", container.name]
    assert subprocess.run(command, capture_output=True, text=True).stdout.strip() == "exited 0"  # 137: was killed


def test_a_missing_bento_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.deployment.image.REPORTS", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"bento\.json"):
        make_image()
