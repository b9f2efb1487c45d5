"""Where the models come from, and their replacement after each change of `current.json` in `DIGITS_MODEL_DIR`."""

import threading
import time
from pathlib import Path
from typing import Protocol

from recognition.model import DamagedModel
from records.bucket import CURRENT, is_url
from serving.inference.model_bucket import ModelBucket
from serving.inference.served_models import Models, ServedModels, load_directory, load_packaged
from serving.settings import Settings
from serving.telemetry import metrics
from serving.telemetry.json_logs import log

INTERVAL = 0.5  # seconds between two checks of a local current.json
RETRY_SECONDS = 5.0  # pause after a failed reload, for example while another process still copies the files


class ModelSource(Protocol):
    """A folder or a bucket with models."""

    @property
    def interval(self) -> float:
        """Seconds between two checks."""

    def stamp(self) -> object:
        """What changes with every publication; None if there is nothing to be read."""

    def load(self) -> Models:
        """Loads and verifies the current models. Raises DamagedModel."""

    def last_good(self) -> Models | None:
        """The models that were loaded last, if the source keeps them elsewhere."""


class ModelFolder:
    """A local folder."""

    interval = INTERVAL

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def stamp(self) -> tuple[int, int, int] | None:
        """Time, inode and size of current.json; None if it is missing."""
        try:
            status = (self._directory / CURRENT).stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino, status.st_size

    def load(self) -> Models:
        """Loads and verifies the current models. Raises DamagedModel."""
        return load_directory(self._directory)

    def last_good(self) -> None:
        """A folder keeps no copy: without its models, the service does not start."""


def source_of(settings: Settings) -> ModelSource | None:
    """The source in the settings; None for the models inside this Bento."""
    place = settings.model_dir
    if place is None:
        return None
    return ModelBucket(place, settings.model_cache) if is_url(place) else ModelFolder(Path(place))


def load_models_of(settings: Settings) -> Models:
    """Loads the models that the settings name. Raises DamagedModel."""
    source = source_of(settings)
    return load_packaged() if source is None else load_or_keep(source)[0]


def load_or_keep(source: ModelSource) -> tuple[Models, bool]:
    """The current models and True, or if they cannot be loaded, the last good ones and False. Raises DamagedModel."""
    try:
        return source.load(), True
    except DamagedModel as error:
        if (models := source.last_good()) is None:
            raise
        log.error("serving the last good models", extra={"reason": str(error)})
        return models, False


class ModelWatcher(threading.Thread):
    """Loads and verifies new models while the old ones answer. The old ones stay until all new ones are intact."""

    def __init__(self, source: ModelSource, served: ServedModels) -> None:
        super().__init__(name="model-watcher", daemon=True)
        self._source, self._served = source, served
        self._loaded = self._failed = source.stamp()
        self._retry_at = 0.0

    def load_first(self) -> None:
        """Serves the current models; if they cannot be loaded, the last good ones until then. Raises DamagedModel."""
        models, current = load_or_keep(self._source)
        self._served.replace(models)
        if not current:
            self._loaded = None

    def run(self) -> None:
        while True:
            time.sleep(self._source.interval)
            self.look()

    def look(self) -> None:
        """Serves the current models if they have changed. After an error, tries again every RETRY_SECONDS."""
        stamp = self._source.stamp()
        if stamp is not None and stamp == self._loaded:
            if self._failed != stamp:
                log.info("the served models can be read again")
                self._failed = stamp
                metrics.RELOAD_PENDING.set(0)
            return
        if stamp == self._failed and time.monotonic() < self._retry_at:
            return
        try:
            models = self._source.load()
        except Exception as error:  # the old models remain in use after any error
            metrics.RELOAD_FAILURES.inc()
            metrics.RELOAD_PENDING.set(1)
            if stamp != self._failed or not self._retry_at:  # once for each change, not for each attempt
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
