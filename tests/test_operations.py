"""docs/operations.md: the table matches the code, and the commands work as documented."""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sql

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


@pytest.fixture
def stores(tmp_path: Path) -> Path:
    """Embedded stores, each with some content."""
    root = tmp_path / "checkout"
    for name in backup.FOLDERS:
        (root / name / "below").mkdir(parents=True)
        (root / name / "below" / "file").write_text(name)
    for name in backup.DATABASES:
        with sqlite3.connect(root / name) as connection:
            connection.execute("pragma journal_mode = wal")
            connection.execute("create table t (x)")
            connection.execute("insert into t values (1)")
    return root


def content(path: Path) -> list[tuple[int]]:
    with sqlite3.connect(path) as connection:
        return connection.execute("select x from t").fetchall()


def test_restore_brings_back_the_saved_state(stores: Path, tmp_path: Path) -> None:
    writer = sqlite3.connect(stores / "digits.db")
    writer.execute("insert into t values (2)")
    writer.commit()  # in the write-ahead log, not yet in the database file
    writer.execute("insert into t values (3)")  # not committed
    backup.save_stores(stores, tmp_path / "saved")
    writer.commit()
    writer.close()
    shutil.rmtree(stores / ".bentoml")
    (stores / "mlartifacts" / "below" / "file").write_text("changed")
    (stores / "mlartifacts" / "newer").write_text("")
    backup.restore_stores(tmp_path / "saved", stores)
    assert content(stores / "digits.db") == [(1,), (2,)] and content(stores / "mlflow.db") == [(1,)]
    for name in backup.FOLDERS:
        assert (stores / name / "below" / "file").read_text() == name
    assert not (stores / "mlartifacts" / "newer").exists()


@pytest.mark.parametrize("damage", ["missing", "changed", "unfinished"])
def test_restoring_a_damaged_backup_changes_nothing(stores: Path, tmp_path: Path, damage: str) -> None:
    saved = tmp_path / "saved"
    backup.save_stores(stores, saved)
    file = saved / "mlartifacts" / "below" / "file"
    {"missing": file.unlink, "changed": lambda: file.write_text("x"), "unfinished": (saved / backup.LIST).unlink}[
        damage
    ]()
    (stores / "data" / "feedback" / "below" / "file").write_text("now")
    with pytest.raises(PipelineError, match=r"damaged|not a complete backup"):
        backup.restore_stores(saved, stores)
    assert (stores / "data" / "feedback" / "below" / "file").read_text() == "now"


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
