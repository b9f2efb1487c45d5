"""The prediction log: what it writes, and that neither a slow nor a lost database is ever waited for."""

import asyncio
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
from serving.prediction_log.feedback import Feedback
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
def opened(key: str = "", max_rows: int = 1000, ids: RequestIds | None = None) -> Iterator[PredictionLog]:
    log = PredictionLog(database.database_url(Path.cwd()), key, 90, max_rows, ids or RequestIds())
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


def lost(reason: str = "full") -> float:
    import prometheus_client

    return prometheus_client.REGISTRY.get_sample_value("digits_log_lost_pictures_total", {"reason": reason}) or 0.0


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


def test_answers_from_before_the_database_was_first_reached_can_be_labelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, away, ids = tmp_path / "digits.db", tmp_path / "away.db", RequestIds()
    monkeypatch.setenv("DIGITS_DATABASE_URL", f"sqlite:///{here}")
    other = RequestIds()
    with opened(ids=other):  # another instance had the key long before
        pass
    here.rename(away)
    (tmp_path / "folder").mkdir()
    here.symlink_to(tmp_path / "folder")  # SQLite cannot open a folder
    with opened(ids=ids) as log:
        one = answered()._replace(request_id=ids.create())
        log.record(one)
        away.replace(here)
        wait_for(lambda: log._done == 1)
        for instance in (ids, other):
            asyncio.run(Feedback(instance).store(log, one.request_id, 4, "me"))
    assert [(row.request_id, row.label) for row in rows(database.labels)] == [(one.request_id, 4)] * 2


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


def test_a_refused_entry_takes_no_others_with_it(database_url: str) -> None:
    good, bad, last = answered(2), answered(3), answered()
    bad = bad._replace(answers=[[(None, *row[1:]) for row in given] for given in bad.answers])
    written, refused = counted("digits_log_pictures_total"), lost("refused")
    with opened() as log:
        for entry in (good, bad, last):  # one batch
            log.record(entry)
        wait_for(lambda: log._done == 6)
    assert {row.request_id for row in rows(database.pictures)} == {good.request_id, last.request_id}
    assert len(rows(database.predictions)) == 6
    assert counted("digits_log_pictures_total") - written == 3 and lost("refused") - refused == 3


def test_a_value_of_a_wrong_type_or_size_is_refused_and_holds_up_no_others(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = [
        [kept_fields({**ROW, "model": "cnn", "confidence": object()})],  # the driver cannot convert it
        [kept_fields({**ROW, "model": "cnn", "uncertain": "perhaps"})],  # SQLAlchemy refuses it
        [kept_fields({**ROW, "model": "cnn", "prediction": 10**30})],
        [kept_fields({**ROW, "model": "\ud800"})],  # half of a character
    ]
    written, refused = counted("digits_log_pictures_total"), lost("refused")
    with caplog.at_level(logging.ERROR, "digits"), opened() as log:
        for entry in (answered(), *(answered()._replace(answers=[rows]) for rows in wrong), answered()):
            log.record(entry)
        wait_for(lambda: log._done == 6)
    assert len(rows(database.pictures)) == 2
    assert counted("digits_log_pictures_total") - written == 2 and lost("refused") - refused == 4
    assert [record.message for record in caplog.records] == ["an answer cannot be logged"] * 4


def test_missing_tables_are_an_outage_and_lose_nothing(engine: sql.Engine) -> None:
    refused = lost("refused")
    with opened() as log:
        failures = counted("digits_log_failures_total")
        with engine.begin() as connection:
            connection.execute(sql.text("alter table pictures rename to elsewhere"))
        log.record(answered())
        wait_for(lambda: counted("digits_log_failures_total") >= failures + 2)
        with engine.begin() as connection:
            connection.execute(sql.text("alter table elsewhere rename to pictures"))
        wait_for(lambda: log._done == 1)
    assert len(rows(database.pictures)) == 1 and lost("refused") == refused


@pytest.mark.parametrize("error", [ValueError(), OverflowError("date value out of range")])
def test_an_error_of_the_housekeeping_is_counted_and_does_not_stop_the_log(
    database_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    def prune(*_: object) -> None:
        raise error

    monkeypatch.setattr(prediction_log, "HOUSEKEEPING_SECONDS", 0.05)
    monkeypatch.setattr(database, "prune", prune)
    before = counted("digits_log_failures_total")
    with caplog.at_level(logging.ERROR, "digits"), opened() as log:
        wait_for(lambda: counted("digits_log_failures_total") >= before + 2)
        log.record(answered())
        wait_for(lambda: log._done == 1)
    assert len(rows(database.pictures)) == 1
    assert any(repr(error) in record.getMessage() for record in caplog.records)


def test_entries_whose_confirmation_was_lost_are_not_lost(
    database_url: str, engine: sql.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, refused = counted("digits_log_pictures_total"), lost("refused")
    commit, failures = prediction_log.write, iter([True])

    def interrupted(engine: sql.Engine, entries: list[Answered]) -> list[Answered]:
        found = commit(engine, entries)
        if next(failures, False):  # after the commit, before its confirmation
            raise sql.exc.OperationalError("commit", None, Exception("the connection is lost"))
        return found

    monkeypatch.setattr(prediction_log, "write", interrupted)
    with opened() as log:
        log.record(answered(2))
        log.record(answered())
        wait_for(lambda: log._done == 3)
    assert len(rows(database.pictures)) == 3 and len(rows(database.predictions)) == 6
    assert counted("digits_log_pictures_total") - written == 3 and lost("refused") == refused


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
    figure = f"mean difference on {engine.dialect.name}"  # metrics outlive a test
    for status in (0, 1):
        figures = {figure: {"effect": 2.5 * status, "threshold": 1.0}}
        row = {
            "time": database.in_utc(__import__("datetime").datetime(2026, 1, 2)),
            "status": status,
            "figures": figures,
        }
        with engine.begin() as connection:
            connection.execute(database.monitoring.insert().values(row))
    name = {"figure": figure}
    with opened():
        wait_for(lambda: prometheus_client.REGISTRY.get_sample_value("digits_monitor_threshold", name) is not None)
    assert counted("digits_monitor_status") == 1
    assert prometheus_client.REGISTRY.get_sample_value("digits_monitor_effect", name) == 2.5
    assert prometheus_client.REGISTRY.get_sample_value("digits_monitor_threshold", name) == 1.0
    assert counted("digits_monitor_time_seconds") == 1767312000
