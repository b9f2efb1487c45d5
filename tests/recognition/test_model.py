"""Loading served models: what is damaged is refused, naming file and digest."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline.files import sha256
from serving.models import DamagedModel, load_model, load_models
from tests.conftest import Project

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(project: Project, tmp_path: Path) -> Path:
    """A copy of the folder that a registered model carries."""
    (stored,) = (project.folder / ".bentoml" / "models" / "optdigits-classifier-cnn").glob("v*-*")
    shutil.copytree(stored, tmp_path / "cnn")
    return tmp_path / "cnn"


def test_a_whole_model_loads(folder: Path) -> None:
    models = load_models({"cnn": folder}, "cnn", {"cnn": "2"})
    assert models.dataset == "optdigits" and len(models.classes) == 10
    assert models.answer_known_digits()


def test_a_changed_file_is_refused_with_both_digests(folder: Path) -> None:
    file = folder / "model.tflite"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    expected = json.loads((folder / "model.json").read_text())["digest"]
    with pytest.raises(DamagedModel) as raised:
        load_model("cnn", folder, "2")
    assert all(part in str(raised.value) for part in (str(file), expected, sha256(file)))


@pytest.mark.parametrize("missing", ["model.tflite", "model.json", "known_digits.npz"])
def test_a_missing_file_is_named(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(DamagedModel, match=missing):
        load_model("cnn", folder, "2")


def test_another_answer_to_a_known_digit_is_refused(folder: Path) -> None:
    with np.load(folder / "known_digits.npz") as known:
        content = dict(known)
    content["probabilities"] = np.roll(content["probabilities"], 1, axis=1)
    np.savez(folder / "known_digits.npz", **content)
    with pytest.raises(DamagedModel, match="known digit"):
        load_model("cnn", folder, "2")
