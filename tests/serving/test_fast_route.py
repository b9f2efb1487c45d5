"""`/predict_pixels` is answered ahead of BentoML's own handler, and both give the same answers."""

from collections.abc import Iterator

import bentoml
import numpy as np
import pytest
from starlette.testclient import TestClient

from serving import worker
from serving.models import Models, load_models
from serving.service import Digits
from tests.conftest import Project

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def models(project: Project) -> Models:
    stored = {
        folder.name.rpartition("-")[2]: max(folder.glob("v*"))
        for folder in (project.folder / ".bentoml" / "models").glob("*-classifier-*")
    }
    return load_models(stored, "cnn", dict.fromkeys(stored, "1"))


@pytest.fixture(scope="module")
def routes(models: Models) -> Iterator[tuple[TestClient, TestClient]]:
    """The service as it is reached, and BentoML's own handlers behind it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "packaged_models", lambda: models)
        patch.setattr(worker, "configure_logs", lambda level: None)
        with TestClient(bentoml.Service.to_asgi(Digits)) as declared:  # its life cycle loads the models
            yield TestClient(Digits.to_asgi()), declared


def known(models: Models) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 256, (60, 28, 28), dtype=np.uint8)
    return np.concatenate([models.by_name["cnn"].known_digits[0], noise, np.zeros((1, 28, 28), np.uint8)])


@pytest.mark.parametrize("model", ["champion", "mlp"])
def test_both_give_the_same_answers(routes: tuple[TestClient, TestClient], models: Models, model: str) -> None:
    bodies = [{"images": images.tolist(), "model": model} for images in (known(models), known(models)[:1])]
    for body in bodies:
        fast, declared = (route.post("/predict_pixels", json=body) for route in routes)
        assert fast.status_code == declared.status_code == 200
        rows, other = fast.json()["results"], declared.json()["results"]
        assert len(rows) == len(body["images"])
        for row, same in zip(rows, other, strict=True):
            assert row.pop("request_id") != same.pop("request_id")
        assert rows == other


def test_it_is_declared_with_bentoml() -> None:
    assert Digits.apis["predict_pixels"].route == "/predict_pixels"
