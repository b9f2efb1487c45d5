"""A challenger beside the champion: its answers are logged (shadow), or a share of the clients get them (canary)."""

import hashlib
from collections.abc import Iterable
from typing import Any

from recognition.model import Model
from serving.inference.served_models import Models


class Challenger:
    """Decides which model answers a request for the champion, and which other model's answers are logged.

    Without a name, with a name that is not served, or if the challenger has become champion, there is no challenger.
    """

    def __init__(self, name: str, share: float) -> None:
        """`share`: of the clients that the challenger answers, 0..1."""
        self._name, self._share = name, share

    def choose(self, models: Models, name: Any, client: str) -> Model:
        """The model for a request of `client`. Raises RequestError 404 or 422 for a wrong name."""
        chosen = models.choose(name)
        challenger = self._of(models)
        return challenger if name == "champion" and challenger and self._gets_challenger(client, challenger) else chosen

    def shadow(self, models: Models, answered: Iterable[str]) -> Model | None:
        """The model whose answers are to be logged too: the challenger if the champion answered, and vice versa.

        `answered`: names of the models that answered. None if both did, or neither.
        """
        if (challenger := self._of(models)) is None:
            return None
        missing = {models.champion, challenger.name} - set(answered)
        return models.by_name[missing.pop()] if len(missing) == 1 else None

    def _of(self, models: Models) -> Model | None:
        return models.by_name.get(self._name) if self._name != models.champion else None

    def _gets_challenger(self, client: str, challenger: Model) -> bool:
        """Always the same for a client and a challenger, at all instances. Another challenger has other clients."""
        digest = hashlib.sha256(f"{challenger.digest} {client}".encode()).digest()
        return int.from_bytes(digest[:8]) < self._share * 2**64
