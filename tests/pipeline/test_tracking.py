"""Which store is used, from wherever a stage runs."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import paths, tracking
from pipeline.console import PipelineError
from tests.conftest import REPOSITORY


def test_the_store_lies_in_the_checkout_unless_named(monkeypatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking.tracking_uri() == f"sqlite:///{paths.ROOT / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.example")
    assert tracking.tracking_uri() == "http://mlflow.example"


def test_a_queued_experiment_uses_the_checkout_around_it(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(paths, "ROOT", tmp_path / ".dvc" / "tmp" / "exps" / "tmpab12")
    assert paths.checkout() == tmp_path
    monkeypatch.setattr(paths, "ROOT", tmp_path / "exps" / "project")
    assert paths.checkout() == tmp_path / "exps" / "project"


@pytest.fixture
def own_store_afterwards() -> Iterator[None]:
    """MLflow keeps the store it was told of in the environment."""
    yield
    import mlflow

    mlflow.set_tracking_uri(None)
    mlflow.set_registry_uri(None)


def test_an_experiment_is_of_the_kind_for_training_and_is_described_also_one_of_an_earlier_release(
    monkeypatch, tmp_path: Path, own_store_afterwards: None, capsys
) -> None:
    monkeypatch.setattr(tracking, "checkout", lambda: tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    client = tracking.connect()
    client.create_experiment("mnist")
    for name in ("mnist", "mnist-monitor"):
        experiment = client.get_experiment(tracking.experiment_id(name, f"about {name}"))
        assert experiment.name == name
        assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
        assert experiment.tags["mlflow.note.content"] == f"about {name}"
    client.set_experiment_tag("1", "mlflow.note.content", "a user's own words")
    with tracking.run("mnist", "cnn", {"model": "cnn"}, "a note", "about") as run:
        assert client.get_run(run.info.run_id).data.tags["mlflow.note.content"] == "a note"
    assert client.get_experiment("1").tags["mlflow.note.content"] == "a user's own words"
    monkeypatch.setattr(os, "execv", lambda *command: None)
    tracking.main(port=5001)
    address = "http://localhost:5001/#/experiments/{}?workflowType=machine_learning"
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert f"mnist: {address.format(1)}" in lines and f"mnist-monitor: {address.format(2)}" in lines


def test_a_store_that_cannot_be_used_is_named_without_its_password(
    monkeypatch, tmp_path: Path, own_store_afterwards: None
) -> None:
    monkeypatch.setattr(tracking, "checkout", lambda: tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:1")
    with pytest.raises(PipelineError, match="cannot be used") as raised:
        tracking.connect()
    assert "secret" not in str(raised.value)
    assert tracking.without_password("no postgresql://me:secret@host/db") == "no postgresql://...@host/db"


def test_an_interrupted_creation_of_the_embedded_store_leaves_none_and_is_repeated(
    monkeypatch, tmp_path: Path, own_store_afterwards: None
) -> None:
    store = tmp_path / "mlflow.db"
    monkeypatch.setattr(tracking, "checkout", lambda: tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store}")
    script = "from pipeline import tracking; tracking.create_embedded_store(tracking.tracking_uri())"
    process = subprocess.Popen([sys.executable, "-c", script], cwd=REPOSITORY)
    while process.poll() is None and not list(tmp_path.glob("mlflow.db*")):
        time.sleep(0.01)
    assert process.poll() is None
    process.kill()
    process.wait()
    assert not store.exists() and list(tmp_path.glob("mlflow.db.unfinished*"))
    assert tracking.connect().search_experiments() and tracking.connect().search_registered_models() == []
    assert [path.name for path in tmp_path.glob("mlflow.db*")] == ["mlflow.db"]


def test_the_database_is_in_the_checkout_by_default(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tracking, "checkout", lambda: tmp_path)
    monkeypatch.delenv("DIGITS_DATABASE_URL", raising=False)
    assert tracking.open_database().url.database == str(tmp_path / "digits.db")
    assert (tmp_path / "digits.db").exists()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://me:secret@db/digits", "^DIGITS_DATABASE_URL: expected sqlite:///FILE or postgresql://"),
        ("sqlite:////missing/folder/digits.db", "database of DIGITS_DATABASE_URL cannot be used: .*unable to open"),
        ("postgresql://me:secret@127.0.0.1:1/digits", "database of DIGITS_DATABASE_URL cannot be used: .*refused"),
    ],
)
def test_an_unusable_database_is_an_error_without_the_password(monkeypatch, url: str, message: str) -> None:
    monkeypatch.setenv("DIGITS_DATABASE_URL", url)
    with pytest.raises(PipelineError, match=message) as raised:
        tracking.open_database()
    assert "secret" not in str(raised.value)


def test_the_commit_is_marked_when_files_differ_from_it(monkeypatch, tmp_path: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    monkeypatch.setattr(tracking, "ROOT", tmp_path)
    assert tracking.git_commit() == "unknown"
    git("init")
    (tmp_path / "file").write_text("1")
    git("add", "file")
    git("commit", "-m", "first")
    assert len(tracking.git_commit()) == 40
    (tmp_path / "file").write_text("2")
    assert tracking.git_commit().endswith("-dirty")
