"""Replaces the served models after each change of `current.json` in `DIGITS_MODEL_DIR`."""

import threading
import time
from pathlib import Path

from serving.inference.served_models import ServedModels, load_directory
from serving.telemetry import metrics
from serving.telemetry.json_logs import log

INTERVAL = 0.5  # seconds between two checks of current.json
RETRY_SECONDS = 5.0  # pause after a failed reload, for example while another process still copies the files


class ModelWatcher(threading.Thread):
    """Loads and verifies new models while the old ones answer. The old ones stay until all new ones are intact."""

    def __init__(self, directory: Path, served: ServedModels) -> None:
        super().__init__(name="model-watcher", daemon=True)
        self._directory, self._served = directory, served
        self._loaded = self._failed = self._stamp()
        self._retry_at = 0.0

    def run(self) -> None:
        while True:
            time.sleep(INTERVAL)
            self.look()

    def look(self) -> None:
        """Serves the models in `current.json` if it has changed. After an error, tries again every RETRY_SECONDS."""
        stamp = self._stamp()
        if stamp == self._loaded or (stamp == self._failed and time.monotonic() < self._retry_at):
            return
        try:
            models = load_directory(self._directory)
        except Exception as error:  # the old models remain in use after any error
            metrics.RELOAD_FAILURES.inc()
            metrics.RELOAD_PENDING.set(1)
            if stamp != self._failed:  # once for each change, not for each attempt
                log.error("kept the old models, trying again", extra={"reason": str(error)})
            self._failed, self._retry_at = stamp, time.monotonic() + RETRY_SECONDS
            return
        self._loaded = self._failed = stamp
        metrics.RELOADS.inc()
        metrics.RELOAD_PENDING.set(0)
        self._served.replace(models)
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
