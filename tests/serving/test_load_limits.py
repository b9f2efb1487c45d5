"""Limits on concurrent requests, bytes and time, and on the bodies of BentoML's own route, with small applications."""

import asyncio
import json
from typing import Any

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.errors import JSONResponse, RequestError
from serving.middleware import load_limits
from serving.middleware.body_limit import BodyLimitMiddleware
from serving.middleware.load_limits import LoadLimitsMiddleware
from serving.settings import Settings

JSON = [(b"content-type", b"application/json")]


async def ask(app: ASGIApp, path: str = "/predict", *body: bytes, method: str = "POST", **more: Any) -> dict[str, Any]:
    """The status and the JSON of an application's response. `body`: its chunks; None as the last: it does not end."""
    chunks, sent = list(body or (b"a",)), list[Message]()

    async def receive() -> Message:
        if not chunks:
            return {"type": "http.disconnect"}
        if chunks[0] is None:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": chunks.pop(0)} | ({"more_body": True} if chunks else {})

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": JSON, "state": {}, **more}
    await app(scope, receive, send)
    return {"status": sent[0]["status"], "headers": dict(sent[0]["headers"]), **json.loads(sent[1]["body"])}


class Work:
    """A route that reads the body, waits for `end`, and answers with the body."""

    def __init__(self, ended: bool = False) -> None:
        self.end, self.running = asyncio.Event(), 0
        if ended:
            self.end.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", scope["method"] == "POST"
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        self.running += 1
        await self.end.wait()
        await JSONResponse({"body": body.decode()})(scope, receive, send)


async def until(condition: Any) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0)


def test_a_slow_sender_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_limits, "BODY_SECONDS", 0.1)
    limits = LoadLimitsMiddleware(Work(ended=True), Settings(deadline_seconds=3600))
    answered = asyncio.run(ask(limits, "/predict", b"a", b"b", None))  # type: ignore[arg-type]
    assert answered["status"] == 400 and answered["code"] == "incomplete_body"
    assert "did not arrive within 0.1 s" in answered["error"]


@pytest.mark.parametrize("method", ["POST", "GET", "HEAD"])
def test_work_beyond_the_deadline_is_given_up(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_limits, "BODY_SECONDS", 1e6)
    limits = LoadLimitsMiddleware(Work(), Settings(deadline_seconds=0.1))
    answered = asyncio.run(ask(limits, method=method))
    assert answered["status"] == 503 and answered["code"] == "deadline_exceeded" and "within 0.1 s" in answered["error"]
    assert answered["headers"][b"retry-after"] == b"1"


def test_the_deadline_begins_when_the_body_has_arrived(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_limits, "BODY_SECONDS", 0.05)

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await asyncio.sleep(0.2)
        await JSONResponse({})(scope, receive, send)

    assert asyncio.run(ask(LoadLimitsMiddleware(slow, Settings(deadline_seconds=60))))["status"] == 200


def test_a_deadline_after_the_response_has_begun_ends_the_connection() -> None:
    async def begin(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await JSONResponse({})(scope, receive, send)
        await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        asyncio.run(ask(LoadLimitsMiddleware(begin, Settings(deadline_seconds=0.1))))


def test_a_timeout_of_the_application_is_not_the_deadline() -> None:
    async def fail(scope: Scope, receive: Receive, send: Send) -> None:
        raise TimeoutError("the database's own")

    with pytest.raises(TimeoutError, match="the database's own"):
        asyncio.run(ask(LoadLimitsMiddleware(fail, Settings())))


def test_requests_beyond_a_workers_share_are_refused_until_others_end() -> None:
    async def several(limits: LoadLimitsMiddleware, work: Work) -> list[int]:
        first = [asyncio.create_task(ask(limits)) for _ in range(2)]
        await until(lambda: work.running == 2)
        refused = await ask(limits)
        assert refused["code"] == "too_many_requests" and refused["headers"][b"retry-after"] == b"1"
        others = [asyncio.create_task(ask(limits, path)) for path in ("/livez", "/readyz", "/healthz", "/metrics")]
        await until(lambda: work.running == 6)
        work.end.set()
        answered = await asyncio.gather(*first, *others)
        return [refused["status"], *[each["status"] for each in answered], (await ask(limits))["status"]]

    async def twice() -> list[list[int]]:
        work = Work()
        limits = LoadLimitsMiddleware(work, Settings(max_in_flight=3, workers=2))  # two at a time
        first = await several(limits, work)
        work.end, work.running = asyncio.Event(), 0
        return [first, await several(limits, work)]

    assert asyncio.run(twice()) == [[429] + [200] * 7] * 2


def test_a_request_that_fails_frees_its_place() -> None:
    async def fail(scope: Scope, receive: Receive, send: Send) -> None:
        raise ValueError("a defect")

    async def several() -> None:
        limits = LoadLimitsMiddleware(fail, Settings(max_in_flight=1))
        for _ in range(2):
            with pytest.raises(ValueError, match="a defect"):
                await ask(limits)

    asyncio.run(several())


def test_bodies_of_a_worker_have_a_limit_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_limits, "MAX_BUFFERED_BYTES", 5)

    async def several() -> list[str]:
        work = Work()
        limits = LoadLimitsMiddleware(work, Settings())
        first = asyncio.create_task(ask(limits, "/predict", b"ab", b"c"))
        await until(lambda: work.running)
        with pytest.raises(RequestError, match="too many large requests") as raised:  # together 6 bytes
            await ask(limits, "/predict", b"de", b"f")
        assert raised.value.status == 429
        second = asyncio.create_task(ask(limits, "/predict", b"gh"))
        await until(lambda: work.running == 2)
        work.end.set()
        ended = await asyncio.gather(first, second)
        third = await ask(limits, "/predict", b"ijklm")  # the bytes of ended requests do not count
        with pytest.raises(RequestError):
            await ask(limits, "/predict", b"nopqrs")
        return [each["body"] for each in (*ended, third)]

    assert asyncio.run(several()) == ["abc", "gh", "ijklm"]


def test_other_messages_than_requests_pass() -> None:
    passed: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        passed.append(scope["type"])

    async def none() -> Message:
        return {}

    for limits in (LoadLimitsMiddleware(app, Settings()), BodyLimitMiddleware(app, Settings(), frozenset())):
        asyncio.run(limits({"type": "lifespan"}, none, none))  # type: ignore[arg-type]
    assert passed == ["lifespan"] * 2


PATH = "/bentoml/predict_pixels"


@pytest.mark.parametrize(
    ("request_of", "status", "expected"),
    [
        ({"body": [b"123", b"45"]}, 200, {"body": "12345"}),
        ({"body": [b"123", b"456"]}, 413, {"code": "body_too_large"}),
        ({"body": [b""]}, 400, {"code": "empty_body"}),
        ({"body": [b"1"], "headers": []}, 415, {"code": "unsupported_content_type"}),
        ({"body": [b"123456"], "path": "/predict"}, 200, {"body": "123456"}),
        ({"body": [b"123456"], "method": "GET"}, 200, {"body": ""}),
    ],
    ids=["within", "too large", "empty", "no JSON", "another path", "another method"],
)
def test_bodies_of_the_named_paths_are_bounded(
    request_of: dict[str, Any], status: int, expected: dict[str, str]
) -> None:
    async def one() -> dict[str, Any]:
        limited = BodyLimitMiddleware(Work(ended=True), Settings(max_body_bytes=5), frozenset({PATH}))
        given = {"path": PATH, **request_of}
        return await ask(limited, given.pop("path"), *given.pop("body"), **given)

    answered = asyncio.run(one())
    assert answered["status"] == status and expected.items() <= answered.items()
    if answered.get("code") == "unsupported_content_type":
        assert answered["error"].endswith("send the arguments as JSON")


def test_the_application_notices_that_the_client_has_left() -> None:
    async def listen(scope: Scope, receive: Receive, send: Send) -> None:
        messages = [await receive() for _ in range(2)]
        await JSONResponse({"types": [message["type"] for message in messages]})(scope, receive, send)

    limited = BodyLimitMiddleware(listen, Settings(), frozenset({PATH}))
    assert asyncio.run(ask(limited, PATH, b"1"))["types"] == ["http.request", "http.disconnect"]
