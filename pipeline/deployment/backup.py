"""`python -m pipeline.deployment.backup FOLDER` saves the embedded stores while they are in use; `--restore` restores.

Stores on servers (PostgreSQL, an MLflow server) have their own tools: docs/operations.md.
"""

import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Annotated

import typer

from pipeline.console import PipelineError, run_main, say
from pipeline.files import read_json, sha256, write_json
from pipeline.paths import checkout
from pipeline.tracking import database_url, tracking_uri

# Their names in a backup; settings name the files. They are saved in this order, and before the folders: what changes
# meanwhile leaves no version without its files, and no alias without its row in the promotion history
DATABASES = ("mlflow.db", "digits.db")
FOLDERS = ("mlartifacts", ".bentoml", ".dvc/cache", "data/feedback")
LIST = "backup.json"  # checksums; written last, so that a folder without it is an incomplete backup


def main(folder: Path, restore: Annotated[bool, typer.Option("--restore")] = False) -> None:
    """Save the embedded stores to a new FOLDER, or restore them from it."""
    stores = embedded_stores()
    if restore:
        restore_stores(folder, stores)
        say(f"restored from {folder}; check with: python -m pipeline.deployment.check")
        return
    if folder.exists() and any(folder.iterdir()):
        raise PipelineError(f"{folder} is not empty; choose a new folder")
    save_stores(stores, folder)
    say(f"saved to {folder}")
    for line in not_saved(stores):
        say(f"not in the backup: {line}")


def embedded_stores() -> dict[str, Path]:
    """Returns the path of each store on this machine, by its name in a backup; without databases on servers."""
    stores, log, runs = {}, database_url(), tracking_uri()
    if runs.startswith("sqlite:///"):
        stores["mlflow.db"] = Path(runs.removeprefix("sqlite:///"))
    if log.drivername == "sqlite" and log.database:
        stores["digits.db"] = Path(log.database)
    return stores | {name: checkout() / name for name in FOLDERS}


def not_saved(stores: dict[str, Path]) -> list[str]:
    """Returns a line for each database that the backup lacks: those on servers, and files that do not exist."""
    servers = {
        "mlflow.db": ("MLflow's store of MLFLOW_TRACKING_URI", "save its database with pg_dump, and its artifacts"),
        "digits.db": ("the database of DIGITS_DATABASE_URL", "save it with pg_dump"),
    }
    lines = []
    for name, (store, remedy) in servers.items():
        if name not in stores:
            lines.append(f"{store}; {remedy} (docs/operations.md)")
        elif not stores[name].exists():
            lines.append(f"{store}; {stores[name]} does not exist")
    return lines


def save_stores(stores: dict[str, Path], folder: Path) -> None:
    """Copy the existing stores to `folder`, each database in a consistent state, the databases first."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in DATABASES:
        if name in stores and stores[name].exists():
            with closing(sqlite3.connect(stores[name])) as source, closing(sqlite3.connect(folder / name)) as target:
                source.backup(target)
    for name in FOLDERS:
        if stores[name].exists():
            shutil.copytree(stores[name], folder / name, symlinks=True, copy_function=copy_existing)
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    write_json(folder / LIST, {path.relative_to(folder).as_posix(): sha256(path) for path in files})


def restore_stores(folder: Path, stores: dict[str, Path]) -> None:
    """Replace the stores. A call that was interrupted can be repeated.

    Raises PipelineError, before it changes anything, for a damaged backup and for a file whose store is on a server.
    """
    if not (folder / LIST).exists():
        raise PipelineError(f"{folder} is not a complete backup: {LIST} is missing")
    for name, digest in read_json(folder / LIST).items():
        if not (folder / name).is_file() or sha256(folder / name) != digest:
            raise PipelineError(f"{folder / name} is missing or damaged; use another backup")
    for name, setting in zip(DATABASES, ("MLFLOW_TRACKING_URI", "DIGITS_DATABASE_URL"), strict=True):
        if (folder / name).exists() and name not in stores:
            raise PipelineError(f"{folder / name} is a SQLite file, but {setting} names a server; unset it to restore")
    for name, path in stores.items():
        if not (folder / name).exists():
            continue
        restored = path.with_name(f"{path.name}.restored")
        delete(restored)  # of an interrupted call
        path.parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copy2 if (folder / name).is_file() else shutil.copytree
        copy(folder / name, restored)
        for old in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
            delete(old)
        restored.replace(path)


def copy_existing(source: str, target: str) -> None:
    """Copy a file unless it has been deleted since its folder was listed, such as a temporary file of DVC."""
    with suppress(FileNotFoundError):
        shutil.copy2(source, target)


def delete(path: Path) -> None:
    """Delete a file or a folder, if it exists."""
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


if __name__ == "__main__":
    run_main(main)
