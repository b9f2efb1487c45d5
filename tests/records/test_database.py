"""The store: which labels count, what is deleted, and where it lies; on SQLite and on PostgreSQL."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sql

from records import database
from tests.conftest import REPOSITORY

NOW = datetime.now(UTC)


def fill(engine: sql.Engine, request_id: str, age: timedelta = timedelta(0), pictures: int = 1) -> None:
    """A request of some age, answered by two models."""
    for position in range(pictures):
        place = {"request_id": request_id, "position": position, "time": NOW - age}
        answer = {"route": "/compare", "version": "1", "prediction": 3, "confidence": 0.9, "uncertain": False}
        picture = {"dataset": "mnist", "digest": "0" * 64, "pixels": bytes(784)}
        with engine.begin() as connection:
            connection.execute(database.pictures.insert().values(**place, **picture))
            for model in ("mlp", "cnn"):
                row = {**place, **answer, "model": model, "latency_ms": 1.0, "client": "c"}
                connection.execute(database.predictions.insert().values(row))


def label(
    engine: sql.Engine, request_id: str, value: int | None, position: int = 0, age: timedelta = timedelta(0)
) -> int:
    row = {"request_id": request_id, "position": position, "time": NOW - age, "label": value, "client": "c"}
    with engine.begin() as connection:
        return connection.execute(database.labels.insert().values(row)).inserted_primary_key[0]


def kept(engine: sql.Engine, table: sql.Table = database.pictures) -> list[str]:
    with engine.connect() as connection:
        return sorted(connection.execute(sql.select(table.c.request_id)).scalars())


def test_the_newest_label_of_a_picture_counts_and_changes_are_kept(database_url: str) -> None:
    engine = database.open_store()
    for request_id, values in {"changed": (1, 2), "withdrawn": (3, None), "given again": (4, None, 5)}.items():
        for value in values:
            label(engine, request_id, value)
    label(engine, "changed", 7, position=1)
    with engine.connect() as connection:
        rows = connection.execute(database.current_labels()).all()
    assert {(row.request_id, row.position): row.label for row in rows} == {
        ("changed", 0): 2,
        ("changed", 1): 7,
        ("given again", 0): 5,
    }
    assert len(kept(engine, database.labels)) == 8


def test_a_request_is_deleted_with_all_that_belongs_to_it_and_nothing_else(database_url: str) -> None:
    engine = database.open_store()
    for request_id in ("one", "other"):
        fill(engine, request_id, pictures=2)
        row = {"label_id": label(engine, request_id, 1), "time": NOW, "who": "me", "accepted": True}
        with engine.begin() as connection:
            connection.execute(database.reviews.insert().values(row))
    assert database.delete_requests(engine, ["one"]) == 2 + 4 + 1 + 1
    for table in (database.pictures, database.predictions, database.labels):
        assert set(kept(engine, table)) == {"other"}
    with engine.connect() as connection:
        assert len(connection.execute(database.reviews.select()).all()) == 1


def test_retention_deletes_by_age_but_what_is_labelled_stays(database_url: str) -> None:
    engine = database.open_store()
    old = timedelta(days=10)
    for request_id in ("old", "labelled", "withdrawn"):
        fill(engine, request_id, old)
    fill(engine, "new")
    for value in (3, 4):
        label(engine, "labelled", value, age=old)
    for value in (3, None):
        label(engine, "withdrawn", value, age=old)
    assert database.prune(engine, max_days=11, max_rows=100) == 0
    database.prune(engine, max_days=9, max_rows=100)
    assert kept(engine) == ["labelled", "new"]
    assert set(kept(engine, database.predictions)) == {"labelled", "new"}
    assert kept(engine, database.labels) == ["labelled", "labelled"]


def test_retention_deletes_the_oldest_beyond_a_number(database_url: str) -> None:
    engine = database.open_store()
    for hour in range(6):
        fill(engine, f"{hour} hours", timedelta(hours=hour))
    database.prune(engine, max_days=9, max_rows=4)
    assert kept(engine) == ["0 hours", "1 hours", "2 hours", "3 hours"]


def test_who_opens_the_database_waits_for_nobody_who_writes(database_url: str) -> None:
    engine = database.open_store()
    with ThreadPoolExecutor() as pool, engine.begin() as writer:
        row = {"request_id": "one", "position": 0, "time": NOW, "dataset": "mnist", "digest": "0" * 64}
        writer.execute(database.pictures.insert().values(**row, pixels=bytes(784)))
        pool.submit(database.create_tables, database.connect(database.database_url())).result(timeout=30)


def test_several_processes_may_open_a_new_database_at_once(database_url: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        secrets = list(
            pool.map(lambda number: database.shared_secret(database.open_store(), "key", str(number)), range(8))
        )
    assert len(set(secrets)) == 1


def test_relative_files_lie_in_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DIGITS_DATABASE_URL", raising=False)
    assert database.database_url().database == str(REPOSITORY / "digits.db")
    monkeypatch.setenv("DIGITS_DATABASE_URL", "sqlite:///data/other.db")
    assert database.database_url().database == str(REPOSITORY / "data" / "other.db")
    monkeypatch.setenv("DIGITS_DATABASE_URL", "sqlite:////srv/digits.db")
    assert database.database_url().database == "/srv/digits.db"


@pytest.mark.parametrize("name", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgresql_is_spelt_in_several_ways(name: str) -> None:
    assert database.parse_url(f"{name}://me:secret@db/digits").drivername == "postgresql+psycopg"


@pytest.mark.parametrize("wrong", ["mysql://me@db/digits", "digits.db", "postgresql+asyncpg://db/digits"])
def test_other_databases_are_refused_with_what_is_right(wrong: str) -> None:
    with pytest.raises(ValueError, match="expected sqlite:///FILE or postgresql://"):
        database.parse_url(wrong)


def test_the_log_and_the_store_import_nothing_heavy(tmp_path: Path) -> None:
    code = "import serving.prediction_log, serving.feedback, sys; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert "sqlalchemy" in done.stdout.split()
    assert not {"mlflow", "dvc", "tensorflow", "pandas", "great_expectations", "rich"} & set(done.stdout.split())
