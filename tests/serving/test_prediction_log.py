"""The prediction log: what it writes, and that neither a slow nor a lost database is ever waited for."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sql

from records import database
from serving.prediction_log import log as prediction_log
from serving.prediction_log.log import Ambiguous, NotLogged, PredictionLog, Unreachable
from serving.prediction_log.request_ids import RequestIds
from serving.prediction_log.rows import Answered, kept_fields
from tests.postgres import running_postgres

ROW = {"version": "3", "prediction": 8, "confidence": 0.9, "uncertain": True, "reason": "low_confidence"}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short waits, so that tests end soon."""
    monkeypatch.setattr(prediction_log, "FLUSH_SECONDS", 0.02)
    monkeypatch.setattr(prediction_log, "TRY_AGAIN_SECONDS", 0.05)
    monkeypatch.setattr(database, "BUSY_SECONDS", 1)


@contextmanager
def opened(key: str = "", max_rows: int = 1000) -> Iterator[PredictionLog]:
    log = PredictionLog(database.database_url(Path.cwd()), key, 90, max_rows, RequestIds())
    try:
        yield log
    finally:
        log.close()


def answered(pictures: int = 1, who: str = "address 10.0.0.7", models: tuple[str, ...] = ("mlp", "cnn")) -> Answered:
    pixels = np.random.default_rng(0).integers(0, 256, (pictures, 28, 28), np.uint8)
    answers = [[kept_fields({**ROW, "model": model}) for _ in range(pictures)] for model in models]
    return Answered(RequestIds().create(), "mnist", "/compare", who, time.time(), 1.5, pixels.tobytes(), answers)


def rows(table: sql.Table) -> list[sql.Row]:
    engine = database.connect(database.database_url(Path.cwd()))
    with engine.connect() as connection:
        return list(connection.execute(table.select()).all())


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it did not happen within 60 s"
        time.sleep(0.02)


def counted(name: str) -> float:
    import prometheus_client

    return prometheus_client.REGISTRY.get_sample_value(name) or 0.0


def lost() -> float:
    import prometheus_client

    return prometheus_client.REGISTRY.get_sample_value("digits_log_lost_pictures_total", {"reason": "full"}) or 0.0


def test_each_model_has_a_row_and_the_pixels_are_kept_once(database_url: str) -> None:
    with opened() as log:
        one = answered()
        log.record(one)
    (picture,) = rows(database.pictures)
    assert picture.request_id == one.request_id and picture.dataset == "mnist"
    assert bytes(picture.pixels) == one.pixels
    assert picture.digest == __import__("hashlib").sha256(one.pixels).hexdigest()
    found = {row.model: row for row in rows(database.predictions)}
    assert found.keys() == {"mlp", "cnn"}
    row = found["cnn"]
    assert (row.route, row.version, row.prediction, row.confidence) == ("/compare", "3", 8, 0.9)
    assert (row.uncertain, row.reason, row.latency_ms) == (True, "low_confidence", 1.5)
    assert database.in_utc(row.time).timestamp() == pytest.approx(one.time, abs=0.001)


def test_clients_are_hashes_under_a_key_that_the_database_keeps(database_url: str) -> None:
    for who in ("address 10.0.0.7", "address 10.0.0.8", "address 10.0.0.7"):
        with opened() as log:
            log.record(answered(who=who, models=("cnn",)))
    first, second, third = (row.client for row in sorted(rows(database.predictions), key=lambda row: row.time))
    assert first == third != second and "10.0.0" not in first and len(first) == 32
    with opened(key="another key of 16") as log:
        log.record(answered(models=("cnn",)))
    assert len({row.client for row in rows(database.predictions)}) == 3


def test_pictures_of_one_request_are_numbered_and_labelled_by_number(database_url: str) -> None:
    with opened() as log:
        one, several = answered(), answered(3)
        log.record(one)
        log.record(several)
        wait_for(lambda: log._done == 4)
        log.label(one.request_id, None, 4, "me")
        log.label(several.request_id, 2, 5, "me")
        log.label(one.request_id, None, None, "me")
        with pytest.raises(Ambiguous):
            log.label(several.request_id, None, 5, "me")
        for unknown, position in ((several.request_id, 3), (RequestIds().create(), None), ("'; drop table labels", 0)):
            with pytest.raises(NotLogged):
                log.label(unknown, position, 5, "me")
    assert [(row.request_id, row.position, row.label) for row in rows(database.labels)] == [
        (one.request_id, 0, 4),
        (several.request_id, 2, 5),
        (one.request_id, 0, None),
    ]


def test_a_slow_database_is_not_waited_for(engine: sql.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction_log, "MOST_WAITING", 5)
    before = lost()
    with opened() as log:
        connection = engine.connect()
        locks = "begin exclusive" if engine.dialect.name == "sqlite" else "lock table pictures, predictions"
        connection.exec_driver_sql(locks)  # nobody can write until this connection lets go
        for _ in range(9):
            log.record(answered())
        assert lost() - before == 4
        connection.rollback()
        connection.close()
        wait_for(lambda: log._done == 5)
    assert len(rows(database.pictures)) == 5


def test_a_lost_database_is_said_once_counted_and_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "later"
    monkeypatch.setenv("DIGITS_DATABASE_URL", f"sqlite:///{folder / 'digits.db'}")
    before = counted("digits_log_failures_total")
    with caplog.at_level(logging.WARNING, "digits"), opened() as log:
        log.record(answered())
        with pytest.raises(Unreachable):
            log.label(RequestIds().create(), None, 1, "me")
        wait_for(lambda: counted("digits_log_failures_total") >= before + 4)
        assert sum("cannot be used" in record.message for record in caplog.records) == 1
        folder.mkdir()
        wait_for(lambda: log._done == 1)
        wait_for(lambda: any("answers again" in record.message for record in caplog.records))
    assert len(rows(database.predictions)) == 2


def test_a_restarted_postgresql_is_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with running_postgres() as server:
        monkeypatch.setenv("DIGITS_DATABASE_URL", server.new_database())
        with opened() as log:
            log.record(answered())
            wait_for(lambda: log._done == 1)
            server.stop()
            before = counted("digits_log_failures_total")
            log.record(answered())
            wait_for(lambda: counted("digits_log_failures_total") > before)
            server.start()
            wait_for(lambda: log._done == 2)
            assert len(rows(database.pictures)) == 2


def test_rows_that_are_never_taken_hold_up_no_others(database_url: str) -> None:
    with opened() as log:
        one = answered()
        log.record(one)
        wait_for(lambda: log._done == 1)
        log.record(one)  # the same id again
        wait_for(lambda: log._done == 2)
        log.record(answered())
        wait_for(lambda: log._done == 3)
    assert len(rows(database.pictures)) == 2


def test_it_keeps_no_more_than_it_may(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction_log, "HOUSEKEEPING_SECONDS", 0.05)
    with opened(max_rows=3) as log:
        for _ in range(7):
            log.record(answered())
            time.sleep(0.002)  # each at a time of its own
        wait_for(lambda: log._done == 7 and len(rows(database.pictures)) == 3)
    assert len(rows(database.predictions)) == 6


def test_the_monitors_last_figures_are_metrics(engine: sql.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    import prometheus_client

    monkeypatch.setattr(prediction_log, "HOUSEKEEPING_SECONDS", 0.05)
    for status in (0, 1):
        figures = {"off_centre mean difference": {"effect": 2.5 * status, "threshold": 1.0}}
        row = {
            "time": database.in_utc(__import__("datetime").datetime(2026, 1, 2)),
            "status": status,
            "figures": figures,
        }
        with engine.begin() as connection:
            connection.execute(database.monitoring.insert().values(row))
    with opened():
        wait_for(lambda: counted("digits_monitor_status") == 1)
    name = {"figure": "off_centre mean difference"}
    assert prometheus_client.REGISTRY.get_sample_value("digits_monitor_effect", name) == 2.5
    assert prometheus_client.REGISTRY.get_sample_value("digits_monitor_threshold", name) == 1.0
    assert counted("digits_monitor_time_seconds") == 1767312000
