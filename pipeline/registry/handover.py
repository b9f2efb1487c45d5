"""The registry's aliased models as files in `DIGITS_MODEL_DIR`, from where a running service takes them over."""

import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from filelock import FileLock

from pipeline.console import run_main
from pipeline.files import read_json, sha256, write_json
from pipeline.paths import REPORTS, ROOT
from pipeline.registry import versions

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
    with FileLock(target / ".lock"):  # asks for the champion inside, so that of two exports the later is right
        champion, models = versions.served(model)
        brought = [bring(registered, target) for registered in models.values()]
        entries = {
            name: {"folder": folder(registered), "version": registered.version, "digest": registered.card["digest"]}
            for name, registered in models.items()
        }
        card = models[champion].card
        current = {"dataset": card["dataset"], "champion": champion, "models": entries}
        if any(brought) or _content(target / "current.json") != current:  # else a service would load the same again
            write_json(target / "current.json", current)
        keep = {entry["folder"] for entry in entries.values()}
        previous = versions.by_alias(model, versions.PREVIOUS)
        if previous is not None and (registered := versions.find(model, previous.version)) is not None:
            bring(registered, target)
            keep.add(folder(registered))
        for path in target.iterdir():
            if path.name not in keep and (FOLDER.fullmatch(path.name) or path.name.startswith(".v")):
                shutil.rmtree(path)


def folder(registered: versions.Registered) -> str:
    """The name of a version's folder."""
    return f"v{registered.version}-{registered.card['digest'][:12]}"


def bring(registered: versions.Registered, target: Path) -> bool:
    """Copy a version's files into its folder of `target`, as a whole; False where they are there already."""
    place = target / folder(registered)
    files = [file for file in versions.CARRIED if (registered.folder / file).exists()]
    if all(_same(registered.folder / file, place / file) for file in files):
        return False
    with tempfile.TemporaryDirectory(dir=target, prefix=".v") as staging:
        whole = Path(staging) / place.name
        whole.mkdir()
        for file in files:
            shutil.copyfile(registered.folder / file, whole / file)
        if place.exists():
            shutil.rmtree(place)  # damaged; a service that had loaded it has it in memory
        whole.rename(place)
    return True


def _content(path: Path) -> Any:
    try:
        return read_json(path)
    except (OSError, ValueError):
        return None


def _same(one: Path, other: Path) -> bool:
    return other.is_file() and sha256(one) == sha256(other)


if __name__ == "__main__":
    run_main(main)
