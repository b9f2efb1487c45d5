"""Containers for tests: the engine, the base image, and images that run as in compose.yaml."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
import requests

from pipeline.console import PipelineError
from pipeline.deployment.bento_server import free_port
from pipeline.deployment.image import engine, pull

BASE_IMAGE = os.environ.get("BASE_IMAGE", "python:3.11-slim")
MEMORY = 1024**3  # bytes; the limit in compose.yaml
ULIMITS = ["--ulimit", "nofile=20000:20000", "--ulimit", "nproc=20000:20000"]  # runc cannot raise those of a container
MARK = "a-package-index-of-this-machine"  # part of an address that a build is given, and that must not stay


@pytest.fixture(scope="module")
def builder() -> str:
    """docker or podman, with the base image at hand."""
    try:
        found = engine()
        pull(found, BASE_IMAGE)
    except PipelineError as error:
        pytest.skip(str(error).splitlines()[0])
    return found


class Container:
    """A container of an image; its service listens at `url`."""

    def __init__(self, builder: str, name: str, url: str) -> None:
        self.builder, self.name, self.url = builder, name, url

    def inside(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the container."""
        return subprocess.run([self.builder, "exec", self.name, *command], capture_output=True, text=True)

    def log(self) -> str:
        """Returns what the container has printed so far."""
        command = [self.builder, "logs", self.name]
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True).stdout

    def wait_until_ready(self) -> None:
        """Wait until `/readyz` answers with status 200."""
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline:
            try:
                if requests.get(f"{self.url}/readyz", timeout=5).status_code == 200:
                    return
            except requests.RequestException:
                time.sleep(0.2)
        pytest.fail(f"the container was not ready:\n{self.log()[-3000:]}")

    def wait_until_ended(self) -> int:
        """Wait until the container has ended by itself. Returns its exit status."""
        command = [self.builder, "wait", self.name]
        return int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)


def running(builder: str, image: str, **environment: str) -> AbstractContextManager[Container]:
    """Run an image as it should be while the block runs: only /tmp is writable, no capabilities, 1 GB, on loopback."""
    limits = [f"--memory={MEMORY}", f"--memory-swap={MEMORY}", "--read-only", "--tmpfs", "/tmp"]
    return started(builder, image, [*limits, "--cap-drop=ALL", "--security-opt=no-new-privileges"], environment)


def running_as_pod(
    builder: str, image: str, pod: dict[str, Any], environment: dict[str, str], *more: str
) -> AbstractContextManager[Container]:
    """Run an image as a Kubernetes pod while the block runs. `more`: further options of the engine."""
    return started(builder, image, [*pod_options(pod), *more], environment, pod_command(pod))


def pod_options(pod: dict[str, Any]) -> list[str]:
    """Options of the engine for the security context, the volumes and the memory of a Kubernetes pod."""
    (container,) = pod["containers"]
    shared, own = pod["securityContext"], container["securityContext"]
    assert shared["seccompProfile"] == {"type": "RuntimeDefault"}  # as without an option
    options = [f"--user={shared['runAsUser']}:{shared['runAsGroup']}"]
    options += ["--read-only", "--read-only-tmpfs=false"] if own["readOnlyRootFilesystem"] else []
    options += [f"--cap-drop={name}" for name in own["capabilities"]["drop"]]
    options += [] if own["allowPrivilegeEscalation"] else ["--security-opt=no-new-privileges"]
    memory = container["resources"]["limits"]["memory"].replace("i", "")
    options += [f"--memory={memory}", f"--memory-swap={memory}"]
    options += [f"--workdir={container['workingDir']}"] if "workingDir" in container else []
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for mount in container["volumeMounts"]:
        volume = volumes[mount["name"]]
        if "persistentVolumeClaim" in volume:
            assert shared["fsGroup"] == shared["runAsGroup"]  # so that the pod can write into it
            options += ["--tmpfs", f"{mount['mountPath']}:mode=1777"]
        else:
            options += ["--tmpfs", f"{mount['mountPath']}:size={volume['emptyDir']['sizeLimit'].replace('i', '')}"]
    return options


def pod_command(pod: dict[str, Any]) -> list[str]:
    """Command and arguments of a pod's container."""
    (container,) = pod["containers"]
    return [*container.get("command", []), *container.get("args", [])]


@contextmanager
def started(
    builder: str, image: str, options: list[str], environment: Mapping[str, str], arguments: Iterable[str] = ()
) -> Iterator[Container]:
    """Run an image on loopback while the block runs."""
    port = free_port()
    name = f"digits-under-test-{port}"
    limits = [*ULIMITS, "--pids-limit=128"]
    settings = {"BENTOML_HOST": "127.0.0.1", "BENTOML_PORT": str(port), **environment}
    place = ["--network=host", *(f"--env={variable}={value}" for variable, value in settings.items())]
    command = [builder, "run", "--detach", "--name", name, *limits, *options, *place, image, *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        yield Container(builder, name, f"http://127.0.0.1:{port}")
    finally:
        subprocess.run([builder, "rm", "--force", name], capture_output=True)


def pip_settings() -> dict[str, list[str]]:
    """Where this machine's pip looks for packages: `index-url`, `extra-index-url` and `find-links`."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True).stdout
    found: dict[str, list[str]] = {"index-url": [], "extra-index-url": [], "find-links": []}
    for option, value in re.findall(r"\.([a-z-]+)='(.*)'$", listed, re.MULTILINE):
        if option in found:
            found[option] += [address for address in value.split() if address not in found[option]]
    return found


def addresses() -> list[str]:
    """Where this machine's pip and uv look for packages, apart from PyPI itself, which documentation names."""
    values = [address for found in pip_settings().values() for address in found]
    for name, value in os.environ.items():
        if re.match(r"(UV|PIP)_.*(INDEX|FIND_LINKS)", name):
            values += value.split()
    return [MARK, *(address for address in values if not address.startswith("https://pypi.org/"))]


def assert_no_package_index_is_named(builder: str, image: str, container: Container, folders: Iterable[str]) -> None:
    """Search an image's history, its configuration, and some folders of its container for addresses of indexes."""
    patterns = [part for address in addresses() for part in ("-e", address)]
    found = container.inside("grep", "-rlFIs", *patterns, *folders)
    assert (found.returncode, found.stdout) in ((1, ""), (2, ""))  # 2: some file of the base is for root only
    assert "ai_edge_litert" in container.inside("grep", "-rlFs", "-e", "ai_edge_litert", *folders).stdout
    history = subprocess.run([builder, "history", "--no-trunc", image], capture_output=True, text=True, check=True)
    for text in (history.stdout, json.dumps(inspect(builder, image))):
        assert "BENTOML_HOME" in text  # something is searched
        assert [word for word in (*addresses(), "INDEX_URL", "index-url", "FIND_LINKS") if word in text] == []


def inspect(builder: str, image: str) -> dict[str, Any]:
    """Returns what the engine tells of an image."""
    command = [builder, "image", "inspect", image]
    content: list[dict[str, Any]] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return content[0]


def remove(builder: str, image: str) -> None:
    """Remove an image with all of its tags."""
    subprocess.run([builder, "rmi", "--force", str(inspect(builder, image)["Id"])], capture_output=True)
