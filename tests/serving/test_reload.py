"""Models in a folder of their own: promoted ones are served without a restart, broken ones never."""

import logging
import re
import time
from collections.abc import Callable
from pathlib import Path

import prometheus_client
import pytest
import requests

from pipeline.console import PipelineError
from pipeline.files import read_json, write_json
from recognition.model import DamagedModel
from serving.inference import model_watcher
from serving.inference.model_watcher import ModelFolder, ModelWatcher
from serving.inference.served_models import Models, ServedModels, load_directory
from tests.conftest import Project, serve
from tests.serving.conftest import change, spoil
from tests.serving.test_hostile import saved, seven

pytestmark = pytest.mark.slow


def test_what_current_json_names_is_loaded(directory: Path) -> None:
    models = load_directory(directory)
    assert models.champion == "cnn" and set(models.by_name) == {"mlp", "cnn"}


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda current: current.update(champion="vit"), "'vit' is not among"),
        (lambda current: current["models"]["cnn"].update(folder="../elsewhere"), "not the name of a folder"),
        (lambda current: current["models"]["cnn"].update(folder="missing"), "missing"),
        (lambda current: current["models"]["cnn"].update(digest="0" * 64), "is to have sha256 0000"),
        (lambda current: current.update(models=[]), "is not among"),
        (lambda current: current.update(models=["cnn"]), "expected champion and models"),
        (lambda current: current.pop("champion"), "champion"),
    ],
)
def test_what_is_wrong_in_current_json_is_said(directory: Path, edit: Callable[[dict], object], said: str) -> None:
    change(directory, edit)
    with pytest.raises(DamagedModel, match=said):
        load_directory(directory)


def test_models_with_different_classes_are_not_served_together(directory: Path) -> None:
    card = directory / read_json(directory / "current.json")["models"]["mlp"]["folder"] / "model.json"
    write_json(card, read_json(card) | {"classes": [*"1234567890"]})
    with pytest.raises(DamagedModel, match="mlp has other classes than the champion cnn"):
        load_directory(directory)


@pytest.fixture
def served() -> ServedModels:
    """Served models that remember every replacement in `history`."""
    models = ServedModels()
    models.history = []  # type: ignore[attr-defined]
    models.on_replace = models.history.append  # type: ignore[attr-defined]
    return models


def history(served: ServedModels) -> list[str]:
    found: list[Models] = served.history  # type: ignore[attr-defined]
    return [models.champion for models in found]


def test_a_look_serves_what_is_new_and_whole(directory: Path, served: ServedModels) -> None:
    watcher = ModelWatcher(ModelFolder(directory), served)
    watcher.look()
    assert history(served) == []
    change(directory, lambda current: current.update(champion="mlp"))
    watcher.look()
    assert history(served) == ["mlp"] and served.current.champion == "mlp"
    spoil(directory)
    watcher.look()
    (directory / "current.json").write_text("{")
    watcher.look()
    (directory / "current.json").unlink()
    watcher.look()
    assert history(served) == ["mlp"] and served.current.champion == "mlp"


def test_a_failed_reload_is_tried_again_and_counted(
    directory: Path, served: ServedModels, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def value(name: str) -> float:
        return prometheus_client.REGISTRY.get_sample_value(name) or 0.0

    monkeypatch.setattr(model_watcher, "RETRY_SECONDS", 0)
    watcher, before = ModelWatcher(ModelFolder(directory), served), value("digits_model_reload_failures_total")
    late = next(directory.glob("v*-*"))
    late.rename(directory / "late")  # files that another process still copies
    change(directory, lambda current: current.update(champion="mlp"))
    with caplog.at_level(logging.ERROR, "digits"):
        watcher.look()
        watcher.look()
    assert history(served) == [] and value("digits_model_reload_failures_total") == before + 2
    assert value("digits_model_reload_pending") == 1 and len(caplog.records) == 1
    (directory / "late").rename(late)
    watcher.look()
    assert history(served) == ["mlp"] and value("digits_model_reload_pending") == 0


def test_a_running_service_takes_the_new_models_and_never_broken_ones(project: Project, directory: Path) -> None:
    tag = read_json(project.folder / "reports" / "bento.json")["bento"]
    with serve(project, tag, DIGITS_MODEL_DIR=str(directory), DIGITS_WORKERS="2") as url:

        def champions() -> set[str]:
            """Who answers, asked over new connections until both workers have been met."""
            asked = [requests.post(f"{url}/predict", data=saved(seven()), timeout=30) for _ in range(12)]
            assert {answer.status_code for answer in asked} == {200}
            return {answer.json()["model"] for answer in asked}

        assert champions() == {"cnn"}
        change(directory, lambda current: current.update(champion="mlp"))
        deadline = time.monotonic() + 10
        while champions() != {"mlp"}:
            assert time.monotonic() < deadline
        version = read_json(directory / "current.json")["models"]["mlp"]["version"]

        def shown() -> list[float]:
            """The champion's version in each worker. A worker that is still starting shows 0."""
            metrics = requests.get(f"{url}/metrics", timeout=30).text
            return [float(text) for text in re.findall(r'digits_champion_version\{pid="\d+"\} (\S+)', metrics)]

        while shown() != [float(version)] * 2:
            assert time.monotonic() < deadline + 60, shown()
            time.sleep(0.2)
        spoil(directory)
        change(directory, lambda current: current.update(champion="cnn"))
        time.sleep(2)
        assert champions() == {"mlp"}
        assert requests.get(f"{url}/readyz", timeout=30).status_code == 200


def test_damaged_or_missing_models_keep_the_service_from_starting(project: Project, directory: Path) -> None:
    tag = read_json(project.folder / "reports" / "bento.json")["bento"]
    spoil(directory)
    with pytest.raises(PipelineError, match="expected sha256"), serve(project, tag, DIGITS_MODEL_DIR=str(directory)):
        pass
    missing = directory / "nothing"
    with pytest.raises(PipelineError, match=r"current\.json"), serve(project, tag, DIGITS_MODEL_DIR=str(missing)):
        pass
