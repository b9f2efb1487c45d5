"""Requests of one turn of the event loop share one call, and each gets its own answers."""

import asyncio
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from serving.inference.batching import MAX_BATCH, Batcher

CALLS: list[tuple[str, list[int]]] = []


def numbered(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.uint8)[:, None, None] * np.ones((28, 28), np.uint8)


def model(name: str) -> Any:
    """A model that answers with each image's number and fails for 255."""

    def answer(images: np.ndarray) -> list[dict[str, Any]]:
        numbers = images[:, 0, 0].tolist()
        CALLS.append((name, numbers))
        if 255 in numbers:
            raise ValueError("refused")
        return [{"model": name, "number": number, "prediction": 0, "reason": None} for number in numbers]

    return SimpleNamespace(name=name, version="1", card={"classes": ["0"]}, answer=answer)


CNN, MLP = model("cnn"), model("mlp")


@pytest.fixture
def calls() -> list[tuple[str, list[int]]]:
    """The calls of the models: name and numbers."""
    CALLS.clear()
    return CALLS


def test_each_gets_its_own_answers_and_models_are_asked_once(calls: list[tuple[str, list[int]]]) -> None:
    async def ask() -> list[Any]:
        batcher = Batcher()
        wanted = (CNN, numbered(1)), (MLP, numbered(2, 3)), (CNN, numbered(4, 5)), (CNN, numbered(6))
        answers = await asyncio.gather(*(batcher.answer(model, images) for model, images in wanted))
        again = await batcher.answer(MLP, numbered(7))
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


def test_a_call_has_no_more_images_than_a_batch(calls: list[tuple[str, list[int]]]) -> None:
    async def ask() -> list[Any]:
        batcher = Batcher()
        sizes = [MAX_BATCH, 1, 40, 30, 10]
        answers = await asyncio.gather(*(batcher.answer(CNN, numbered(*[7] * size)) for size in sizes))
        assert [len(rows) for rows in answers] == sizes
        return answers

    asyncio.run(ask())
    assert [len(numbers) for _, numbers in calls] == [MAX_BATCH, 41, 40]


def test_one_model_s_failure_is_not_the_other_s_and_who_left_is_in_nobody_s_way(calls: list[Any]) -> None:
    async def ask() -> list[Any]:
        batcher = Batcher()
        broken = [asyncio.ensure_future(batcher.answer(CNN, numbered(n))) for n in (255, 1)]
        left, whole = (asyncio.ensure_future(batcher.answer(MLP, numbered(n))) for n in (8, 9))
        await asyncio.sleep(0)  # all four wait now
        left.cancel()
        return await asyncio.gather(*broken, left, whole, return_exceptions=True)

    *broken, left, whole = asyncio.run(ask())
    assert all(isinstance(error, ValueError) for error in broken)
    assert isinstance(left, asyncio.CancelledError)
    assert [(row["model"], row["number"]) for row in whole] == [("mlp", 9)]
