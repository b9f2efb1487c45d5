"""`python -m pipeline.registry.handover`: exports the served models to `DIGITS_MODEL_DIR`, where services load them."""

import os
import re
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from filelock import FileLock

from pipeline.console import run_main
from pipeline.files import read_json, sha256, write_json
from pipeline.paths import REPORTS, ROOT
from pipeline.registry import bucket, versions
from pipeline.tracking import open_database
from recognition.model import FILES, Model
from records import promotions
from records.bucket import CURRENT, is_url

VERSION_FOLDER = re.compile(r"v\d+-[0-9a-f]{12}")


def main() -> None:
    export(read_json(REPORTS / "registered.json")["model"])


def destination() -> str | None:
    """`DIGITS_MODEL_DIR`: a URL, or a folder, relative to the repository's root; None if it is not set."""
    value = os.environ.get("DIGITS_MODEL_DIR", "")
    return value if is_url(value) else str(ROOT / value) if value else None


def export(model: str) -> None:
    """Export the served versions of `model` to `DIGITS_MODEL_DIR`; do nothing if the variable is not set.

    Complete folders come first, then `current.json`, which names them. The previous champion's folder is kept for a
    rollback, other versions are deleted. The champion is read inside the lock: the later of two exports is right.
    Raises PipelineError if a bucket cannot be written.
    """
    target = destination()
    if target is None:
        return
    if is_url(target):  # the lock is that of the promotion history, which all machines share
        with promotions.exclusive(open_database()), tempfile.TemporaryDirectory() as folder:
            write(model, Path(folder))
            bucket.publish(Path(folder), target, VERSION_FOLDER)
        return
    directory = Path(target)
    directory.mkdir(parents=True, exist_ok=True)
    with FileLock(directory / ".lock"):
        write(model, directory)


def write(model: str, target: Path) -> None:
    """Write the served versions of `model` to a local folder, and delete versions that are no longer needed.

    A challenger that is not among them is served as well, under the name `challenger`, if its files are intact and its
    classes are the champion's.
    """
    champion, models = versions.served(model)
    challenger = versions.by_alias(model, versions.CHALLENGER)
    if challenger is not None and str(challenger.version) not in {served.version for served in models.values()}:
        found = versions.find(model, str(challenger.version))
        if found is not None and found.card.get("classes") == models[champion].card.get("classes"):
            models[versions.CHALLENGER] = found
    copied = [copy_version(served, target) for served in models.values()]
    entries = {
        name: {"folder": folder_name(served), "version": served.version, "digest": served.digest}
        for name, served in models.items()
    }
    current = {"dataset": models[champion].card["dataset"], "champion": champion, "models": entries}
    before = None
    with suppress(OSError, ValueError):
        before = read_json(target / CURRENT)
    if any(copied) or before != current:  # an unchanged file must not trigger a reload
        write_json(target / CURRENT, current)
    keep = {entry["folder"] for entry in entries.values()}
    previous = versions.by_alias(model, versions.PREVIOUS)
    if previous is not None and (kept := versions.find(model, previous.version)) is not None:
        copy_version(kept, target)
        keep.add(folder_name(kept))
    for path in target.iterdir():
        if path.name not in keep and (VERSION_FOLDER.fullmatch(path.name) or path.name.startswith(".v")):
            shutil.rmtree(path)


def folder_name(model: Model) -> str:
    """The name of a version's folder."""
    return f"v{model.version}-{model.digest[:12]}"


def copy_version(model: Model, target: Path) -> bool:
    """Copy a version's files into its folder of `target`, atomically. Returns False if identical files are there."""
    place = target / folder_name(model)
    files = [file for file in FILES if (model.folder / file).exists()]
    if all((place / file).is_file() and sha256(model.folder / file) == sha256(place / file) for file in files):
        return False
    with tempfile.TemporaryDirectory(dir=target, prefix=".v") as staging:
        complete = Path(staging) / place.name
        complete.mkdir()
        for file in files:
            shutil.copyfile(model.folder / file, complete / file)
        if place.exists():
            shutil.rmtree(place)  # damaged; a service that loaded this version has it in memory
        complete.rename(place)
    return True


if __name__ == "__main__":
    run_main(main)
