"""The container image, built and run for real on a small project: who it runs as, what it can do, what is inside."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import requests

from pipeline.deployment.bento_server import free_port
from pipeline.deployment.image import main as make_image
from pipeline.deployment.image import size
from recognition import __version__
from tests.conftest import Project
from tests.containers import (
    BASE_IMAGE,
    MARK,
    MEMORY,
    Container,
    assert_no_package_index_is_named,
    builder,
    inspect,
    remove,
    running,
    running_as_pod,
)
from tests.deploy.kubernetes import render, values
from tests.deploy.proxy import picture
from tests.serving.test_limits import deep, photograph

__all__ = ["builder"]  # a fixture

pytestmark = pytest.mark.slow

NAME = "localhost/digits-under-test"
CONNECTIONS = 10  # that send the largest pictures at the same time


@contextmanager
def built(builder: str, project: Project, name: str, index: str, variant: str) -> Iterator[str]:
    """The image that `make image` builds of the small project's Bento, while the block runs."""
    links = {variable: f"{os.environ.get(variable, '')} {index}".strip() for variable in ("PIP_FIND_LINKS",)}
    command = (sys.executable, "-m", "pipeline.deployment.image", "--base-image", BASE_IMAGE, "--name", name)
    said = project.run(*command, "--variant", variant, UV_FIND_LINKS=index, **links)
    assert f"{name}:latest and {name}:" in said
    yield f"{name}:latest"
    remove(builder, f"{name}:latest")


@pytest.fixture(scope="module")
def image(builder: str, project: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The default image."""
    with built(builder, project, NAME, str(tmp_path_factory.mktemp(MARK)), "default") as made:
        yield made


@pytest.fixture(scope="module")
def cluster_image(builder: str, project: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The image with the packages for S3 and Redis, which the Kubernetes manifests use."""
    with built(builder, project, f"{NAME}-cluster", str(tmp_path_factory.mktemp(MARK)), "cluster") as made:
        yield made


@pytest.fixture(scope="module")
def container(builder: str, image: str) -> Iterator[Container]:
    with running(builder, image) as started:
        started.wait_until_ready()
        yield started


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


def test_no_package_index_is_named_in_it(builder: str, image: str, container: Container) -> None:
    folders = ("/opt/digits", "/etc", "/var/lib/digits", "/tmp")
    assert_no_package_index_is_named(builder, image, container, folders)


def test_its_configuration_names_version_user_and_address(builder: str, image: str) -> None:
    config = inspect(builder, image)["Config"]
    assert config["Labels"]["digits.version"] == __version__
    assert config["User"] == "1034:1034" and "BENTOML_HOST=0.0.0.0" in config["Env"]


def test_its_health_check_tells_a_ready_service_from_none(builder: str, image: str, container: Container) -> None:
    described = inspect(builder, image)
    kind, *command = {**described, **described["Config"]}["Healthcheck"]["Test"]  # podman: beside Config
    assert kind == "CMD" and container.inside(*command).returncode == 0
    assert container.inside("env", f"BENTOML_PORT={free_port()}", *command).returncode == 1


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("DIGITS_WORKERS", "0", "DIGITS_WORKERS is '0': input should be greater than or equal to 1"),
        (
            "DIGITS_API_KEY",
            "",
            "DIGITS_API_KEY is empty: set a key of 8 or more characters, or unset it to need no key",
        ),
    ],
)
def test_a_wrong_setting_is_one_line_in_the_log(
    builder: str, image: str, variable: str, value: str, message: str
) -> None:
    with running(builder, image, **{variable: value}) as started:
        assert started.wait_until_ended() != 0
        assert started.log() == f"error: {message}\n"


def test_it_ends_when_its_worker_is_killed(builder: str, image: str) -> None:
    with running(builder, image) as started:
        started.wait_until_ready()
        assert started.inside("sh", "-c", "kill -9 $(cat /proc/1/task/1/children)").returncode == 0
        assert started.wait_until_ended() != 0


def test_the_largest_pictures_fit_into_its_memory(container: Container) -> None:
    files = "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"  # cgroup version 2, version 1
    assert container.inside("sh", "-c", f"cat {files[0]} || cat {files[1]}").stdout.strip() == str(MEMORY)
    pictures = [deep(), photograph("WEBP", lossless=True, method=0)]

    def predict(number: int) -> int:
        picture = pictures[number % len(pictures)]
        return requests.post(f"{container.url}/predict", data=picture, timeout=120).status_code

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        statuses = set(pool.map(predict, range(3 * CONNECTIONS)))
    assert 200 in statuses and statuses <= {200, 503}
    assert predict(0) == 200


def test_it_runs_as_its_kubernetes_deployment_says(
    builder: str, cluster_image: str, project: Project, tmp_path: Path
) -> None:
    """Security context, environment, probes and preStop of the trial's pod, whose stores cannot be reached here."""
    rendered = render("trial", tmp_path)
    pod = rendered.pods()["digits"]["spec"]
    (service,) = pod["containers"]
    variables = values(rendered, service, POD_IP="10.1.2.3")
    assert variables["DIGITS_ALLOWED_HOSTS"] == "digits-proxy,*.digits.svc,10.1.2.3"
    key = {"authorization": f"Bearer {variables['DIGITS_API_KEY']}"}
    with running_as_pod(builder, cluster_image, pod, variables) as started:

        def probe(kind: str) -> int:
            url = f"{started.url}{service[kind]['httpGet']['path']}"
            return requests.get(url, headers={"host": "10.1.2.3:3000"}, timeout=30).status_code

        def predict(**headers: str) -> int:
            url = f"{started.url}/predict"
            return requests.post(url, data=picture(), headers=headers, timeout=30).status_code

        started.wait_until_ready()
        assert [probe(kind) for kind in ("startupProbe", "readinessProbe", "livenessProbe")] == [200] * 3
        assert started.inside("id", "-u").stdout.strip() == str(pod["securityContext"]["runAsUser"])
        status = started.inside("cat", "/proc/1/status").stdout
        assert re.findall(r"^(?:CapBnd|CapEff|NoNewPrivs):\s+(\w+)$", status, re.M) == ["0" * 16, "0" * 16, "1"]
        assert "Seccomp:\t2" in status and started.inside("touch", "/opt/digits/x").returncode != 0
        assert predict(host="digits-proxy", **key) == 200
        assert predict(host="digits-proxy") == 401 and predict(host="elsewhere.example.org", **key) == 403
        metrics = requests.get(f"{started.url}/metrics", headers={"host": "10.1.2.3:3000", **key}, timeout=30)
        assert "digits_predictions_total{" in metrics.text
        command = [builder, "exec", started.name, *service["lifecycle"]["preStop"]["exec"]["command"]]
        with subprocess.Popen(command) as hook:
            while hook.poll() is None and probe("readinessProbe") == 200:
                time.sleep(0.1)
            assert hook.poll() is None  # not ready before the hook ends, and everything else goes on
            assert predict(host="digits-proxy", **key) == 200 and probe("livenessProbe") == 200
        assert hook.returncode == 0
        grace = str(pod["terminationGracePeriodSeconds"])
        subprocess.run([builder, "stop", "--time", grace, started.name], check=True, capture_output=True)
        assert started.wait_until_ended() == 0


def test_it_stops_when_asked(container: Container) -> None:
    subprocess.run([container.builder, "stop", "--time", "20", container.name], check=True, capture_output=True)
    command = [container.builder, "inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", container.name]
    assert subprocess.run(command, capture_output=True, text=True).stdout.strip() == "exited 0"  # 137: was killed


def test_a_missing_bento_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.deployment.image.REPORTS", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"bento\.json"):
        make_image()
