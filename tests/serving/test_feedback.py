"""Labels: invented ids never reach the database, recent answers are waited for, and few labels wait at a time."""

import asyncio
import threading
from typing import Any

import pytest

from serving.errors import RequestError
from serving.prediction_log import feedback
from serving.prediction_log.feedback import Feedback
from serving.prediction_log.log import NotLogged
from serving.prediction_log.request_ids import RequestIds


class Log:
    """A prediction log that does not contain an answer until `logged` is set."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.logged = threading.Event()

    def label(self, *arguments: Any) -> None:
        self.asked.append(arguments)
        if not self.logged.is_set():
            raise NotLogged


@pytest.fixture
def ids() -> RequestIds:
    made = RequestIds()
    made.use_key(bytes(32), 0.0)
    return made


async def store(desk: Feedback, log: Log, request_id: str) -> str:
    """The code of the error, or `stored`."""
    try:
        await desk.store(log, request_id, 3, "client")  # type: ignore[arg-type]
    except RequestError as error:
        return str(error.code)
    return "stored"


def test_an_invented_id_is_refused_without_asking_the_database(ids: RequestIds) -> None:
    log, forged = Log(), RequestIds()
    log.logged.set()
    forged.use_key(bytes(31) + b"1", 0.0)
    for made in (forged.create(), RequestIds().create(), "f" * 48, "no id"):
        assert asyncio.run(store(Feedback(ids), log, made)) == "unknown_request_id"
    assert log.asked == []
    assert asyncio.run(store(Feedback(ids), log, f"{(made := ids.create())}-2")) == "stored"
    assert log.asked == [(made, 2, 3, "client")]


def test_an_answer_that_is_still_being_logged_is_waited_for(ids: RequestIds) -> None:
    log = Log()

    async def both() -> str:
        stored = asyncio.create_task(store(Feedback(ids), log, ids.create()))
        await asyncio.sleep(0.25)
        log.logged.set()
        return await stored

    assert asyncio.run(both()) == "stored" and len(log.asked) > 1


def test_few_labels_wait_at_the_same_time(ids: RequestIds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feedback, "MAX_WAITING", 3)
    monkeypatch.setattr(feedback, "RECENT_SECONDS", 0.5)
    desk, log = Feedback(ids), Log()

    async def several() -> list[str]:
        return await asyncio.gather(*(store(desk, log, ids.create()) for _ in range(5)))

    assert asyncio.run(several()) == ["unknown_request_id"] * 3 + ["too_many_requests"] * 2
    log.logged.set()
    assert asyncio.run(store(desk, log, ids.create())) == "stored"  # the places are free again
