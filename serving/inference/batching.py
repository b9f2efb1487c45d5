"""Dynamic batching: requests that arrive in the same iteration of the event loop share one model call.

For a single small image, the overhead of NumPy's calls exceeds the computation.
"""

import asyncio
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recognition.model import Model

Rows = list[dict[str, Any]]
MAX_BATCH = 64  # images per call, which keeps it below 5 ms; other events are handled between two calls
Waiting = deque[tuple[NDArray[np.uint8], "asyncio.Future[Rows]"]]


class Batcher:
    """Collects the images of all requests that have arrived. There is no timer, so batching adds no delay."""

    def __init__(self) -> None:
        self._waiting: dict[int, tuple[Model, Waiting]] = {}

    async def answer(self, model: Model, images: NDArray[np.uint8]) -> Rows:
        """Answers `images`, uint8 (n, 28, 28), at most MAX_BATCH, as `Model.answer` does."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Rows] = loop.create_future()
        if id(model) not in self._waiting:
            self._waiting[id(model)] = model, deque()
            loop.call_soon(self._answer_batch, id(model))
        self._waiting[id(model)][1].append((images, future))
        return await future

    def _answer_batch(self, key: int) -> None:
        """Answers the oldest requests of a model, up to MAX_BATCH images, and schedules the rest."""
        model, waiting = self._waiting[key]
        batch = [waiting.popleft()]
        count = len(batch[0][0])
        while waiting and count + len(waiting[0][0]) <= MAX_BATCH:
            batch.append(waiting.popleft())
            count += len(batch[-1][0])
        if waiting:
            asyncio.get_running_loop().call_soon(self._answer_batch, key)
        else:
            del self._waiting[key]
        try:
            rows = model.answer(np.concatenate([images for images, _ in batch]) if len(batch) > 1 else batch[0][0])
        except Exception as error:  # every request of the batch fails with this error
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        first = 0
        for images, future in batch:
            if not future.done():  # done: the client has disconnected
                future.set_result(rows[first : first + len(images)])
            first += len(images)
