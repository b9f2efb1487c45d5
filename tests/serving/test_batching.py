"""Requests of one turn of the event loop share one call, and each gets its own answers."""

import asyncio
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from serving import batching
from serving.batching import Batcher

CNN, MLP = (SimpleNamespace(name=name) for name in ("cnn", "mlp"))


def numbered(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.uint8)[:, None, None] * np.ones((28, 28), np.uint8)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[int]]]:
    """What is asked of models that name each image's number, and refuse 255."""
    made: list[tuple[str, list[int]]] = []

    def answer(model: Any, images: np.ndarray) -> list[dict[str, Any]]:
        found = images[:, 0, 0].tolist()
        made.append((model.name, found))
        if 255 in found:
            raise ValueError("refused")
        return [{"model": model.name, "number": number} for number in found]

    monkeypatch.setattr(batching, "answer", answer)
    return made


def test_each_gets_its_own_answers_and_models_are_asked_once(calls: list[tuple[str, list[int]]]) -> None:
    async def ask() -> list[Any]:
        batcher = Batcher()
        wanted = (CNN, numbered(1)), (MLP, numbered(2, 3)), (CNN, numbered(4, 5)), (CNN, numbered(6))
        answers = await asyncio.gather(*(batcher.answer(model, images) for model, images in wanted))  # type: ignore[arg-type]
        again = await batcher.answer(MLP, numbered(7))  # type: ignore[arg-type]
        return [*answers, again]

    answers = asyncio.run(ask())
    assert [[(row["model"], row["number"]) for row in rows] for rows in answers] == [
        [("cnn", 1)],
        [("mlp", 2), ("mlp", 3)],
        [("cnn", 4), ("cnn", 5)],
        [("cnn", 6)],
        [("mlp", 7)],
    ]
    assert calls == [("cnn", [1, 4, 5, 6]), ("mlp", [2, 3]), ("mlp", [7])]


def test_one_model_s_failure_is_not_the_other_s_and_who_left_is_in_nobody_s_way(calls: list[Any]) -> None:
    async def ask() -> list[Any]:
        batcher = Batcher()
        broken = [asyncio.ensure_future(batcher.answer(CNN, numbered(n))) for n in (255, 1)]  # type: ignore[arg-type]
        left, whole = (asyncio.ensure_future(batcher.answer(MLP, numbered(n))) for n in (8, 9))  # type: ignore[arg-type]
        await asyncio.sleep(0)  # all four wait now
        left.cancel()
        return await asyncio.gather(*broken, left, whole, return_exceptions=True)

    *broken, left, whole = asyncio.run(ask())
    assert all(isinstance(error, ValueError) for error in broken)
    assert isinstance(left, asyncio.CancelledError) and whole == [{"model": "mlp", "number": 9}]
