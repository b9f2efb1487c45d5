"""The served models, loaded from their folders and verified."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from recognition.model import Model, load_model


@dataclass(frozen=True)
class Models:
    """All served models by name, and the name of the champion."""

    dataset: str
    classes: list[str]
    champion: str
    by_name: dict[str, Model]

    def match_known_digits(self) -> bool:
        """Whether every model still answers its known digits as recorded."""
        return all(model.matches_known_digits() for model in self.by_name.values())


def load_models(folders: Mapping[str, Path], champion: str, versions: Mapping[str, str]) -> Models:
    """Loads every model from its folder (model.tflite, model.json, known_digits.npz). Raises DamagedModel."""
    by_name = {name: load_model(folder, versions[name], name) for name, folder in folders.items()}
    card = by_name[champion].card
    return Models(card["dataset"], card["classes"], champion, by_name)
