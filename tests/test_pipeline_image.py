"""The image of the pipeline, built without packages, which this machine lends it, and run as the pods that use it."""

import copy
import re
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from filelock import FileLock

from pipeline.deployment.bento_server import free_port
from pipeline.deployment.pipeline_image import SOURCE, build, write_context
from pipeline.paths import RETRAINING_LOCK, ROOT
from tests.conftest import REPOSITORY
from tests.containers import (
    BASE_IMAGE,
    ULIMITS,
    Container,
    builder,
    inspect,
    pod_command,
    pod_options,
    remove,
    running_as_pod,
)
from tests.deploy.kubernetes import Manifest, Rendered, render, values
from tests.postgres import postgres, postgres_url

__all__ = ["builder", "postgres", "postgres_url"]  # fixtures

pytestmark = pytest.mark.slow

NAME = "localhost/digits-pipeline-under-test"
START_SECONDS = 240  # of MLflow's server, which makes its tables first
PACKAGES = f"--volume={sysconfig.get_paths()['purelib']}:/opt/digits/packages:ro"


@pytest.fixture(scope="module")
def image(builder: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The image without packages: they are 3 GB, and their installation is that of `make image`."""
    if sys.version_info[:2] != (3, 11):
        pytest.skip("the packages of this machine are not for Python 3.11, which the image has")
    context = tmp_path_factory.mktemp("context")
    write_context(context)
    (context / "packages").mkdir()
    (context / "packages" / "none").touch()
    build(builder, context, BASE_IMAGE, NAME, "abc")
    yield f"{NAME}:abc"
    remove(builder, f"{NAME}:abc")


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    return render("trial", tmp_path_factory.mktemp("kubernetes"))


def pod(rendered: Rendered, name: str, **changes: str) -> tuple[Manifest, dict[str, str]]:
    """A pod with its environment, whose servers are those of this machine."""
    spec = rendered.pods()[name]["spec"]
    variables = values(rendered, spec["containers"][0])
    assert changes.keys() <= variables.keys()
    return spec, variables | changes


def run(builder: str, image: str, spec: Manifest, variables: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """Runs a pod to its end."""
    options = [*pod_options(spec), *ULIMITS, PACKAGES, "--network=host"]
    options += [f"--env={name}={value}" for name, value in variables.items()]
    command = [builder, "run", "--rm", *options, image, *pod_command(spec)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def mlflow(builder: str, image: str, rendered: Rendered, postgres: Any) -> Iterator[tuple[Container, str]]:
    """MLflow's server as its Deployment starts it, on a real PostgreSQL, and its URL."""
    port = str(free_port())
    store = {"MLFLOW_BACKEND_STORE_URI": postgres.new_database(), "MLFLOW_ARTIFACTS_DESTINATION": "/tmp/artifacts"}
    spec, variables = pod(rendered, "mlflow", MLFLOW_PORT=port, MLFLOW_HOST="127.0.0.1", **store)
    (container,) = spec["containers"]
    with running_as_pod(builder, image, spec, variables, PACKAGES) as started:
        url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + START_SECONDS
        while not is_healthy(url, container["startupProbe"]["httpGet"]["path"]):
            assert time.monotonic() < deadline, started.log()[-3000:]
            time.sleep(0.5)
        yield started, url


def is_healthy(url: str, path: str) -> bool:
    """Whether a probe of the kubelet, which names the address of a pod as the host, succeeds."""
    try:
        return requests.get(f"{url}{path}", headers={"host": "10.1.2.3:5000"}, timeout=10).status_code == 200
    except requests.ConnectionError:
        return False


def test_the_image_names_its_commit_and_its_user(builder: str, image: str) -> None:
    config = inspect(builder, image)["Config"]
    assert config["Labels"]["org.opencontainers.image.revision"] == "abc" and config["User"] == "1034:1034"
    commit = ["git", "-C", "/opt/digits/project", "rev-parse", "HEAD"]
    found = subprocess.run([builder, "run", "--rm", *ULIMITS, image, *commit], capture_output=True, text=True)
    here = subprocess.run(["git", "rev-parse", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert found.stdout == here.stdout, found.stderr


def test_the_job_migrates_the_database(builder: str, image: str, rendered: Rendered, postgres_url: str) -> None:
    spec, variables = pod(rendered, "digits-migrate", DIGITS_DATABASE_URL=postgres_url)
    done = run(builder, image, spec, variables)
    assert done.returncode == 0 and re.search(r"schema \d{4}$", done.stdout.strip()), done.stdout + done.stderr
    assert variables["DIGITS_DATABASE_URL"].split(":")[2].split("@")[0] not in done.stdout  # the password


def test_mlflow_answers_with_the_password_only(mlflow: tuple[Container, str], rendered: Rendered) -> None:
    _, url = mlflow
    variables = pod(rendered, "digits-monitor")[1]
    user = variables["MLFLOW_TRACKING_USERNAME"], variables["MLFLOW_TRACKING_PASSWORD"]

    def search(user: tuple[str, str] | None, **headers: str) -> int:
        address = f"{url}/api/2.0/mlflow/experiments/search"
        return requests.post(address, json={"max_results": 1}, auth=user, headers=headers, timeout=60).status_code

    assert search(None, host="mlflow:5000") == search(("digits", "wrong"), host="mlflow:5000") == 401
    assert search(user, host="mlflow:5000") == search(user, host="localhost:5000") == 200
    assert search(user, host="elsewhere.example.org") == 403


def test_the_monitor_reports_to_mlflow_and_too_little_data_is_no_failure(
    builder: str, image: str, mlflow: tuple[Container, str], rendered: Rendered, postgres_url: str
) -> None:
    changes = {"MLFLOW_TRACKING_URI": mlflow[1].replace("127.0.0.1", "localhost"), "DIGITS_DATABASE_URL": postgres_url}
    spec, variables = pod(rendered, "digits-monitor", **changes)
    done = run(builder, image, spec, variables)
    assert (done.returncode, done.stdout) == (0, "no retraining has run in this volume yet\n"), done.stderr
    spec = copy.deepcopy(spec)
    (script,) = spec["containers"][0]["args"]
    registered = 'echo \'{"dataset": "mnist"}\' > reports/registered.json'  # by a retraining
    spec["containers"][0]["args"] = [script.replace("\nif", f"\n{registered}\nif", 1)]
    done = run(builder, image, spec, variables)
    assert done.returncode == 0 and "too little data" in done.stdout, done.stdout + done.stderr
    user = variables["MLFLOW_TRACKING_USERNAME"], variables["MLFLOW_TRACKING_PASSWORD"]
    address = f"{mlflow[1]}/api/2.0/mlflow/experiments/get-by-name?experiment_name=mnist-monitor"
    found = requests.get(address, auth=user, headers={"host": "mlflow:5000"}, timeout=60)
    assert found.json()["experiment"]["name"] == "mnist-monitor"


def test_the_workspace_follows_the_image_and_keeps_data(tmp_path: Path) -> None:
    project, workspace = tmp_path / "image", tmp_path / "workspace"

    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
        subprocess.run(["git", "-C", str(project), *identity, *arguments], check=True, capture_output=True)

    def update() -> None:
        command = ["sh", str(SOURCE / "update-workspace"), str(workspace)]
        subprocess.run(command, check=True, env={"PATH": "/usr/bin:/bin", "IMAGE_PROJECT": str(project)})

    project.mkdir()
    git("init", "--quiet")
    (project / "dvc.lock").write_text("first")
    git("add", "-A")
    git("commit", "-qm", "first")
    update()
    (workspace / "dvc.lock").write_text("of a retraining")
    (workspace / "data").mkdir()
    update()
    assert (workspace / "dvc.lock").read_text() == "of a retraining"
    (project / "dvc.lock").write_text("second")
    git("commit", "-qam", "second")
    with FileLock(workspace / RETRAINING_LOCK.relative_to(ROOT)):  # of a retraining
        update()
        assert (workspace / "dvc.lock").read_text() == "of a retraining"
    update()
    assert (workspace / "dvc.lock").read_text() == "second" and (workspace / "data").is_dir()
