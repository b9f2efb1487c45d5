"""`python -m pipeline.deployment.backup FOLDER` saves the embedded stores while they are in use; `--restore` restores.

Stores on servers (PostgreSQL, an MLflow server) have their own tools: docs/operations.md.
"""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from pipeline.console import PipelineError, run_main, say
from pipeline.files import read_json, sha256, write_json
from pipeline.paths import checkout

DATABASES = ("digits.db", "mlflow.db")
FOLDERS = ("mlartifacts", ".bentoml", ".dvc/cache", "data/feedback")
LIST = "backup.json"  # checksums; written last, so that a folder without it is an incomplete backup


def main(folder: Path, restore: Annotated[bool, typer.Option("--restore")] = False) -> None:
    """Save the embedded stores to a new FOLDER, or restore them from it."""
    if restore:
        restore_stores(folder, checkout())
        say(f"restored from {folder}; check with: python -m pipeline.deployment.check")
        return
    if folder.exists() and any(folder.iterdir()):
        raise PipelineError(f"{folder} is not empty; choose a new folder")
    save_stores(checkout(), folder)
    say(f"saved to {folder}")


def save_stores(root: Path, folder: Path) -> None:
    """Copy the existing stores under `root` to `folder`, each database in a consistent state."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in DATABASES:
        if (root / name).exists():
            with closing(sqlite3.connect(root / name)) as source, closing(sqlite3.connect(folder / name)) as target:
                source.backup(target)
    for name in FOLDERS:
        if (root / name).exists():
            shutil.copytree(root / name, folder / name, symlinks=True)
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    write_json(folder / LIST, {path.relative_to(folder).as_posix(): sha256(path) for path in files})


def restore_stores(folder: Path, root: Path) -> None:
    """Replace the stores under `root`. Raises PipelineError for a damaged backup, before it changes anything."""
    if not (folder / LIST).exists():
        raise PipelineError(f"{folder} is not a complete backup: {LIST} is missing")
    for name, digest in read_json(folder / LIST).items():
        if not (folder / name).is_file() or sha256(folder / name) != digest:
            raise PipelineError(f"{folder / name} is missing or damaged; use another backup")
    for name in (*DATABASES, *FOLDERS):
        if not (folder / name).exists():
            continue
        restored = root / f"{name}.restored"
        copy = shutil.copy2 if (folder / name).is_file() else shutil.copytree
        copy(folder / name, restored)
        for old in (root / name, root / f"{name}-wal", root / f"{name}-shm"):
            shutil.rmtree(old) if old.is_dir() else old.unlink(missing_ok=True)
        restored.replace(root / name)


if __name__ == "__main__":
    run_main(main)
