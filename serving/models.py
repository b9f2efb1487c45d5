"""The models that the service answers with: loaded from folders, checked against their digests and known digits."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recognition.classifier import Classifier
from recognition.out_of_distribution import OODScore

KNOWN_TOLERANCE = 0.01  # greatest difference of a probability on another processor: rounding, not another model


class DamagedModel(Exception):
    """A model's files are missing or are not what was registered. The message names file and digest."""


@dataclass(frozen=True)
class ServedModel:
    """One model with its card (`model.json`) and the digits it must go on answering as it did when it was evaluated."""

    name: str
    version: str
    card: dict[str, Any]
    classifier: Classifier
    known_images: NDArray[np.uint8]
    known_probabilities: NDArray[np.float32]
    ood_score: OODScore | None = None  # None: registered before there was one
    card_page: str | None = None  # its model card as HTML; None: as above

    def answers_known_digits(self) -> bool:
        """Whether the known digits get the probabilities that were recorded with them."""
        answers = self.classifier.probabilities(self.known_images)
        return bool(np.abs(answers - self.known_probabilities).max() <= KNOWN_TOLERANCE)


@dataclass(frozen=True)
class Models:
    """All served models by name, and which of them is champion."""

    dataset: str
    classes: list[str]
    champion: str
    by_name: dict[str, ServedModel]

    def answer_known_digits(self) -> bool:
        """Whether every model does."""
        return all(model.answers_known_digits() for model in self.by_name.values())


def load_models(folders: Mapping[str, Path], champion: str, versions: Mapping[str, str]) -> Models:
    """Load every model from its folder (model.tflite, model.json, known_digits.npz). Raises DamagedModel."""
    by_name = {name: load_model(name, folder, versions[name]) for name, folder in folders.items()}
    card = by_name[champion].card
    return Models(card["dataset"], card["classes"], champion, by_name)


def load_model(name: str, folder: Path, version: str) -> ServedModel:
    """Load the model served under `name` and hold it against its digest and its known digits. Raises DamagedModel."""
    file = folder / "model.tflite"
    try:
        card = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        content = file.read_bytes()
        found = hashlib.sha256(content).hexdigest()
        if found != card["digest"]:
            raise DamagedModel(f"{file}: expected sha256 {card['digest']}, found {found}")
        with np.load(folder / "known_digits.npz", allow_pickle=False) as known:
            model = ServedModel(
                name,
                version,
                card,
                Classifier(content),
                known["images"],
                known["probabilities"],
                OODScore.from_card(card["not_a_digit"]) if "not_a_digit" in card else None,
                page.read_text(encoding="utf-8") if (page := folder / "model_card.html").exists() else None,
            )
    except (OSError, KeyError, ValueError) as error:
        raise DamagedModel(f"{folder}: {error}") from None
    if not model.answers_known_digits():
        raise DamagedModel(f"{file} (sha256 {found}): a known digit gets another answer than when it was evaluated")
    return model
