"""Migrations: databases that earlier versions of the code created and filled keep every row and get today's schema.

`tests/fixtures/database-*.sql` are dumps of databases that the last version without migrations created and filled.
"""

import re
import shutil
import sqlite3
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sql
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from records import database, promotions
from records.promotions import Entry
from tests.conftest import REPOSITORY

FIXTURES = REPOSITORY / "tests" / "fixtures"
MODEL = "mnist-classifier"
TABLES = sorted(database.metadata.tables)


def execute_script(url: str, script: str) -> None:
    """Run several SQL statements, outside of the code under test."""
    if url.startswith("sqlite"):
        with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
            connection.executescript(script)
        connection.close()
    else:
        with psycopg.connect(url.replace("+psycopg", "")) as connection:
            connection.execute(script)


def migrated(url: str) -> sql.Engine:
    engine = database.connect(database.parse_url(url))
    database.migrate(engine)
    return engine


def content(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables, as the driver returns them."""
    engine = sql.create_engine(url, poolclass=sql.NullPool)
    with engine.connect() as connection:
        found = set(sql.inspect(connection).get_table_names()) & set(TABLES)
        return {
            name: sorted(map(tuple, connection.exec_driver_sql(f"select * from {name}").all()), key=repr)
            for name in sorted(found)
        }


def schema(engine: sql.Engine) -> dict[str, Any]:
    """Columns, keys, indexes, check constraints and triggers of every table."""
    inspector, described = sql.inspect(engine), {}
    for table in sorted(inspector.get_table_names()):
        columns = [
            (column["name"], column["type"].compile(engine.dialect), column["nullable"], column["default"])
            for column in inspector.get_columns(table)
        ]
        indexes = [(index["name"], index["column_names"], index["unique"]) for index in inspector.get_indexes(table)]
        key = inspector.get_pk_constraint(table)["constrained_columns"]
        # PostgreSQL writes the same condition in another form after a dump: the texts in it are compared
        checks = [re.findall("'(.*?)'", check["sqltext"]) for check in inspector.get_check_constraints(table)]
        described[table] = (columns, key, sorted(indexes), checks)
    triggers = "select name, sql from sqlite_master where type = 'trigger' order by name"
    if engine.dialect.name == "postgresql":
        triggers = "select pg_get_triggerdef(oid), pg_get_functiondef(tgfoid) from pg_trigger where not tgisinternal"
    with engine.connect() as connection:
        return {**described, "triggers": connection.exec_driver_sql(triggers).all()}


@pytest.fixture
def dump(database_url: str) -> str:
    """URL of a database that the last version without migrations created and filled."""
    kind = "sqlite" if database_url.startswith("sqlite") else "postgresql"
    execute_script(database_url, (FIXTURES / f"database-{kind}.sql").read_text(encoding="utf-8"))
    return database_url


@pytest.fixture
def new_url(database_url: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a second, empty database of the same kind."""
    if database_url.startswith("sqlite"):
        return f"sqlite:///{tmp_path / 'new.db'}"
    return str(request.getfixturevalue("postgres").new_database())


def test_an_earlier_database_keeps_every_row(dump: str) -> None:
    before = content(dump)
    assert sorted(before) == TABLES and all(len(rows) >= 1 for rows in before.values())
    engine = migrated(dump)
    assert content(dump) == before
    database.migrate(engine)  # a second time changes nothing
    assert content(dump) == before
    with engine.connect() as connection:
        assert connection.exec_driver_sql(f"select * from {database.VERSION_TABLE}").all() == [(database.HEAD,)]


def test_an_earlier_database_gets_the_schema_of_a_new_one(dump: str, new_url: str) -> None:
    assert schema(migrated(dump)) == schema(migrated(new_url))


def test_rows_of_an_earlier_database_are_read_and_new_ones_added(dump: str) -> None:
    engine = migrated(dump)
    with engine.connect() as connection:
        assert [row.label for row in connection.execute(database.current_labels())] == [1, 7]
        time, figures = connection.execute(
            sql.select(database.monitoring.c.time, database.monitoring.c.figures).order_by(database.monitoring.c.id)
        ).first()
        pixels = connection.execute(sql.select(database.pictures.c.pixels)).scalars().all()
    assert database.in_utc(time) == datetime(2026, 5, 2, 8, 30, 0, 123456, UTC)
    assert figures == {"off_centre mean difference": {"effect": 0.125, "threshold": 1.0, "alarm": False}}
    assert [len(picture) for picture in pixels] == [784] * 4
    assert database.shared_secret(engine, "hash_key", "another") == "0123456789abcdef" * 4
    rows = promotions.history(engine, MODEL)
    assert [(row["event"], row["version"], row["revision"], row["forced"]) for row in rows] == [
        ("promoted", "1", 1, False),
        ("refused", "2", None, False),
        ("promoted", "3", 2, False),
        ("promoted", "2", 3, True),
        ("rolled back", "3", 4, False),
    ]
    with pytest.raises(promotions.ConcurrentPromotion):
        promotions.append(engine, Entry("promoted", MODEL, "5", "3", "", revision=4))
    promotions.append(engine, Entry("updated", MODEL, "5", "3", "another threshold", "5" * 64, revision=5))
    assert promotions.revision(engine, MODEL) == 5 and promotions.last_row(engine) > 6
    with engine.begin() as connection:
        label = {"request_id": "b" * 32, "position": 0, "time": datetime.now(UTC), "label": 2, "client": "c" * 32}
        connection.execute(database.labels.insert().values(label))
    assert database.delete_requests(engine, ["b" * 32]) == 1 + 1 + 3
    assert database.prune(engine, max_days=1, max_rows=100) == 1 + 1  # the other pictures are labelled


@pytest.mark.parametrize("statement", ["update ledger set reason = ''", "delete from ledger"])
def test_the_history_of_an_earlier_database_stays_append_only(dump: str, statement: str) -> None:
    engine, before = migrated(dump), content(dump)
    message = "the promotion history is append-only"
    with pytest.raises(sql.exc.DatabaseError, match=message), engine.begin() as connection:
        connection.exec_driver_sql(statement)
    assert content(dump) == before


@pytest.mark.parametrize("present", [["ledger"], ["pictures", "predictions", "labels", "secrets"]])
def test_tables_that_an_earlier_database_lacks_are_added(dump: str, new_url: str, present: list[str]) -> None:
    execute_script(dump, "".join(f"drop table {name};" for name in TABLES if name not in present))
    before = content(dump)
    engine = migrated(dump)
    assert schema(engine) == schema(migrated(new_url))
    assert content(dump) == {**{name: [] for name in TABLES}, **before}


def test_the_first_form_of_the_history_gets_the_later_columns(database_url: str, new_url: str) -> None:
    number, time = ("integer", "datetime") if database_url.startswith("sqlite") else ("serial", "timestamptz")
    execute_script(
        database_url,
        f"""create table ledger (id {number} not null primary key, time {time} not null, who varchar(200) not null,
        event varchar(20) not null check (event in ('promoted', 'refused', 'rolled back')),
        model varchar(200) not null, version varchar(20) not null, champion_before varchar(20), reason text not null);
        insert into ledger (time, who, event, model, version, champion_before, reason)
        values ('2026-01-01 10:00:00.000000', 'ann', 'promoted', '{MODEL}', '1', null, '');""",
    )
    engine = migrated(database_url)
    assert schema(engine) == schema(migrated(new_url))
    promotions.append(engine, Entry("promoted", MODEL, "2", "1", "better", "b" * 64, revision=1))
    assert [
        (row["who"], row["version"], row["revision"], row["digest"]) for row in promotions.history(engine, MODEL)
    ] == [("ann", "1", None, None), (promotions.who(), "2", 1, "b" * 64)]
    with pytest.raises(sql.exc.DatabaseError, match="append-only"), engine.begin() as connection:
        connection.execute(database.promotion_history.delete())


def test_the_revisions_create_the_tables_that_the_code_expects(engine: sql.Engine) -> None:
    def is_ours(name: str | None, kind: str, *_: Any) -> bool:
        return kind != "table" or name != database.VERSION_TABLE

    with engine.connect() as connection:
        options = {"compare_type": True, "include_name": is_ours}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), database.metadata) == []


def test_head_is_the_newest_revision() -> None:
    config = Config()
    config.set_main_option("script_location", "records:migrations")
    assert ScriptDirectory.from_config(config).get_current_head() == database.HEAD


def test_the_tables_of_another_alembic_user_are_left_alone(database_url: str) -> None:
    execute_script(
        database_url,
        "create table alembic_version (version_num varchar(32) not null); create table runs (id integer);"
        "insert into alembic_version values ('of mlflow'); insert into runs values (7);",
    )
    with migrated(database_url).connect() as connection:
        assert connection.exec_driver_sql("select version_num from alembic_version").all() == [("of mlflow",)]
        assert connection.exec_driver_sql("select id from runs").all() == [(7,)]


def test_a_newer_schema_is_refused(engine: sql.Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(f"update {database.VERSION_TABLE} set version_num = '9999'")
    with pytest.raises(sql.exc.SQLAlchemyError, match="schema 9999 is newer"):
        database.migrate(engine)


def test_a_migration_that_fails_leaves_the_database_as_it_was(dump: str) -> None:
    execute_script(dump, "drop table secrets; create view secrets as select 1 as name;drop index ledger_turns;")
    execute_script(dump, "drop table reviews; create view reviews as select 1 as id;")  # has no column label_id
    before = content(dump)
    engine = database.connect(database.parse_url(dump))
    with pytest.raises(sql.exc.SQLAlchemyError):
        database.migrate(engine)
    assert content(dump) == before
    assert "ledger_turns" not in {index["name"] for index in sql.inspect(engine).get_indexes("ledger")}
    assert not sql.inspect(engine).has_table(database.VERSION_TABLE)


def test_a_killed_migration_is_repeated_by_the_next_process(dump: str) -> None:
    before = content(dump)
    script = (
        "import os, signal, sys; from alembic import command; from records import database\n"
        "upgrade = command.upgrade\n"
        "def killed(*arguments):\n"
        "    upgrade(*arguments)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "command.upgrade = killed\n"
        "database.migrate(database.connect(database.parse_url(sys.argv[1])))\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, dump], cwd=REPOSITORY)
    assert killed.returncode == -9
    thread = threading.Thread(target=migrated, args=(dump,), daemon=True)
    thread.start()
    thread.join(30)
    assert not thread.is_alive() and content(dump) == before
    assert sql.inspect(database.connect(database.parse_url(dump))).has_table(database.VERSION_TABLE)


def test_an_installed_copy_migrates_from_any_working_directory(database_url: str, tmp_path: Path) -> None:
    installed = tmp_path / "a folder" / "100%"
    shutil.copytree(REPOSITORY / "records", installed / "records", ignore=shutil.ignore_patterns("__pycache__"))
    script = "import sys; sys.path.insert(0, sys.argv[1]); from records import database\n"
    script += "database.migrate(database.connect(database.parse_url(sys.argv[2])))"
    subprocess.run([sys.executable, "-c", script, str(installed), database_url], cwd=tmp_path, check=True)
    assert sorted(content(database_url)) == TABLES
