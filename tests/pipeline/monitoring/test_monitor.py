"""The monitor and the corrections read the prediction log, on both databases."""

from datetime import UTC, datetime, timedelta

import sqlalchemy as sql

from pipeline.monitoring import monitor
from pipeline.monitoring.feedback import read_labels
from records import database

NOW = datetime.now(UTC)


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
    window = monitor.read_window(engine, "mnist", NOW - timedelta(hours=24), 2)
    assert window.images.shape == (2, 28, 28) and window.images[:, 0, 0].tolist() == [1, 2]
    assert window.labels.tolist() == [-1, 9]
    columns = ["model", "picture", "prediction", "confidence", "uncertain"]
    rows = window.predictions.sort_values(["model", "picture"])[columns].to_numpy().tolist()
    assert rows == [["cnn", 0, 4, 0.75, False], ["cnn", 1, 5, 0.75, False], ["mlp", 0, 3, 0.75, True]]
    everything = monitor.read_window(engine, "mnist", NOW - timedelta(hours=24), 10)
    assert len(everything.images) == 3


def test_a_window_without_requests_is_empty(engine: sql.Engine) -> None:
    window = monitor.read_window(engine, "mnist", NOW, 10)
    assert window.images.shape == (0, 28, 28) and not len(window.predictions) and not len(window.labels)


def test_pictures_without_predictions_and_labels_are_read(engine: sql.Engine) -> None:
    fill(engine, "1", timedelta(0), {})
    window = monitor.read_window(engine, "mnist", NOW - timedelta(hours=1), 10)
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
    assert read_labels(engine, "other")[0]["review"].tolist() == [None]
    assert read_labels(engine, "kmnist")[1].shape == (0, 28, 28)
