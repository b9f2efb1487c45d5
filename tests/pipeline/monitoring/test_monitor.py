"""The monitor: reading the prediction log, its exit statuses, and its report, on both databases."""

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import sqlalchemy as sql

from pipeline import tracking
from pipeline.console import run_main
from pipeline.data.splits import Split
from pipeline.evaluation.reference import make_reference, save_reference
from pipeline.files import read_json, write_json
from pipeline.monitoring import logged, monitor
from pipeline.monitoring.logged import read_labels, read_window
from records import database
from tests.conftest import drawn_digits
from tests.postgres import running_postgres

NOW = datetime.now(UTC)
CARD = {"classes": [str(digit) for digit in range(10)]}


def fill(
    engine: sql.Engine, request_id: str, age: timedelta, predictions: dict[str, int], dataset: str = "mnist"
) -> None:
    """Insert a request with one picture. All its pixels have the first digit of the id as value."""
    place = {"request_id": request_id, "position": 0, "time": NOW - age}
    content = bytes([int(request_id[0])]) * 784
    shared = {"route": "/compare", "version": "1", "confidence": 0.75, "latency_ms": 1.0, "client": "c"}
    with engine.begin() as connection:
        row = {**place, "dataset": dataset, "digest": request_id[0] * 64, "pixels": content}
        connection.execute(database.pictures.insert().values(row))
        for model, prediction in predictions.items():
            row = {**place, **shared, "model": model, "prediction": prediction, "uncertain": prediction == 3}
            connection.execute(database.predictions.insert().values(row))


def label(engine: sql.Engine, request_id: str, value: int | None) -> int:
    row = {"request_id": request_id, "position": 0, "time": NOW, "label": value, "client": "c"}
    with engine.begin() as connection:
        return connection.execute(database.labels.insert().values(row)).inserted_primary_key[0]


def test_a_window_holds_the_newest_pictures_with_answers_and_labels(engine: sql.Engine) -> None:
    fill(engine, "1", timedelta(hours=1), {"mlp": 3, "cnn": 4})
    fill(engine, "2", timedelta(hours=2), {"cnn": 5})
    fill(engine, "3", timedelta(hours=3), {"cnn": 6})
    fill(engine, "4", timedelta(hours=30), {"cnn": 7})
    fill(engine, "5", timedelta(hours=1), {"cnn": 8}, dataset="other")
    for value in (1, 9):
        label(engine, "2", value)
    window = read_window(engine, "mnist", NOW - timedelta(hours=24), 2)
    assert window.images.shape == (2, 28, 28) and window.images[:, 0, 0].tolist() == [1, 2]
    assert window.labels.tolist() == [-1, 9]
    columns = ["model", "picture", "prediction", "confidence", "uncertain"]
    rows = window.predictions.sort_values(["model", "picture"])[columns].to_numpy().tolist()
    assert rows == [["cnn", 0, 4, 0.75, False], ["cnn", 1, 5, 0.75, False], ["mlp", 0, 3, 0.75, True]]
    everything = read_window(engine, "mnist", NOW - timedelta(hours=24), 10)
    assert len(everything.images) == 3


def test_a_window_without_requests_is_empty(engine: sql.Engine) -> None:
    window = read_window(engine, "mnist", NOW, 10)
    assert window.images.shape == (0, 28, 28) and not len(window.predictions) and not len(window.labels)


def test_pictures_without_predictions_and_labels_are_read(engine: sql.Engine) -> None:
    fill(engine, "1", timedelta(0), {})
    window = read_window(engine, "mnist", NOW - timedelta(hours=1), 10)
    assert window.labels.tolist() == [-1] and len(window.images) == 1 and not len(window.predictions)


def test_labels_are_read_with_their_picture_and_the_newest_review(engine: sql.Engine) -> None:
    for number in "1234":
        fill(engine, number, timedelta(0), {"cnn": 1}, dataset="other" if number == "4" else "mnist")
    numbers = {request_id: label(engine, request_id, int(request_id)) for request_id in "1234"}
    label(engine, "3", None)
    for accepted in (True, False):
        row = {"label_id": numbers["2"], "time": NOW, "who": "me", "accepted": accepted}
        with engine.begin() as connection:
            connection.execute(database.reviews.insert().values(row))
    frame, images = read_labels(engine, "mnist")
    assert frame["label"].tolist() == [1, 2] and frame["review"].tolist() == [None, False]
    assert frame["digest"].tolist() == ["1" * 64, "2" * 64] and images[:, 0, 0].tolist() == [1, 2]
    assert frame["answers"].tolist() == [[("cnn", "1", 1, 0.75)]] * 2
    assert read_labels(engine, "other")[0]["review"].tolist() == [None]
    assert read_labels(engine, "kmnist")[1].shape == (0, 28, 28)


# The command with a real database. The registry is replaced by a folder with one reference.


@pytest.fixture
def deployed(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Prepares a workspace in which version 1 of "cnn" has a reference. Returns a function that logs its answers."""
    images, labels = drawn_digits(30)
    made = make_reference(images, Split("mnist", images, labels), np.eye(10)[labels], np.zeros(300, bool))
    save_reference(workspace / "reference.npz", made)
    versions = {
        "1": SimpleNamespace(name="cnn", folder=workspace, card=CARD),
        "2": SimpleNamespace(name="cnn", folder=workspace / "x", card=CARD),
        "4": SimpleNamespace(name="mlp", folder=workspace, card=CARD),
        "5": SimpleNamespace(name="mlp", folder=workspace, card={"classes": [*CARD["classes"], "ten"]}),
    }
    monkeypatch.setattr(logged.tracking, "connect", lambda: None)
    monkeypatch.setattr(logged.versions, "find", lambda registered, number: versions.get(number))
    monkeypatch.setattr(logged.versions, "by_alias", lambda registered, alias: SimpleNamespace(version="1"))
    monkeypatch.setattr(monitor, "log_report", lambda report, plots: None)
    monkeypatch.setattr(monitor, "image_rules", lambda *arguments, **options: [])  # drawn digits violate MNIST's
    monkeypatch.setattr(monitor, "check", lambda frame, rules: [])
    write_json(workspace / "reports" / "registered.json", {"dataset": "mnist", "model": "mnist-classifier"})

    def log(images: np.ndarray, labels: np.ndarray, version: str = "1", name: str = "cnn") -> None:
        engine = tracking.open_database()
        shared = {"position": 0, "time": datetime.now(UTC)}
        answered = {"model": name, "version": version, "route": "/predict", "confidence": 1.0, "uncertain": False}
        answered |= {"latency_ms": 1.0, "client": "c"}
        rows = [{**shared, "request_id": f"{name}-{version}-{number}"} for number in range(len(images))]
        with engine.begin() as connection:
            pictures = [
                {**row, "dataset": "mnist", "digest": "0" * 64, "pixels": image.tobytes()}
                for row, image in zip(rows, images, strict=True)
            ]
            connection.execute(database.pictures.insert(), pictures)
            predictions = [
                {**row, **answered, "prediction": int(label)} for row, label in zip(rows, labels, strict=True)
            ]
            connection.execute(database.predictions.insert(), predictions)

    return log


def run(*arguments: str) -> int:
    """Runs the command as a process would. Returns its exit status."""
    with pytest.raises(SystemExit) as ended, pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["monitor", *arguments])
        run_main(monitor.main)
    return int(ended.value.code or 0)


def stored(database_url: str) -> list[int]:
    """Returns the results in the database."""
    with tracking.open_database().connect() as connection:
        return list(connection.execute(sql.select(database.monitoring.c.status)).scalars())


def test_the_exit_status_tells_drift_from_errors_and_the_stored_result_keeps_its_values(
    deployed: Callable[..., None], database_url: str, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, labels = drawn_digits(30)
    assert run() == 11  # too little data
    deployed(images, labels)
    assert run() == 0  # as in training
    deployed(255 - images, labels, name="cnn", version="1b")
    assert run() == 0  # a version without a reference raises no alarm
    assert stored(database_url) == [2, 0, 0]
    with tracking.open_database().begin() as connection:
        connection.execute(database.pictures.update().values(pixels=(255 - images[0]).tobytes()))
    assert run() == 10  # drift
    assert stored(database_url) == [2, 0, 0, 1] and read_json(workspace / "reports" / "monitor.json")["status"] == 1
    capsys.readouterr()
    assert run("--hours", "many") == 2  # wrong usage
    (workspace / "reports" / "registered.json").unlink()
    assert run() == 1
    assert "error: " in capsys.readouterr().err and stored(database_url) == [2, 0, 0, 1]


def test_answers_without_a_reference_are_counted_and_named(
    deployed: Callable[..., None], database_url: str, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, labels = drawn_digits(30)
    deployed(images, labels)
    deployed(255 - images[:7], labels[:7], version="2")  # registered without a reference
    deployed(255 - images[:5], labels[:5], version="3")  # not in the registry
    deployed(255 - images[:3], labels[:3], version="1", name="mlp")  # the registry's version 1 is another model
    deployed(255 - images[:2], labels[:2] + 10, version="5", name="mlp")  # classes that the dataset does not have
    assert run() == 0
    output = capsys.readouterr().out
    for line in (
        "7 answers of cnn v2 are not compared: it was registered without a reference",
        "5 answers of cnn v3 are not compared: the registry does not hold this version, or its files are damaged",
        "3 answers of mlp v1 are not compared: the registry does not hold this version, or its files are damaged",
        "2 answers of mlp v5 are not compared: it has other classes than the dataset has now",
    ):
        assert line in output
    report = read_json(workspace / "reports" / "monitor.json")
    compared = {row["version"]: row["pictures"] for row in report["versions"] if not row["not_compared"]}
    assert compared == {"cnn v1": 300} and report["pictures"] == 317
    assert {row["version"] for row in report["figures"]} == {"cnn v1"}
    page = (workspace / "reports" / "monitor.html").read_text()
    assert "no: it was registered without a reference" in page and page.count("<svg") == 1


def test_effects_of_few_pictures_are_not_published(deployed: Callable[..., None], database_url: str) -> None:
    images, labels = drawn_digits(30)
    deployed(images, labels)
    deployed(255 - images[:5], labels[:5], name="mlp", version="4")  # as right after a promotion
    assert run() == 0
    with tracking.open_database().connect() as connection:
        figures = connection.execute(sql.select(database.monitoring.c.figures)).scalar_one()
    assert "mean_intensity.cnn.v1 mean difference" in figures and not any("mlp" in name for name in figures)


@pytest.mark.parametrize("moment", ["load_references", "compare_disagreement"])
def test_a_postgresql_server_that_stops_in_the_middle_is_an_error_and_no_drift(
    deployed: Callable[..., None], moment: str, workspace: Path, monkeypatch, capsys: pytest.CaptureFixture[str]
) -> None:
    images, labels = drawn_digits(30)
    with running_postgres() as server:
        monkeypatch.setenv("DIGITS_DATABASE_URL", server.url)
        deployed(255 - images, labels)  # drift, if the run went to its end
        take_away(monkeypatch, moment, server.stop)
        assert run() == 1
    error = capsys.readouterr().err
    assert error.startswith("error: the database failed: ") and len(error.splitlines()) == 1
    assert not (workspace / "reports" / "monitor.json").exists()


@pytest.mark.parametrize("moment", ["read_window", "load_references"])
def test_a_sqlite_file_that_is_replaced_in_the_middle_is_an_error_and_no_drift(
    deployed: Callable[..., None], moment: str, workspace: Path, monkeypatch, capsys: pytest.CaptureFixture[str]
) -> None:
    images, labels = drawn_digits(30)
    path = workspace / "digits.db"
    monkeypatch.setenv("DIGITS_DATABASE_URL", f"sqlite:///{path}")
    deployed(255 - images, labels)

    def replace() -> None:
        for file in workspace.glob("digits.db*"):
            file.unlink()
        with sqlite3.connect(path) as connection:  # another file with the same name and without our tables
            connection.execute("create table other (x)")

    monkeypatch.setattr(database, "RECYCLE_SECONDS", 0)  # a run of some minutes opens the file anew as well
    take_away(monkeypatch, moment, replace)
    assert run() == 1
    error = capsys.readouterr().err
    assert error.startswith("error: the database failed: no such table") and len(error.splitlines()) == 1


def take_away(monkeypatch: pytest.MonkeyPatch, moment: str, action: Callable[[], None]) -> None:
    """Run `action` when the monitor calls the function `moment`."""
    module = monitor if hasattr(monitor, moment) else monitor.drift
    original = getattr(module, moment)

    def wrapped(*arguments: object) -> object:
        action()
        return original(*arguments)

    monkeypatch.setattr(module, moment, wrapped)
