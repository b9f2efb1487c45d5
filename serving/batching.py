"""Requests that are read in the same turn of the event loop are answered together.

For one small image NumPy's calls cost more than what they compute; under load many requests wait at once anyway.
"""

import asyncio
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recognition.model import Model

Rows = list[dict[str, Any]]
Waiting = list[tuple[NDArray[np.uint8], "asyncio.Future[Rows]"]]


class Batcher:
    """Collects images until the event loop has looked at every request that came in; nobody waits for a clock."""

    def __init__(self) -> None:
        self._waiting: dict[int, tuple[Model, Waiting]] = {}

    async def answer(self, model: Model, images: NDArray[np.uint8]) -> Rows:
        """As `Model.answer`: one answer for each of `images`, uint8 (n, 28, 28)."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._answer_all)
        future: asyncio.Future[Rows] = loop.create_future()
        self._waiting.setdefault(id(model), (model, []))[1].append((images, future))
        return await future

    def _answer_all(self) -> None:
        batches, self._waiting = self._waiting, {}
        for model, waiting in batches.values():
            try:
                rows = model.answer(np.concatenate([images for images, _ in waiting]))
            except Exception as error:  # each request fails with it, as it would have alone
                for _, future in waiting:
                    if not future.done():
                        future.set_exception(error)
                continue
            first = 0
            for images, future in waiting:
                if not future.done():  # a client that went away
                    future.set_result(rows[first : first + len(images)])
                first += len(images)
