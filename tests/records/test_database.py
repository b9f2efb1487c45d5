"""Labels that count, deletion, retention, URLs and opening of the database; on SQLite and on PostgreSQL."""

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
    """Add a request of that age with predictions of two models."""
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
    """The request ids in a table, sorted."""
    with engine.connect() as connection:
        return sorted(connection.execute(sql.select(table.c.request_id)).scalars())


def test_the_newest_label_of_a_picture_counts_and_changes_are_kept(engine: sql.Engine) -> None:
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


def test_a_request_is_deleted_with_all_that_belongs_to_it_and_nothing_else(engine: sql.Engine) -> None:
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


def test_retention_deletes_by_age_but_what_is_labelled_stays(engine: sql.Engine) -> None:
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


def test_retention_deletes_the_oldest_beyond_a_number(engine: sql.Engine) -> None:
    for hour in range(6):
        fill(engine, f"{hour} hours", timedelta(hours=hour))
    database.prune(engine, max_days=9, max_rows=4)
    assert kept(engine) == ["0 hours", "1 hours", "2 hours", "3 hours"]


def test_opening_a_current_database_does_not_wait_for_writers(engine: sql.Engine) -> None:
    with ThreadPoolExecutor() as pool, engine.begin() as writer:
        row = {"request_id": "one", "position": 0, "time": NOW, "dataset": "mnist", "digest": "0" * 64}
        writer.execute(database.pictures.insert().values(**row, pixels=bytes(784)))
        pool.submit(database.migrate, database.connect(engine.url)).result(timeout=30)


def test_several_processes_may_open_a_new_database_at_once(database_url: str) -> None:
    code = (
        "import sys; from records import database; database.BUSY_SECONDS = 120; "
        "engine = database.connect(database.parse_url(sys.argv[1])); "
        "database.migrate(engine); print(database.shared_secret(engine, 'key', sys.argv[2]))"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, database_url, str(number)],
            cwd=REPOSITORY, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for number in range(8)
    ]  # fmt: skip
    outputs = [process.communicate(timeout=300) for process in processes]
    assert len({secret for secret, _ in outputs}) == 1 and outputs[0][0].strip().isdecimal(), outputs


def test_several_threads_may_open_a_new_database_at_once(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 120)

    def open_database(number: int) -> str:
        engine = database.connect(database.parse_url(database_url))
        database.migrate(engine)
        return database.shared_secret(engine, "key", str(number))

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(open_database, range(8)))) == 1


def test_relative_paths_are_resolved_against_the_given_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path("/srv/project")
    monkeypatch.delenv("DIGITS_DATABASE_URL", raising=False)
    assert database.database_url(root).database == "/srv/project/digits.db"
    monkeypatch.setenv("DIGITS_DATABASE_URL", "sqlite:///data/other.db")
    assert database.database_url(root).database == "/srv/project/data/other.db"
    monkeypatch.setenv("DIGITS_DATABASE_URL", "sqlite:////var/digits.db")
    assert database.database_url(root).database == "/var/digits.db"
    monkeypatch.setenv("DIGITS_DATABASE_URL", "sqlite://")
    assert database.database_url(root).database is None


@pytest.mark.parametrize("name", ["postgres", "postgresql", "postgresql+psycopg"])
def test_all_names_of_postgresql_select_the_installed_driver(name: str) -> None:
    assert database.parse_url(f"{name}://me:secret@db/digits").drivername == "postgresql+psycopg"


@pytest.mark.parametrize("wrong", ["mysql://me@db/digits", "digits.db", "postgresql+asyncpg://db/digits"])
def test_other_databases_are_refused_with_the_expected_form(wrong: str) -> None:
    with pytest.raises(ValueError, match="expected sqlite:///FILE or postgresql://"):
        database.parse_url(wrong)


def test_opening_a_current_database_in_the_service_imports_nothing_heavy(engine: sql.Engine) -> None:
    code = (
        "import serving.prediction_log.log, serving.prediction_log.feedback, sys; from records import database; "
        "database.migrate(database.connect(database.parse_url(sys.argv[1]))); "
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    url = engine.url.render_as_string(hide_password=False)
    done = subprocess.run([sys.executable, "-c", code, url], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    imported = set(done.stdout.split())
    assert "sqlalchemy" in imported
    heavy = {"alembic", "filelock", "mlflow", "dvc", "tensorflow", "pandas", "great_expectations", "rich", "pipeline"}
    assert not heavy & imported
