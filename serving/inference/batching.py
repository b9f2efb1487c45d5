"""Dynamic batching: requests that arrive in the same iteration of the event loop share one model call.

For a single small image, the overhead of NumPy's calls exceeds the computation.
"""

import asyncio
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recognition.model import Model
from serving.inference.answering import Rows, answer

MAX_BATCH = 64  # images per call, which keeps it below 5 ms


@dataclass(eq=False)
class _Waiting:
    images: NDArray[np.uint8]
    rows: Rows | None = None
    error: Exception | None = None


class Batcher:
    """Collects the images of all requests that have arrived. There is no timer, so batching adds no delay."""

    def __init__(self) -> None:
        self._waiting: dict[int, deque[_Waiting]] = {}

    async def answer(self, model: Model, images: NDArray[np.uint8]) -> Rows:
        """Answers `images`, uint8 (n, 28, 28), at most MAX_BATCH, as `Model.answer` does."""
        own = _Waiting(images)
        waiting = self._waiting.setdefault(id(model), deque())
        waiting.append(own)
        await asyncio.sleep(0)  # the other requests join; the one that continues first answers for all of them
        while own.rows is None and own.error is None:
            _answer_batch(model, waiting)
        if not waiting:
            self._waiting.pop(id(model), None)
        if own.error is not None:
            raise own.error
        assert own.rows is not None
        return own.rows


def _answer_batch(model: Model, waiting: deque[_Waiting]) -> None:
    """Answers the oldest requests, up to MAX_BATCH images. All requests of a batch fail with its error."""
    batch = [waiting.popleft()]
    count = len(batch[0].images)
    while waiting and count + len(waiting[0].images) <= MAX_BATCH:
        batch.append(waiting.popleft())
        count += len(batch[-1].images)
    try:
        rows = answer(model, np.concatenate([one.images for one in batch]) if len(batch) > 1 else batch[0].images)
    except Exception as error:
        for one in batch:
            one.error = error
        return
    first = 0
    for one in batch:
        one.rows = rows[first : first + len(one.images)]
        first += len(one.images)
