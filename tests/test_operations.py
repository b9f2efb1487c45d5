"""docs/operations.md: the table matches the code, and the commands work as documented."""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sql

from pipeline import tracking
from pipeline.console import PipelineError
from pipeline.deployment import backup
from records import database
from tests.conftest import REPOSITORY
from tests.postgres import Postgres, installed

GUIDE = (REPOSITORY / "docs" / "operations.md").read_text()


def test_the_table_of_settings_matches_the_code() -> None:
    command = [sys.executable, "docs/settings.py", "--check"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_each_setting_has_a_meaning() -> None:
    rows = re.findall(r"^\| `([^`]+)` \| (?:`.*`)? ?\| (.*) ?\|$", GUIDE.split("<!-- settings")[1], re.MULTILINE)
    assert len(rows) > 100 and [name for name, meaning in rows if not meaning.strip()] == []
    assert "sweep.ranges" in dict(rows)


def test_the_table_lists_every_environment_variable() -> None:
    own = set()
    for folder in ("pipeline", "serving"):
        for path in (REPOSITORY / folder).rglob("*.py"):
            own |= set(re.findall(r'environ\.get\(\s*"(\w+)"', path.read_text()))
    assert own and own <= set(re.findall(r"^\| `(\w+)` \|", GUIDE, re.MULTILINE))


def test_every_documented_command_and_table_exists() -> None:
    for module in re.findall(r"python -m (pipeline(?:\.\w+)+)", GUIDE):
        assert (REPOSITORY / f"{module.replace('.', '/')}.py").exists(), module
    targets = re.findall(r"^([a-z-]+):.*## ", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"(?:`|^)make ([a-z-]+)", GUIDE, re.MULTILINE)) <= set(targets)
    tables = set(re.findall(r"`(\w+)`(?:, `(\w+)`)? \|", GUIDE[GUIDE.index("## Stored personal data") :]))
    assert {name for pair in tables for name in pair if name} <= database.metadata.tables.keys()


@pytest.fixture(params=["in the checkout", "elsewhere"])
def stores(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Embedded stores, each with some content; the databases are where the settings name them."""
    root = tmp_path / "checkout"
    for module in (backup, tracking):
        monkeypatch.setattr(module, "checkout", lambda: root)
    monkeypatch.delenv("DIGITS_DATABASE_URL", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    expected = {name: root / name for name in (*backup.FOLDERS, *backup.DATABASES)}
    if request.param == "elsewhere":
        data = tmp_path / "data"
        data.mkdir()
        expected |= {"digits.db": data / "log.db", "mlflow.db": data / "runs.db"}
        monkeypatch.setenv("DIGITS_DATABASE_URL", f"sqlite:///{data / 'log.db'}")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{data / 'runs.db'}")
    for name in backup.FOLDERS:
        (root / name / "below").mkdir(parents=True)
        (root / name / "below" / "file").write_text(name)
    for name in backup.DATABASES:
        with sqlite3.connect(expected[name]) as connection:
            connection.execute("pragma journal_mode = wal")
            connection.execute("create table t (x)")
            connection.execute("insert into t values (1)")
    assert backup.embedded_stores() == expected
    return expected


def content(path: Path) -> list[tuple[int]]:
    with sqlite3.connect(path) as connection:
        return connection.execute("select x from t").fetchall()


def test_restore_brings_back_the_saved_state(
    stores: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    writer = sqlite3.connect(stores["digits.db"])
    writer.execute("insert into t values (2)")
    writer.commit()  # in the write-ahead log, not yet in the database file
    writer.execute("insert into t values (3)")  # not committed
    backup.main(tmp_path / "saved")
    assert "not in the backup" not in capsys.readouterr().out
    writer.commit()
    writer.close()
    shutil.rmtree(stores[".bentoml"])
    (stores["mlartifacts"] / "below" / "file").write_text("changed")
    (stores["mlartifacts"] / "newer").write_text("")
    backup.main(tmp_path / "saved", restore=True)
    assert content(stores["digits.db"]) == [(1,), (2,)] and content(stores["mlflow.db"]) == [(1,)]
    for name in backup.FOLDERS:
        assert (stores[name] / "below" / "file").read_text() == name
    assert not (stores["mlartifacts"] / "newer").exists()


def test_a_version_registered_during_a_backup_is_not_half_saved(
    stores: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the first folder is copied, a version is registered, and one of its temporary files disappears."""
    copytree, copy2 = shutil.copytree, shutil.copy2
    temporary = stores["mlartifacts"] / "below" / "temporary"
    temporary.touch()

    def register(*arguments: Any, **options: Any) -> None:
        with sqlite3.connect(stores["mlflow.db"]) as connection:
            connection.execute("insert into t values (2)")
        copytree(*arguments, **options)

    def copy(source: str, target: str) -> None:
        temporary.unlink(missing_ok=True)
        copy2(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copytree", register)
        patched.setattr(shutil, "copy2", copy)
        backup.main(tmp_path / "saved")
    backup.main(tmp_path / "saved", restore=True)
    assert content(stores["mlflow.db"]) == [(1,)] and not temporary.exists()


def test_an_interrupted_restore_can_be_repeated(
    stores: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup.save_stores(stores, tmp_path / "saved")
    delete = backup.delete
    for name in stores:
        calls = iter([True])

        def interrupted(path: Path, store: Path = stores[name], calls: Iterator[bool] = calls) -> None:
            if path == store and next(calls, False):  # its copy is complete
                raise KeyboardInterrupt
            delete(path)

        with monkeypatch.context() as patched:
            patched.setattr(backup, "delete", interrupted)
            with pytest.raises(KeyboardInterrupt):
                backup.restore_stores(tmp_path / "saved", stores)
        assert stores[name].with_name(f"{stores[name].name}.restored").exists()
        backup.restore_stores(tmp_path / "saved", stores)
    assert content(stores["digits.db"]) == [(1,)] and not list(tmp_path.rglob("*.restored"))


def test_stores_on_servers_are_named_and_never_replaced_by_files(
    stores: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    backup.main(tmp_path / "files")
    monkeypatch.setenv("DIGITS_DATABASE_URL", "postgresql://digits:secret@db.example/digits")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@mlflow.example:5000")
    backup.main(tmp_path / "saved")
    said = capsys.readouterr().out
    runs, log = (line for line in said.splitlines() if line.startswith("not in the backup: "))
    assert "DIGITS_DATABASE_URL" in log and "MLFLOW_TRACKING_URI" in runs and "secret" not in said
    assert all("pg_dump" in line and "docs/operations.md" in line for line in (log, runs))
    assert not any((tmp_path / "saved" / name).exists() for name in backup.DATABASES)
    backup.main(tmp_path / "saved", restore=True)
    (stores["mlartifacts"] / "below" / "file").write_text("now")
    with pytest.raises(PipelineError, match="MLFLOW_TRACKING_URI names a server"):
        backup.main(tmp_path / "files", restore=True)
    assert (stores["mlartifacts"] / "below" / "file").read_text() == "now"


def test_a_database_that_does_not_exist_is_named(
    stores: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stores["digits.db"].unlink()
    backup.main(tmp_path / "saved")
    assert f"{stores['digits.db']} does not exist" in capsys.readouterr().out


@pytest.mark.parametrize("damage", ["missing", "changed", "unfinished"])
def test_restoring_a_damaged_backup_changes_nothing(stores: dict[str, Path], tmp_path: Path, damage: str) -> None:
    saved = tmp_path / "saved"
    backup.save_stores(stores, saved)
    file = saved / "mlartifacts" / "below" / "file"
    {"missing": file.unlink, "changed": lambda: file.write_text("x"), "unfinished": (saved / backup.LIST).unlink}[
        damage
    ]()
    (stores["data/feedback"] / "below" / "file").write_text("now")
    with pytest.raises(PipelineError, match=r"damaged|not a complete backup"):
        backup.restore_stores(saved, stores)
    assert (stores["data/feedback"] / "below" / "file").read_text() == "now"


def test_the_documented_commands_save_and_restore_postgresql(
    postgres: Postgres, postgres_url: str, tmp_path: Path
) -> None:
    dump, restore = re.findall(r"^(pg_(?:dump|restore) .*digits\.dump.*)$", GUIDE, re.MULTILINE)
    engine = sql.create_engine(database.parse_url(postgres_url), poolclass=sql.NullPool)
    database.migrate(engine)
    database.shared_secret(engine, "hash_key", "first")
    environment = {**os.environ, "PATH": f"{installed()}:{os.environ['PATH']}"}
    environment["DIGITS_URL"] = postgres_url.replace("+psycopg", "")
    subprocess.run(dump, shell=True, cwd=tmp_path, env=environment, check=True)
    with engine.begin() as connection:
        connection.execute(database.secrets.update().values(value="second"))
        connection.execute(sql.text("drop table labels"))
    subprocess.run(restore, shell=True, cwd=tmp_path, env=environment, check=True)
    assert database.shared_secret(engine, "hash_key", "third") == "first"
    assert set(sql.inspect(engine).get_table_names()) >= {"labels", "pictures", "predictions"}
