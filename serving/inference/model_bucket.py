"""Models in a bucket: downloaded to a cache on disk, verified there, and remembered as the last good ones."""

import hashlib
import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from recognition.model import FILES, DamagedModel
from records.bucket import CURRENT, open_bucket
from serving.inference.served_models import Models, load_directory, read_current

INTERVAL = 2.0  # seconds between two checks of current.json: one request each
LAST_GOOD = "last"  # link to the newest copy that was verified
STALE_SECONDS = 3600.0  # age of an unfinished copy that a killed process left


class ModelBucket:
    """A source of models for the ModelWatcher.

    Each state of the bucket has a copy of its own in the cache, a folder like a local `DIGITS_MODEL_DIR`. Several
    processes may share the cache: a copy appears complete, or not at all.
    """

    interval = INTERVAL

    def __init__(self, url: str, cache: Path) -> None:
        """`cache`: a folder for the copies of all buckets. Raises ValueError if the URL's protocol is not installed."""
        self._url = url
        self._files, self._root = open_bucket(url)
        self._cache = cache.absolute() / hashlib.sha256(url.encode()).hexdigest()[:16]

    def stamp(self) -> str | None:
        """What changes with every publication; None if the bucket cannot be read."""
        try:
            return self._stamp()
        except Exception:  # of the network, or of the file system's library
            return None

    def load(self) -> Models:
        """Downloads and verifies the current models. Raises DamagedModel, also if the bucket cannot be read."""
        try:
            copy = self._cache / hashlib.sha256(self._stamp().encode()).hexdigest()[:16]
            if not copy.is_dir():
                self._download(copy)
        except DamagedModel:
            raise
        except Exception as error:
            raise DamagedModel(f"{self._url}/{CURRENT} cannot be loaded: {error!r}; promotions write it") from None
        try:
            models = load_directory(copy)
        except DamagedModel:
            shutil.rmtree(copy, ignore_errors=True)  # the next attempt downloads it again
            raise
        self._remember(copy)
        return models

    def last_good(self) -> Models | None:
        """The models that were loaded last, from the cache; None if it has none."""
        try:
            return load_directory(self._cache / LAST_GOOD)
        except DamagedModel:
            return None

    def _stamp(self) -> str:
        info = self._files.info(f"{self._root}/{CURRENT}")
        return str(info.get("ETag") or info)  # S3: the digest alone, as the time may change without the content

    def _download(self, copy: Path) -> None:
        """Copies current.json and the folders that it names. Their completeness is verified on loading."""
        self._cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._cache, prefix=".") as staging:
            complete = Path(staging) / "models"
            complete.mkdir()
            (complete / CURRENT).write_bytes(self._files.cat_file(f"{self._root}/{CURRENT}"))
            for entry in read_current(complete)["models"].values():
                folder = complete / entry["folder"]
                folder.mkdir(exist_ok=True)
                for file in FILES:
                    with suppress(FileNotFoundError):  # the page is optional
                        (folder / file).write_bytes(self._files.cat_file(f"{self._root}/{entry['folder']}/{file}"))
            with suppress(OSError):  # another process was first
                complete.rename(copy)

    def _remember(self, copy: Path) -> None:
        """Links LAST_GOOD to `copy` and deletes all other copies."""
        link = self._cache / f".last-{os.getpid()}"
        link.unlink(missing_ok=True)
        link.symlink_to(copy.name)
        link.replace(self._cache / LAST_GOOD)
        for path in self._cache.iterdir():
            if path.name in (LAST_GOOD, copy.name) or path.is_symlink():
                continue
            with suppress(OSError):  # another process deletes it, too
                if not path.name.startswith(".") or time.time() - path.stat().st_mtime > STALE_SECONDS:
                    shutil.rmtree(path)
