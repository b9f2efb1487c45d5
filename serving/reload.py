"""Loads the models in `DIGITS_MODEL_DIR` at the start and after each change of its `current.json`."""

import json
import threading
from collections.abc import Callable
from pathlib import Path

from recognition.model import DamagedModel
from serving.logs import log
from serving.models import Models, load_models

INTERVAL = 0.5  # seconds between two checks of current.json


def load_directory(directory: Path) -> Models:
    """Loads the models listed in `directory/current.json` and verifies their digests. Raises DamagedModel."""
    file = directory / "current.json"
    try:
        current = json.loads(file.read_text(encoding="utf-8"))
        entries = current["models"]
        champion = current["champion"]
        if champion not in entries:
            raise DamagedModel(f"{file}: the champion {champion!r} is not among its models")
        for name, entry in entries.items():
            if Path(entry["folder"]).name != entry["folder"]:
                raise DamagedModel(f"{file}: {entry['folder']!r} of {name} is not the name of a folder beside it")
        models = load_models(
            {name: directory / entry["folder"] for name, entry in entries.items()},
            champion,
            {name: str(entry["version"]) for name, entry in entries.items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedModel(f"{file}: {error!r}; it is written by promotions, expected champion and models") from None
    for name, model in models.by_name.items():
        if model.digest != entries[name]["digest"]:
            raise DamagedModel(f"{file}: {name} is to have sha256 {entries[name]['digest']}, found {model.digest}")
    return models


class Watcher(threading.Thread):
    """Loads and verifies new models while the old ones answer. Passes them to `serve` if all are intact."""

    def __init__(self, directory: Path, serve: Callable[[Models], None]) -> None:
        super().__init__(name="model-watcher", daemon=True)
        self._directory, self._serve = directory, serve
        self._seen = self._stamp()

    def run(self) -> None:
        while True:
            threading.Event().wait(INTERVAL)
            self.look()

    def look(self) -> None:
        """Serves the models in `current.json` if it has changed; keeps the old models after any error."""
        stamp = self._stamp()
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            models = load_directory(self._directory)
        except Exception as error:  # the old models remain in use after any error
            log.error("kept the old models", extra={"reason": str(error)})
            return
        self._serve(models)
        log.info(
            "serving other models",
            extra={"champion": models.champion, "versions": {name: m.version for name, m in models.by_name.items()}},
        )

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            status = (self._directory / "current.json").stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino, status.st_size
