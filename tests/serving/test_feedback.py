"""Labels: invented ids hold up no others, recent answers are waited for, and few labels wait at a time."""

import asyncio
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from serving.errors import RequestError
from serving.prediction_log import feedback
from serving.prediction_log.feedback import Feedback
from serving.prediction_log.log import Ambiguous, NotLogged, Unreachable
from serving.prediction_log.request_ids import RequestIds, sign


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
    made.use_key(bytes(32))
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
    forged.use_key(bytes(31) + b"1")
    for made in (forged.create(), "f" * 48, "no id"):
        assert asyncio.run(store(Feedback(ids), log, made)) == "unknown_request_id"
    assert log.asked == []
    assert asyncio.run(store(Feedback(ids), log, f"{(made := ids.create())}-2")) == "stored"
    assert log.asked == [(made, 2, 3, "client")]


def test_an_id_without_a_signature_is_looked_up_once(ids: RequestIds) -> None:
    log, made = Log(), RequestIds().create()
    assert asyncio.run(store(Feedback(ids), log, made)) == "unknown_request_id"
    assert log.asked == [(made, None, 3, "client")]  # a second look-up would mean that it was waited for
    log.logged.set()
    assert asyncio.run(store(Feedback(ids), log, made)) == "stored"


def test_an_answer_that_is_still_being_logged_is_waited_for(ids: RequestIds) -> None:
    log = Log()

    async def both() -> str:
        stored = asyncio.create_task(store(Feedback(ids), log, ids.create()))
        while len(log.asked) < 2:
            await asyncio.sleep(0.01)
        log.logged.set()
        return await stored

    assert asyncio.run(asyncio.wait_for(both(), 60)) == "stored"


def test_few_labels_wait_at_the_same_time(ids: RequestIds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feedback, "MAX_WAITING", 3)
    monkeypatch.setattr(feedback, "RECENT_SECONDS", 0.5)
    desk, log = Feedback(ids), Log()

    async def several() -> list[str]:
        return await asyncio.gather(*(store(desk, log, ids.create()) for _ in range(5)))

    assert asyncio.run(several()) == ["unknown_request_id"] * 3 + ["too_many_requests"] * 2
    assert asyncio.run(several()) == ["unknown_request_id"] * 3 + ["too_many_requests"] * 2  # not more, not fewer
    log.logged.set()
    assert asyncio.run(store(desk, log, ids.create())) == "stored"  # the places are free again


@pytest.mark.parametrize(
    ("problem", "status", "code", "said", "headers"),
    [
        (None, 404, "logging_off", "nothing is being logged here", None),
        (NotLogged(), 404, "unknown_request_id", "no answer 'ID' is logged; send its request_id", None),
        (Ambiguous(3), 422, "ambiguous_request_id", "name one: ID-0 to ID-2", None),
        (Unreachable("down"), 503, "database_unavailable", "labels cannot be kept now", {"retry-after": "10"}),
    ],
    ids=["logging off", "not logged", "ambiguous", "unreachable"],
)
def test_a_label_that_cannot_be_stored_is_an_error_that_says_why(
    ids: RequestIds, problem: Exception | None, status: int, code: str, said: str, headers: dict[str, str] | None
) -> None:
    class Failing:
        def label(self, *_: Any) -> None:
            assert problem is not None
            raise problem

    old = f"{0:012x}{ids.create()[12:32]}"
    made = old + sign(bytes(32), old)  # not recent: it is not waited for
    with pytest.raises(RequestError) as raised:
        asyncio.run(Feedback(ids).store(Failing() if problem else None, made, 3, "client"))  # type: ignore[arg-type]
    assert (raised.value.status, raised.value.code, raised.value.headers) == (status, code, headers)
    assert said.replace("ID", made) in raised.value.message


@pytest.mark.parametrize(("ahead", "attempts"), [(0.0, 51), (-2.0, 31), (2.0, 51)])
def test_an_answer_is_waited_for_until_it_is_some_seconds_old(
    ids: RequestIds, monkeypatch: pytest.MonkeyPatch, ahead: float, attempts: int
) -> None:
    now = 1_800_000_000.0

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(time, "time_ns", lambda: int((now + ahead) * 10**9))
    made, log = ids.create(), Log()
    monkeypatch.setattr(time, "time", lambda: now)
    monkeypatch.setattr(feedback, "time", SimpleNamespace(monotonic=lambda: round(now, 3)))
    monkeypatch.setattr(feedback.anyio, "sleep", sleep)
    assert asyncio.run(store(Feedback(ids), log, made)) == "unknown_request_id"
    assert len(log.asked) == attempts  # one in 0.1 s, for 5 s; an id of a clock that is ahead counts as new


def test_few_threads_wait_for_the_database(ids: RequestIds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feedback, "MAX_THREADS", 2)
    desk, running, seen, both = Feedback(ids), set[int](), set[int](), threading.Barrier(2)

    class Slow:
        def label(self, *_: Any) -> None:
            running.add(threading.get_ident())
            both.wait(60)
            seen.add(len(running))
            running.discard(threading.get_ident())

    async def several() -> None:
        await asyncio.gather(*(store(desk, Slow(), ids.create()) for _ in range(8)))  # type: ignore[arg-type]

    asyncio.run(several())
    assert max(seen) == 2
