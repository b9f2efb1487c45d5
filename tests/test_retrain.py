"""The whole loop: serve, log, drift, labels, retrain, promote, roll back; and recovery from killed processes."""

import os
import re
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from typing import Any

import numpy as np
import psutil
import pytest
import requests

from pipeline.deployment.bento_server import free_port
from pipeline.files import read_json
from tests.conftest import REPOSITORY, Project
from tests.test_pipeline import has_rows, ran

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]
SHIFT = 2  # pixels to the right and down; larger shifts violate the validation rules
REQUESTS = 300


def small(params: dict[str, Any]) -> None:
    """Settings for a single user and few images."""
    del params["models"]["cnn"]
    params["models"]["mlp"]["seed"] = 2  # another model than the shared project's, which would not be trained again
    params["feedback"] |= {"class_share": 1.0, "client_share": 1.0, "rejected_below": 0.0}
    params["selection"] |= {"tolerance": 0.2, "corrupted_tolerance": 0.5, "ood_tolerance": 0.5, "minimum_labels": 30}


@pytest.fixture(scope="module")
def deployment(make_project: Callable[[str], Project], built_project: Project) -> Project:
    """A project whose first retraining was killed during training, with all its processes, and then repeated."""
    project = make_project("deployment")
    project.reuse_stages(built_project)
    project.change(small)
    (project.folder / ".venv").symlink_to(REPOSITORY / ".venv")
    os.utime(project.folder / "requirements.txt", (0, 0))  # older than the installed packages: make installs nothing
    kill_in(project, "train@mlp", lambda family: family)
    output = retrain(project)
    assert last(output) == "promoted: version 1: there is no champion to compare with"
    return project


def retrain(project: Project) -> str:
    return project.run("make", "retrain")


def last(output: str) -> str:
    return output.rstrip().splitlines()[-1]


def kill_in(project: Project, stage: str, chosen: Callable[[list[psutil.Process]], list[psutil.Process]]) -> None:
    """Start `make retrain` and, when a stage has started, `kill -9` the chosen processes (make, python, dvc, ...)."""
    log = project.folder / "retrain.log"
    with log.open("w") as output:
        command = ["make", "retrain"]
        make = psutil.Popen(command, cwd=project.folder, env=project.environment(), stdout=output, stderr=output)
    until(lambda: works_on(project, stage, make) or make.poll() is not None, seconds=600)
    assert make.poll() is None, log.read_text()
    for member in chosen([make, *make.children(recursive=True)]):
        with suppress(psutil.NoSuchProcess):  # ended meanwhile
            member.kill()
    make.wait(600)


def works_on(project: Project, stage: str, make: psutil.Popen) -> bool:
    """Returns whether a process below `make` runs the stage; a training has logged its first epoch."""
    module = stage.partition("@")[0]
    for process in make.children(recursive=True):
        with suppress(psutil.Error):
            if process.cmdline()[1:3] == ["-m", f"pipeline.{module}"]:
                return module != "train" or has_rows(project.folder / "mlflow.db", "metrics")
    return False


@contextmanager
def served(project: Project) -> Iterator[str]:
    """Run `make serve` with prediction logging while the block runs. Yields the URL."""
    port, log = free_port(), project.folder / "serve.log"
    variables = {"DIGITS_LOG_PREDICTIONS": "1", "DIGITS_DATABASE_URL": f"sqlite:///{project.folder / 'digits.db'}"}
    with log.open("w") as output:
        server = subprocess.Popen(
            ["make", "serve", f"PORT={port}"], cwd=project.folder, env=project.environment(**variables),
            stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        until(lambda: "Open http" in log.read_text() or server.poll() is not None, seconds=120)
        assert server.poll() is None, log.read_text()
        yield f"http://127.0.0.1:{port}"
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGINT)
            server.wait(60)


def until(condition: Callable[[], bool], seconds: float) -> None:
    """Wait until the condition holds. Fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true in time"
        time.sleep(0.05)


def logged(project: Project) -> int:
    """Returns the number of pictures in the prediction log."""
    with closing(sqlite3.connect(project.folder / "digits.db")) as connection:
        return int(connection.execute("select count(*) from pictures").fetchone()[0])


def champion(url: str) -> str:
    """Returns the version of the served champion."""
    card = requests.get(f"{url}/model", timeout=10).json()
    return str(card["models"][card["champion"]]["version"])


def accuracy(url: str, images: np.ndarray, labels: np.ndarray) -> float:
    body = {"images": images[:256].tolist()}
    rows = requests.post(f"{url}/predict_pixels", json=body, timeout=60).json()["results"]
    return float(np.mean([row["prediction"] == label for row, label in zip(rows, labels[:256], strict=True)]))


def test_the_whole_loop(deployment: Project) -> None:
    project = deployment
    with np.load(project.folder / "data" / "prepared" / "test.npz") as test:
        mirrored, labels = test["images"][:REQUESTS, :, ::-1], test["labels"][:REQUESTS]  # as by a mirrored camera
        images = np.roll(mirrored, (SHIFT, SHIFT), (1, 2))
    with served(project) as url:
        old = champion(url)

        def ask(image: np.ndarray) -> str:
            answer = requests.post(f"{url}/predict_pixels", json={"images": [image.tolist()]}, timeout=60).json()
            return str(answer["results"][0]["request_id"])

        with ThreadPoolExecutor(4) as people:
            asked = list(people.map(ask, images))
        assert len(set(asked)) == REQUESTS
        until(lambda: logged(project) == REQUESTS, seconds=60)
        alarm = project.run(".venv/bin/python", "-m", "pipeline.monitoring.monitor", status=10)
        assert f"drift: {REQUESTS} pictures since" in alarm

        for request_id, label in zip(asked, labels.tolist(), strict=True):
            body = {"request_id": request_id, "label": label}
            assert requests.post(f"{url}/feedback", json=body, timeout=30).status_code == 204
        before = accuracy(url, images, labels)
        # kill -9 of the Python process of make retrain only: dvc and the stage keep running as orphans
        kill_in(
            project,
            "register",
            lambda family: [m for m in family if m.cmdline()[1:] == ["-m", "pipeline.deployment.retrain"]],
        )
        output = retrain(project)
        promoted = re.match(r"promoted: version (\d+): better than the champion: .* labelled images", last(output))
        assert promoted, output
        new = promoted[1]
        until(lambda: champion(url) == new, seconds=30)
        assert accuracy(url, images, labels) > before + 0.1

        assert f"rolled back: from version {new} to {old}" in project.run("make", "rollback")
        until(lambda: champion(url) == old, seconds=30)
        again = project.run("dvc", "repro", "--single-item", "--force", "register")
        assert f"refused: version {new}: " in again and "replaced it as champion" in again
        assert last(retrain(project)).startswith((f"refused: version {new}: ", "unchanged: "))
        assert champion(url) == old

        assert f"rolled back: from version {old} to {new}" in project.run("make", "rollback")
        until(lambda: champion(url) == new, seconds=30)
        refused = project.run("make", "promote", f"VERSION={old}", status=2)
        assert f"the gate refuses version {old}: possibly worse than the champion" in refused
        project.run("make", "promote", f"VERSION={old}", 'REASON=it\'s only a "test"')
        until(lambda: champion(url) == old, seconds=30)
    table = project.run("make", "champions", COLUMNS="200")
    assert re.search(rf"promoted, forced *│ {new} *│ {old} *│ it's only a \"test\" \(the gate refuses: possibly", table)
    summary = (project.folder / "reports" / "retraining.md").read_text()
    assert "## Metrics against the last commit" in summary and "| mlp | test accuracy |" in summary


def test_a_retraining_continues_when_make_is_killed_and_the_next_waits_for_it(deployment: Project) -> None:
    deployment.change(lambda params: params["compare"].update(pictures=12))
    kill_in(deployment, "package", lambda family: family[:1])
    output = retrain(deployment)
    assert "another retraining is running; waiting for its end" in output
    assert last(output).startswith("unchanged: ")
    assert ran(retrain(deployment)) == []
    assert not (deployment.folder / ".dvc" / "tmp" / "retraining.json").exists()


def test_a_retraining_never_uses_the_fallback(make_project: Callable[[str], Project]) -> None:
    project = make_project("unreachable")
    (project.folder / ".venv").symlink_to(REPOSITORY / ".venv")
    os.utime(project.folder / "requirements.txt", (0, 0))
    before = (project.folder / "params.yaml").read_text().replace("dataset: optdigits", "dataset: mnist")
    (project.folder / "params.yaml").write_text(before)
    datasets = project.folder / "pipeline" / "data" / "datasets.yaml"
    datasets.write_text(re.sub(r"https?://[^\s'\"]+", "http://127.0.0.1:9/", datasets.read_text()))
    project.repro("fetch")
    assert read_json(project.folder / "data" / "raw" / "source.json")["fallback"] is True
    refused = project.run("make", "retrain", status=2)
    assert "error: no mirror of mnist can be reached and data.fallback is null" in refused
    assert ran(refused) == []
    assert (project.folder / "params.yaml").read_text() == before
