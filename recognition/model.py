"""A model with the files that travel with it, from the registry to every service and batch: how it answers images."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recognition.classifier import Classifier
from recognition.out_of_distribution import OODScore
from recognition.shapes import Shape, penalty

MODEL_FILE: Final = "model.tflite"
CARD_FILE: Final = "model.json"
# All files of a model. The page with the model card may be missing: early versions have none.
FILES: Final = (MODEL_FILE, CARD_FILE, "known_digits.npz", "model_card.html")
# Largest accepted difference of a known digit's probability. Another processor rounds differently; 0.01 allows that.
PROBABILITY_TOLERANCE: Final = 0.01


class DamagedModel(Exception):
    """A model's files are missing or differ from what was registered. The message names the file and the digest."""


@dataclass(frozen=True)
class Model:
    """One model. `file`: the exported LiteRT file; `card`: the content of its model.json.

    `version`: its number in the registry, None for a file from elsewhere. Files are read on first use.
    """

    name: str
    version: str | None
    file: Path
    card: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """sha256 of the model file, in hexadecimal."""
        return str(self.card["digest"])

    @property
    def content_digest(self) -> str:
        """sha256 of everything that decides answers: model file, classes, confidence threshold and scores."""
        keys = ("name", "dataset", "classes", "digest", "threshold", "not_a_digit")
        content = {key: self.card.get(key) for key in keys}
        for key in ("whole_digit", "segment"):
            if key in self.card:  # else the digest of an earlier version would change
                content[key] = self.card[key]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def folder(self) -> Path:
        """The folder that holds FILES."""
        return self.file.parent

    @cached_property
    def classifier(self) -> Classifier:
        """The model, ready to run. Raises DamagedModel if the file is missing, altered or no such model."""
        try:
            content = self.file.read_bytes()
            found = hashlib.sha256(content).hexdigest()
            if found != self.digest:
                raise DamagedModel(f"{self.file}: expected sha256 {self.digest}, found {found}")
            return Classifier(content)
        except (OSError, ValueError) as error:
            raise DamagedModel(f"{self.file} cannot be used as a model: {error}") from None

    @cached_property
    def ood_score(self) -> OODScore | None:
        """The out-of-distribution score; None for a version that was registered without one."""
        return OODScore.from_card(self.card["not_a_digit"]) if "not_a_digit" in self.card else None

    @cached_property
    def segment_score(self) -> OODScore | None:
        """The log-odds that a segment of a number is not exactly one digit; None for an earlier version."""
        return OODScore.from_card(self.card["segment"]) if "segment" in self.card else None

    @cached_property
    def whole_digit_score(self) -> OODScore | None:
        """The same by the image alone, without the segment's shape; only earlier versions have it."""
        return OODScore.from_card(self.card["whole_digit"]) if "whole_digit" in self.card else None

    @cached_property
    def card_page(self) -> str | None:
        """The model card as an HTML page; None for a version that was registered without one."""
        page = self.folder / "model_card.html"
        return page.read_text(encoding="utf-8") if page.exists() else None

    @cached_property
    def known_digits(self) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Images (classes, 28, 28) and their probabilities (classes, classes), recorded by the evaluation."""
        with np.load(self.folder / "known_digits.npz", allow_pickle=False) as content:
            return content["images"], content["probabilities"]

    def matches_known_digits(self, probabilities: NDArray[np.floating[Any]] | None = None) -> bool:
        """Whether `probabilities` (by default the model's own answers now) are those recorded for the known digits."""
        images, recorded = self.known_digits
        found = self.classifier.probabilities(images) if probabilities is None else probabilities
        return bool(np.abs(found - recorded).max() <= PROBABILITY_TOLERANCE)

    def digit_score(self, images: NDArray[np.uint8], shapes: NDArray[np.float32]) -> NDArray[np.float64]:
        """Score (n,) of segments of a number: images, uint8 (n, 28, 28), and shapes, float32 (n, SHAPES).

        The log-odds that a segment is one digit, plus the log-probability of its class. The sum over all segments of a
        line is comparable between groupings. For earlier versions it is the log-probability, once for each component,
        minus penalties.
        """
        probabilities = self.classifier.probabilities(images)
        confidence = np.log(probabilities.max(axis=1).astype(np.float64) + 1e-6)
        if self.segment_score is not None:
            return np.asarray(confidence - self.segment_score(probabilities, images, shapes))
        if self.whole_digit_score is not None:
            confidence -= np.logaddexp(0, self.whole_digit_score(probabilities, images))
        return np.asarray(confidence * shapes[:, Shape.SHARE] - penalty(shapes))

    def answer(self, images: NDArray[np.uint8]) -> list[dict[str, Any]]:
        """Answers to images, uint8 (n, 28, 28), ink bright, in order: dictionaries with the fields of `Answer`.

        The reason is "blank", "not_a_digit" (by the OOD score), "low_confidence" (below the card's threshold) or None.
        """
        inked = np.any(images, axis=(1, 2)).tolist()
        probabilities = self.classifier.probabilities(images)
        ood = self.ood_score.rejects(probabilities, images).tolist() if self.ood_score else [False] * len(images)
        predictions, confidences = probabilities.argmax(axis=1).tolist(), probabilities.max(axis=1).tolist()
        threshold = self.card["threshold"]
        answers = []
        for index, row in enumerate(probabilities.tolist()):
            reason = "not_a_digit" if ood[index] else "low_confidence" if confidences[index] < threshold else None
            reason = reason if inked[index] else "blank"
            answers.append(
                {
                    "prediction": predictions[index],
                    "confidence": confidences[index],
                    "probabilities": row,
                    "model": self.name,
                    "version": self.version,
                    "uncertain": reason is not None,
                    "reason": reason,
                }
            )
        return answers


def read_model(folder: Path, version: str | None, name: str | None = None) -> Model:
    """The model in a folder, by its card; nothing else is read yet. Raises OSError or ValueError without a card."""
    card = json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))
    return Model(name or card["name"], version, folder / MODEL_FILE, card)


def load_model(folder: Path, version: str | None, name: str | None = None) -> Model:
    """Read all files of a model and verify its digest and its known digits. Raises DamagedModel.

    `name`: the name it answers under, by default the one in its card.
    """
    try:
        model = read_model(folder, version, name)
        same = model.matches_known_digits()
        # Read now: the folder may be deleted while the model answers
        _ = model.ood_score, model.segment_score, model.whole_digit_score, model.card_page
    except (OSError, KeyError, ValueError) as error:
        raise DamagedModel(f"{folder}: {error}") from None
    if not same:
        raise DamagedModel(f"{model.file} (sha256 {model.digest}): a known digit is answered differently than recorded")
    return model
