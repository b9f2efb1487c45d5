"""The registry's aliased models as files in `DIGITS_MODEL_DIR`, from where a running service takes them over."""

import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from filelock import FileLock

from pipeline import registry
from pipeline.files import read_json, sha256, write_json
from pipeline.paths import REPORTS, ROOT
from pipeline.terminal import stage

FOLDER = re.compile(r"v\d+-[0-9a-f]{12}")  # of one version


def main() -> None:
    export(read_json(REPORTS / "registered.json")["model"])


def directory() -> Path | None:
    """`DIGITS_MODEL_DIR`, from the repository's root where it is relative; None where it is not set."""
    value = os.environ.get("DIGITS_MODEL_DIR", "")
    return ROOT / value if value else None


def export(model: str) -> None:
    """Bring what is served of `model` to `DIGITS_MODEL_DIR`: whole folders first, then `current.json` that names them.

    The previous champion's folder stays beside them, all others go. Nothing happens where the variable is not set.
    """
    target = directory()
    if target is None:
        return
    target.mkdir(parents=True, exist_ok=True)
    with FileLock(
        target / ".lock"
    ):  # what is served is asked inside: of two exports the later knows the later champion
        champion, models = registry.served(model)
        folders = {name: bring(registered, target) for name, registered in models.items()}
        entries = {
            name: {"folder": folders[name], "version": registered.version, "digest": registered.card["digest"]}
            for name, registered in models.items()
        }
        card = models[champion].card
        current = {"dataset": card["dataset"], "champion": champion, "models": entries}
        if _content(target / "current.json") != current:  # else a service would load the same again
            write_json(target / "current.json", current)
        keep = set(folders.values())
        previous = registry.by_alias(model, registry.PREVIOUS)
        if previous is not None and (registered := registry.find(model, previous.version)) is not None:
            keep.add(bring(registered, target))
        for folder in target.iterdir():
            if folder.name not in keep and (FOLDER.fullmatch(folder.name) or folder.name.startswith(".v")):
                shutil.rmtree(folder)


def bring(registered: registry.Registered, target: Path) -> str:
    """Copy a version's files into a folder of `target`, unless they are there; returns the folder's name."""
    digest = registered.card["digest"]
    folder = target / f"v{registered.version}-{digest[:12]}"
    if folder.exists():
        if all(_same(registered.folder / file, folder / file) for file in registry.CARRIED):
            return folder.name
        shutil.rmtree(folder)  # damaged: a service that has it loaded has it in memory
    with tempfile.TemporaryDirectory(dir=target, prefix=".v") as staging:
        whole = Path(staging) / folder.name
        whole.mkdir()
        for file in registry.CARRIED:
            shutil.copyfile(registered.folder / file, whole / file)
        whole.rename(folder)
    return folder.name


def _content(path: Path) -> Any:
    try:
        return read_json(path)
    except (OSError, ValueError):
        return None


def _same(one: Path, other: Path) -> bool:
    return other.is_file() and sha256(one) == sha256(other)


if __name__ == "__main__":
    stage(main)
