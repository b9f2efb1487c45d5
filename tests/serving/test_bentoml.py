"""What BentoML's documentation promises: its client, its schema, its metrics page, its container mode."""

import json
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import bentoml
import numpy as np
import psutil
import pytest
import requests
import sqlalchemy as sql

from pipeline.deployment import bento_server
from pipeline.files import read_json
from records import database
from tests.conftest import REPOSITORY, Project, serve
from tests.test_backup_of_servers import documented

pytestmark = pytest.mark.slow

KEY = "a key for tests"


@pytest.fixture(scope="module")
def tag(project: Project) -> str:
    return str(read_json(project.folder / "reports" / "bento.json")["bento"])


@pytest.fixture(scope="module")
def images(project: Project) -> list[list[list[int]]]:
    with np.load(project.folder / "evaluations" / "cnn" / "known_digits.npz") as known:
        found: list[list[list[int]]] = known["images"].tolist()
    return found


@pytest.fixture(scope="module")
def locked(project: Project, tag: str) -> Iterator[str]:
    """The service with a key and a small limit on bodies."""
    with serve(project, tag, DIGITS_API_KEY=KEY, DIGITS_MAX_BODY_BYTES="20000", DIGITS_RATE_PER_MINUTE="20") as url:
        yield url


def test_the_client_finds_the_route_and_gets_the_same_answers(service: str, images: list[list[list[int]]]) -> None:
    with bentoml.SyncHTTPClient(service) as client:
        answer = client.predict_pixels(images=images, model="mlp")
    rows = (answer if isinstance(answer, dict) else answer.model_dump())["results"]
    body = {"images": images, "model": "mlp"}
    others = requests.post(f"{service}/predict_pixels", json=body, timeout=30).json()["results"]
    assert len(rows) == len(others) == len(images)
    for row, other in zip(rows, others, strict=True):
        assert row.pop("request_id") != other.pop("request_id")
    assert rows == others


def test_predictions_through_the_client_are_logged_and_take_feedback(
    project: Project, tag: str, images: list[list[list[int]]], tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'digits.db'}"
    settings = {"DIGITS_DATABASE_URL": url, "DIGITS_LOG_PREDICTIONS": "true"}
    with serve(project, tag, **settings) as service, bentoml.SyncHTTPClient(service) as client:
        answer = client.predict_pixels(images=images[:1])
        identity = (answer if isinstance(answer, dict) else answer.model_dump())["results"][0]["request_id"]
        labelled = requests.post(f"{service}/feedback", json={"request_id": identity, "label": 3}, timeout=30)
    assert labelled.status_code == 204, labelled.text
    engine = database.connect(database.parse_url(url))
    with engine.connect() as connection:
        row = connection.execute(sql.select(database.predictions)).one()
        label = connection.execute(sql.select(database.labels)).one()
    engine.dispose()
    assert (row.request_id, row.route) == (identity, "/bentoml/predict_pixels")
    assert (label.request_id, label.label) == (identity, 3)


def test_the_schema_has_a_path_of_its_own_for_the_client(service: str) -> None:
    (route,) = requests.get(f"{service}/schema.json", timeout=30).json()["routes"]
    assert route["name"] == "predict_pixels" and route["route"] == "/bentoml/predict_pixels"
    assert requests.get(f"{service}/docs.json", timeout=30).json()["paths"].keys() & {route["route"]} == set()


def test_the_client_has_the_limits_of_the_other_routes(locked: str, images: list[list[list[int]]]) -> None:
    path = f"{locked}/bentoml/predict_pixels"
    with bentoml.SyncHTTPClient(locked, token=KEY) as client:
        answer = client.predict_pixels(images=images[:1])
        assert (answer if isinstance(answer, dict) else answer.model_dump())["results"][0]["prediction"] == 0
        for wrong in ([], [[[0] * 28] * 27], [[[300] * 28] * 28]):
            with pytest.raises(bentoml.exceptions.BentoMLException, match=r"28x28 integers 0\.\.255"):
                client.predict_pixels(images=wrong)
        with pytest.raises(bentoml.exceptions.BentoMLException, match="there is no model 'vit'"):
            client.predict_pixels(images=images[:1], model="vit")
        with pytest.raises(bentoml.exceptions.BentoMLException, match="20,000 bytes"):
            client.predict_pixels(images=[[[100] * 28] * 28] * 20)
    with pytest.raises(bentoml.exceptions.BentoMLException), bentoml.SyncHTTPClient(locked) as stranger:
        stranger.predict_pixels(images=images[:1])
    headers = {"authorization": f"Bearer {KEY}"}
    body = json.dumps({"images": images[:1]}).encode()
    for kind in ("text/plain", "application/vnd.bentoml+pickle", "multipart/form-data; boundary=x"):
        answered = requests.post(path, data=body, headers={**headers, "content-type": kind}, timeout=30)
        assert answered.status_code == 415, kind
    foreign = {**headers, "origin": "https://example.org"}
    assert requests.post(path, json={"images": images[:1]}, headers=foreign, timeout=30).status_code == 403
    statuses = [requests.get(f"{locked}/schema.json", headers=headers, timeout=30).status_code for _ in range(25)]
    assert statuses[0] == 200 and statuses[-1] == 429  # requests to its own routes count, too


@contextmanager
def started(project: Project, tag: str, **environment: str | None) -> Iterator[tuple[str, psutil.Process]]:
    """The service's URL and its supervisor process."""
    port = bento_server.free_port()
    with tempfile.TemporaryFile() as log:
        server = bento_server.start(tag, "127.0.0.1", port, log, environment, project.folder / ".bentoml")
        try:
            bento_server.wait_until_ready(server, f"http://127.0.0.1:{port}")
            yield f"http://127.0.0.1:{port}", psutil.Process(server.pid)
        finally:
            bento_server.stop(server)


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.2)


def worker(supervisor: psutil.Process) -> psutil.Process:
    (found,) = (child for child in supervisor.children() if "worker" in " ".join(child.cmdline()))
    return found


def test_in_container_mode_it_ends_without_a_worker(project: Project, tag: str) -> None:
    with started(project, tag, BENTOML_CONTAINERIZED="true") as (_, supervisor):
        worker(supervisor).send_signal(signal.SIGKILL)
        wait_for(lambda: not supervisor.is_running() or supervisor.status() == psutil.STATUS_ZOMBIE)


def test_outside_of_container_mode_a_killed_worker_is_replaced(project: Project, tag: str) -> None:
    with started(project, tag, BENTOML_CONTAINERIZED=None) as (url, supervisor):
        before = worker(supervisor)
        before.send_signal(signal.SIGKILL)

        def answers() -> bool:
            try:
                return requests.get(f"{url}/readyz", timeout=5).status_code == 200
            except requests.RequestException:
                return False

        wait_for(lambda: not before.is_running() and answers())
        assert worker(supervisor).pid != before.pid


def test_an_exported_bento_serves_elsewhere_as_documented(project: Project, tag: str, tmp_path: Path) -> None:
    blocks = [documented(title).replace("digits:VERSION", tag) for title in ("in this folder", "on the other machine")]
    project.run("bash", "-euc", blocks[0])
    (project.folder / "digits.bento").rename(tmp_path / "digits.bento")
    commands = [
        line for line in blocks[1].splitlines() if line.startswith(("tar ", "bentoml "))
    ]  # not the installation
    environment = project.environment(HOME=str(tmp_path / "home"))
    subprocess.run(["bash", "-euc", "\n".join(commands)], cwd=tmp_path, env=environment, check=True)
    (requirements,) = re.findall(r"^pip install --require-hashes -r (\S+)$", blocks[1], re.M)
    assert (tmp_path / requirements).read_bytes() == (REPOSITORY / "serving" / "requirements.txt").read_bytes()
    with bento_server.serving(tag, home=tmp_path / "home" / "bentoml") as url:
        assert requests.get(f"{url}/model", timeout=30).status_code == 200


def test_readiness_fails_while_the_drain_file_exists(project: Project, tag: str, tmp_path: Path) -> None:
    file = tmp_path / "drain"
    with started(project, tag, DIGITS_DRAIN_FILE=str(file)) as (url, _):

        def status(path: str) -> int:
            return requests.get(f"{url}{path}", timeout=30).status_code

        assert status("/readyz") == 200
        file.touch()
        assert status("/readyz") == 503 and status("/livez") == 200 and status("/model") == 200
        file.unlink()
        assert status("/readyz") == 200
