"""A registry, a database and a folder of exported models that an earlier version of the project made keep working.

`tests/fixtures/registry.tar.xz` holds them: versions 1 and 3 of a small CNN and 2 and 4 of a small MLP, trained on the
embedded digits. The gate refused version 3, a user promoted it, so version 1 is the previous champion.
"""

import os
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline import tracking
from pipeline.files import read_json
from pipeline.registry import champion, handover, promotion, versions
from pipeline.tracking import open_database
from records import promotions
from serving.inference.served_models import load_directory
from tests.conftest import REPOSITORY

MODEL = "optdigits-classifier"


@pytest.fixture
def stores(tmp_path: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder with the earlier version's `mlflow.db`, `mlartifacts/`, `digits.db` and `served/`."""
    import mlflow

    with tarfile.open(REPOSITORY / "tests" / "fixtures" / "registry.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    for name in ("mlflow", "digits"):
        statements = (tmp_path / f"{name}.sql").read_text().replace("file:///project/", f"{tmp_path.as_uri()}/")
        with sqlite3.connect(tmp_path / f"{name}.db") as connection:
            connection.executescript(statements)
    monkeypatch.setattr(tracking, "checkout", lambda: tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.setenv("DIGITS_DATABASE_URL", f"sqlite:///{tmp_path / 'digits.db'}")
    monkeypatch.setenv("DIGITS_MODEL_DIR", str(tmp_path / "served"))
    monkeypatch.delenv("REASON", raising=False)
    yield tmp_path
    mlflow.set_tracking_uri(None)
    mlflow.set_registry_uri(None)


def test_the_registry_is_read_rolled_back_and_exported(stores: Path) -> None:
    engine = open_database()
    assert champion.champion_state(engine, MODEL) == champion.ChampionState("3", 2)
    name, models = versions.served(MODEL)
    assert name == "cnn" and {key: model.version for key, model in models.items()} == {"mlp": "4", "cnn": "3"}
    for model in models.values():
        images, probabilities = model.known_digits
        assert [answer["prediction"] for answer in model.answer(images)] == probabilities.argmax(axis=1).tolist()
        assert model.ood_score is not None and model.card_page is not None
    rejected = champion.demotion(engine, MODEL, versions.download(MODEL, "1"))
    assert rejected is not None and rejected["version"] == "3"
    promotion.rollback()
    assert champion.champion_state(engine, MODEL) == champion.ChampionState("1", 3)
    events = [(row["event"], row["version"], row["revision"]) for row in promotions.history(engine, MODEL)]
    assert events == [("promoted", "1", 1), ("refused", "3", None), ("promoted", "3", 2), ("rolled back", "1", 3)]
    assert read_json(stores / "served" / "current.json")["models"]["cnn"]["version"] == "1"
    assert load_directory(stores / "served").match_known_digits()
    described = tracking.connect().get_registered_model(MODEL).description
    assert described.startswith("**Champion: [version 1]") and "rolled back" in described


def test_exported_models_are_served_and_an_unchanged_export_touches_nothing(stores: Path) -> None:
    served = load_directory(stores / "served")
    assert served.champion == "cnn" and list(served.by_name) == ["mlp", "cnn"] and served.match_known_digits()
    before = {path: path.stat().st_mtime_ns for path in (stores / "served").rglob("*") if path.is_file()}
    handover.export(MODEL)
    after = {path: path.stat().st_mtime_ns for path in (stores / "served").rglob("*") if path.is_file()}
    del after[stores / "served" / ".lock"]
    assert after == before


def test_a_pyfunc_of_the_earlier_layout_loads_from_any_folder(stores: Path, tmp_path: Path) -> None:
    images, probabilities = versions.download(MODEL, "3").known_digits
    np.savez(tmp_path / "known.npz", images=images, probabilities=probabilities)
    script = f"""
import mlflow, numpy as np
known = np.load({str(tmp_path / "known.npz")!r})
found = mlflow.pyfunc.load_model("models:/{MODEL}@champion").predict(known["images"])
assert np.abs(found - known["probabilities"]).max() < 0.01
"""
    (tmp_path / "elsewhere").mkdir()
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path / "elsewhere", env=variables, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
