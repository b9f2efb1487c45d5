"""API keys: the one in `DIGITS_API_KEY`, and named ones in the file `DIGITS_API_KEYS_FILE`."""

import hashlib
import hmac
import re
import time
from pathlib import Path

from serving.settings import Settings
from serving.telemetry import metrics
from serving.telemetry.json_logs import log

INTERVAL = 1.0  # seconds between two checks of the file
EMPTY_KEY = hashlib.sha256(b"").hexdigest()  # requests without a key would match it
LINE = re.compile(r"(?P<name>[\w.@-]{1,60})\s+(?P<hash>[0-9a-f]{64})", re.ASCII)


class ApiKeys:
    """Identifies clients by their keys. A change of the file takes effect within INTERVAL."""

    def __init__(self, settings: Settings) -> None:
        """Raises ValueError if the file cannot be read."""
        self._single = settings.api_key.get_secret_value().encode() if settings.api_key else None
        self._file = settings.api_keys_file
        self._names: dict[str, str] = read_key_file(self._file) if self._file else {}
        self._read_at = time.monotonic()
        self._stamp = self._current_stamp()

    @property
    def required(self) -> bool:
        """Whether clients need a key."""
        return self._single is not None or self._file is not None

    def identify(self, key: bytes) -> str | None:
        """The client with this key, as a text for rates and the prediction log; None if the key is unknown."""
        if self._single is not None and hmac.compare_digest(key, self._single):
            return f"key {self._single!r}"
        if self._file is not None:
            self._reload()
            if name := self._names.get(hashlib.sha256(key).hexdigest()):
                return f"key of {name}"
        return None

    def _reload(self) -> None:
        """Reads the file again if it has changed. A file that cannot be read leaves the previous keys in use."""
        if self._file is None or time.monotonic() - self._read_at < INTERVAL:
            return
        self._read_at = time.monotonic()
        if (stamp := self._current_stamp()) == self._stamp:
            return
        self._stamp = stamp
        try:
            self._names = read_key_file(self._file)
            log.info("read the API keys again", extra={"keys": len(self._names)})
        except ValueError as error:
            metrics.KEY_FILE_FAILURES.inc()
            log.error("kept the previous API keys", extra={"reason": str(error)})

    def _current_stamp(self) -> tuple[int, int, int] | None:
        try:
            status = self._file.stat() if self._file else None
        except OSError:
            return None
        return (status.st_mtime_ns, status.st_ino, status.st_size) if status else None


def read_key_file(file: Path) -> dict[str, str]:
    """Names by the SHA-256 of their keys. Each line has a name and the hash; empty lines and # comments are skipped.

    Raises ValueError if the file is missing, has no key, an empty one, or a malformed line.
    """
    expected = "expected a name and the SHA-256 of its key, in hexadecimal, on each line"
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        raise ValueError(f"{file} cannot be read ({error}); {expected}") from None
    names = {}
    for number, line in enumerate(lines, 1):
        if not (text := line.partition("#")[0].strip()):
            continue
        if not (parts := LINE.fullmatch(text)):
            raise ValueError(f"{file}, line {number}: {expected}")
        if parts["hash"] == EMPTY_KEY:
            raise ValueError(f"{file}, line {number}: this is the SHA-256 of an empty key; {expected}")
        names[parts["hash"]] = parts["name"]
    if not names:
        raise ValueError(f"{file} has no key; {expected}")
    return names
