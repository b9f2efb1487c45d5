"""The served models: loaded from their folders, verified, and replaced as a whole."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recognition.model import DamagedModel, Model, load_model
from records.bucket import CURRENT
from serving.errors import ErrorCode, RequestError

READY_SECONDS = 1.0
DIGITS = [str(digit) for digit in range(10)]
EXPECTED = "it is written by promotions, expected champion and models"
PACKAGED = Path(__file__).parent.parent / "packaged.json"  # champion, tags and versions, by the stage `package`


@dataclass(frozen=True)
class Models:
    """All served models by name, and the name of the champion."""

    dataset: str
    classes: list[str]
    champion: str
    by_name: dict[str, Model]

    @property
    def are_digits(self) -> bool:
        """Whether the classes are the ten digits. Reading numbers requires this."""
        return self.classes == DIGITS

    def match_known_digits(self) -> bool:
        """Whether every model still answers its known digits as recorded."""
        return all(model.matches_known_digits() for model in self.by_name.values())

    def choose(self, name: Any) -> Model:
        """The model with this name, or the champion. Raises RequestError 404 or 422."""
        if not isinstance(name, str):
            message = "`model` must be a text: champion or the name of a model"
            raise RequestError(422, ErrorCode.INVALID_VALUE, message)
        if name == "champion":
            name = self.champion
        if name not in self.by_name:
            message = f"there is no model {name[:60]!r}; there are champion, {', '.join(self.by_name)}"
            raise RequestError(404, ErrorCode.UNKNOWN_MODEL, message)
        return self.by_name[name]


class ServedModels:
    """The models that this process serves. `replace` may be called from any thread."""

    def __init__(self) -> None:
        self._current: Models | None = None
        self._matching, self._check_at = False, 0.0
        self.on_replace: Callable[[Models], None] | None = None  # called with the new models

    @property
    def current(self) -> Models:
        """The current models. Raises RequestError 503 before they are loaded."""
        if self._current is None:
            message = "the models are being loaded; ask /readyz and try again"
            raise RequestError(503, ErrorCode.NOT_READY, message, {"retry-after": "1"})
        return self._current

    @property
    def ready(self) -> bool:
        """Whether models are loaded and answer their known digits as recorded. Checked once in READY_SECONDS."""
        if self._current is not None and time.monotonic() >= self._check_at:
            self._matching = self._current.match_known_digits()
            self._check_at = time.monotonic() + READY_SECONDS
        return self._matching

    def replace(self, models: Models) -> None:
        """Serves these models from the next request on."""
        self._current, self._check_at = models, 0.0
        if self.on_replace is not None:
            self.on_replace(models)


def load_models(folders: Mapping[str, Path], champion: str, versions: Mapping[str, str]) -> Models:
    """Loads every model from its folder (model.tflite, model.json, known_digits.npz). Raises DamagedModel.

    All models have the same classes: a prediction is an index of one list.
    """
    by_name = {name: load_model(folder, versions[name], name) for name, folder in folders.items()}
    card = by_name[champion].card
    for name, model in by_name.items():
        if model.card["classes"] != card["classes"]:
            raise DamagedModel(f"{folders[name]}: {name} has other classes than the champion {champion}")
    return Models(card["dataset"], card["classes"], champion, by_name)


def load_packaged() -> Models:
    """Loads the models inside this Bento. Raises DamagedModel."""
    import bentoml

    packaged: dict[str, Any] = json.loads(PACKAGED.read_text(encoding="utf-8"))
    folders = {name: Path(bentoml.models.get(entry["tag"]).path) for name, entry in packaged["models"].items()}
    versions = {name: entry["version"] for name, entry in packaged["models"].items()}
    return load_models(folders, packaged["champion"], versions)


def read_current(directory: Path) -> dict[str, Any]:
    """The content of `directory/current.json`: `champion`, and `models` with their folders. Raises DamagedModel."""
    file = directory / CURRENT
    try:
        current: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        entries = current["models"]
        if current["champion"] not in entries:
            raise DamagedModel(f"{file}: the champion {current['champion']!r} is not among its models")
        for name, entry in entries.items():
            if Path(entry["folder"]).name != entry["folder"]:
                raise DamagedModel(f"{file}: {entry['folder']!r} of {name} is not the name of a folder beside it")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedModel(f"{file}: {error!r}; {EXPECTED}") from None
    return current


def load_directory(directory: Path) -> Models:
    """Loads the models listed in `directory/current.json` and verifies their digests. Raises DamagedModel."""
    current, file = read_current(directory), directory / CURRENT
    entries = current["models"]
    try:
        models = load_models(
            {name: directory / entry["folder"] for name, entry in entries.items()},
            current["champion"],
            {name: str(entry["version"]) for name, entry in entries.items()},
        )
        digests = {name: entry["digest"] for name, entry in entries.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedModel(f"{file}: {error!r}; {EXPECTED}") from None
    for name, model in models.by_name.items():
        if model.digest != digests[name]:
            raise DamagedModel(f"{file}: {name} is to have sha256 {digests[name]}, found {model.digest}")
    return models
