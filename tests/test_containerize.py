"""`bentoml containerize` on the project's Bento, as in BentoML's documentation, and its image run for real."""

import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import bentoml
import numpy as np
import pytest
import requests

from pipeline.console import PipelineError
from pipeline.deployment.image import pull
from pipeline.files import read_json
from tests.conftest import Project
from tests.containers import (
    BASE_IMAGE,
    MARK,
    Container,
    assert_no_package_index_is_named,
    pip_settings,
    remove,
    running,
)

pytestmark = pytest.mark.slow

NAME = "localhost/digits-by-bentoml"
UNREACHABLE = re.compile(r".*(?:Could not (?:resolve|connect)|Failed to fetch|Temporary failure|dns error).*")
CERTIFICATES = Path("/etc/ssl/certs")


@pytest.fixture(scope="module")
def builder() -> str:
    """podman, with the base image at hand. Only podman's builds can mount what they need of this machine."""
    if shutil.which("podman") is None:
        pytest.skip("podman is not installed")
    try:
        pull("podman", BASE_IMAGE)
    except PipelineError as error:
        pytest.skip(str(error).splitlines()[0])
    return "podman"


def write_build_settings(folder: Path) -> Path:
    """Write how podman's builds see this machine: uv, certificates, and the package index that pip is configured for.

    Volumes leave nothing in an image. They are in podman's configuration, as `--opt volume=` accepts only one.
    """
    volumes = [f"{Path(sys.executable).with_name('uv')}:/usr/local/bin/uv:ro", f"{folder}/uv.toml:/etc/uv/uv.toml:ro"]
    if CERTIFICATES.is_dir():  # a copy, because the build installs certificates, too
        shutil.copytree(CERTIFICATES, folder / "certs", ignore_dangling_symlinks=True)
        volumes.append(f"{folder}/certs:{CERTIFICATES}")

    def seen(address: str) -> str:
        """An address as builds see it: a local folder is mounted below /mnt."""
        path = Path(address.removeprefix("file://"))
        if not path.is_absolute():
            return address
        place = f"/mnt/{len(volumes)}"
        volumes.append(f"{path.parent}:{place}:ro")
        return f"file://{place}/{path.name}"

    pip = pip_settings()
    lines = ["system-certs = true", "no-cache = true", 'index-strategy = "unsafe-best-match"']  # the last: as pip does
    lines.append(f"find-links = {json.dumps([seen(address) for address in [*pip['find-links'], str(folder / MARK)]])}")
    for option in ("extra-index-url", "index-url"):
        for address in pip[option]:
            lines += ["[[index]]", f"url = {json.dumps(seen(address))}"]
            lines += ["default = true"] if option == "index-url" else []
    (folder / MARK).mkdir()
    (folder / "uv.toml").write_text("\n".join(lines))
    configuration = folder / "containers.conf"
    configuration.write_text(f"[containers]\nvolumes = {json.dumps(volumes)}\n")
    return configuration


@pytest.fixture(scope="module")
def image(builder: str, project: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The image that `bentoml containerize` builds of the small project's Bento."""
    configuration = write_build_settings(tmp_path_factory.mktemp("build"))
    tag = read_json(project.folder / "reports" / "bento.json")["bento"]
    options = [f"--opt={option}" for option in (f"from={BASE_IMAGE}", "isolation=chroot", "network=host")]
    command = ["bentoml", "containerize", tag, "--backend", builder, "--image-tag", NAME, *options]
    home = str(project.folder / ".bentoml")
    podman = {"CONTAINERS_CONF": str(configuration), "BUILDAH_LAYERS": "false"}  # a failed build leaves no layers
    said = project.run(*command, status=None, BENTOML_HOME=home, **podman)
    if "Successfully built" not in said and (reason := UNREACHABLE.search(said)):
        pytest.skip(f"a registry of packages is unreachable: {reason[0]}")
    assert "Successfully built" in said, said[-3000:]
    yield f"{NAME}:latest"
    remove(builder, NAME)


@pytest.fixture(scope="module")
def container(builder: str, image: str) -> Iterator[Container]:
    with running(builder, image, BENTOML_HOME="/tmp/.bentoml") as started:
        started.wait_until_ready()
        yield started


@pytest.mark.parametrize("model", ["cnn", "mlp"])
def test_the_packaged_models_answer_as_evaluated(container: Container, project: Project, model: str) -> None:
    with np.load(project.folder / "evaluations" / model / "known_digits.npz") as known:
        images, expected = known["images"].tolist(), pytest.approx(known["probabilities"], abs=1e-4)
    body = {"images": images, "model": model}
    rows = requests.post(f"{container.url}/predict_pixels", json=body, timeout=30).json()["results"]
    assert np.array([row["probabilities"] for row in rows]) == expected
    with bentoml.SyncHTTPClient(container.url) as client:
        answer = client.predict_pixels(images=images, model=model)
    rows = (answer if isinstance(answer, dict) else answer.model_dump())["results"]
    assert np.array([row["probabilities"] for row in rows]) == expected


def test_it_contains_the_models_and_no_package_index(builder: str, image: str, container: Container) -> None:
    assert container.inside("id", "-u").stdout.strip() == "1034"
    files = container.inside("find", "/home", "-name", "*.tflite").stdout.splitlines()
    assert len(files) == 2
    assert_no_package_index_is_named(builder, image, container, ("/app", "/etc", "/home", "/mnt", "/tmp"))


def test_it_ends_when_its_worker_is_killed(builder: str, image: str) -> None:
    with running(builder, image, BENTOML_HOME="/tmp/.bentoml") as started:
        started.wait_until_ready()
        assert started.inside("sh", "-c", "kill -9 $(cat /proc/1/task/1/children)").returncode == 0
        assert started.wait_until_ended() != 0
