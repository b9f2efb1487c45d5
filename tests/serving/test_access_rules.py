"""Who may send which request: AccessMiddleware before a small application. test_access.py tests it in the service."""

import asyncio
import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from serving.middleware.access import AccessMiddleware
from serving.settings import Settings

KEY = "the single key"
OPEN_PATHS = frozenset({"/", "/docs"})
METHODS = ["POST", "PUT", "PATCH", "DELETE"]


async def name_client(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads the body and answers with the client's identity."""
    await Request(scope, receive).body()
    await PlainTextResponse(getattr(Request(scope).state, "client", "nobody"))(scope, receive, send)


@pytest.fixture
def client_of() -> Callable[..., TestClient]:
    """Makes clients, each with an application of its own, from settings and the client's address."""

    def make(address: str = "192.0.2.1", **settings: Any) -> TestClient:
        app = AccessMiddleware(name_client, Settings(**settings), OPEN_PATHS)
        return TestClient(app, base_url="http://localhost", client=(address, 50_000))

    return make


ClientOf = Callable[..., TestClient]


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.mark.parametrize(
    ("allowed", "host", "status"),
    [
        ("", "localhost", 200),
        ("", "LOCALHOST:3000", 200),
        ("", "127.0.0.1:3000", 200),
        ("", "[::1]:3000", 200),
        ("", "evil.example", 403),
        ("", "localhost.evil.example", 403),
        ("", "", 403),
        ("", "[", 403),
        ("Digits.example", "digits.EXAMPLE:80", 200),
        ("digits.example", "localhost", 200),
        ("digits.example", "a.digits.example", 403),
        (" one.example , *.digits.example,", "one.example", 200),
        (" one.example , *.digits.example,", "a.b.digits.example", 200),
        ("*.digits.example", "digits.example", 403),
        ("*.digits.example", "xdigits.example", 403),
        ("digits.example", "", 403),
        ("2001:DB8:0::1", "[2001:db8::1]:3000", 200),
        ("2001:db8::1", "[2001:db8::2]", 403),
        ("*", "evil.example", 200),
        ("*", "[", 200),
    ],
)
def test_only_allowed_hosts_are_answered(client_of: ClientOf, allowed: str, host: str, status: int) -> None:
    answer = client_of(allowed_hosts=allowed).get("/model", headers={"host": host})
    assert answer.status_code == status
    if status == 403:
        assert answer.json()["code"] == "host_not_allowed" and "DIGITS_ALLOWED_HOSTS" in answer.json()["error"]


def test_a_request_without_a_host_is_refused(client_of: ClientOf) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/model", "headers": [], "state": {}}
    asyncio.run(client_of().app(scope, None, send))  # type: ignore[arg-type]
    assert sent[0]["status"] == 403 and b"host_not_allowed" in sent[1]["body"]
    scope["headers"] = [(b"origin", b"https://example.org")]
    asyncio.run(client_of(allowed_hosts="*").app(scope, None, send))  # type: ignore[arg-type]
    assert sent[2]["status"] == 403 and b"origin_not_allowed" in sent[3]["body"]


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz"])
def test_probes_are_answered_whatever_else_holds(client_of: ClientOf, path: str) -> None:
    client = client_of(api_key=KEY, rate_per_minute=1)
    answers = [client.get(path, headers={"host": "10.0.0.1"}) for _ in range(3)]
    assert [(answer.status_code, answer.text) for answer in answers] == [(200, "nobody")] * 3


SITE = "https://example.org"


@pytest.mark.parametrize(
    ("allowed", "headers", "status"),
    [
        ("", {}, 200),  # not a browser
        ("", {"origin": "http://localhost"}, 200),
        ("", {"origin": "http://LOCALHOST"}, 200),
        ("", {"origin": "http://localhost:8000"}, 403),
        ("", {"origin": SITE}, 403),
        ("", {"origin": "null"}, 403),
        ("", {"sec-fetch-site": "same-origin"}, 200),
        ("", {"sec-fetch-site": "none"}, 200),
        ("", {"sec-fetch-site": "same-site"}, 403),
        ("", {"sec-fetch-site": "cross-site"}, 403),
        ("", {"origin": "http://localhost", "sec-fetch-site": "cross-site"}, 403),
        ("", {"origin": "http://behind-a-proxy", "sec-fetch-site": "same-origin"}, 200),
        (SITE, {"origin": SITE, "sec-fetch-site": "cross-site"}, 200),
        (f"http://a.example, {SITE}", {"origin": SITE}, 200),
        ("HTTPS://Example.org:443", {"origin": SITE, "sec-fetch-site": "cross-site"}, 200),
        (SITE, {"origin": "https://example.com", "sec-fetch-site": "cross-site"}, 403),
        (SITE, {"sec-fetch-site": "cross-site"}, 403),
        ("*", {"origin": "https://example.com", "sec-fetch-site": "cross-site"}, 200),
    ],
)
def test_only_allowed_origins_may_change_something(
    client_of: ClientOf, allowed: str, headers: dict[str, str], status: int
) -> None:
    client = client_of(allow_origins=allowed)
    for method in METHODS:
        answer = client.request(method, "/", headers=headers)
        assert answer.status_code == status
        if status == 403:
            assert answer.json()["code"] == "origin_not_allowed" and "DIGITS_ALLOW_ORIGINS" in answer.json()["error"]
            assert str(headers.get("origin") or headers["sec-fetch-site"]) in answer.json()["error"]
    for method in ("GET", "HEAD", "OPTIONS"):
        assert client.request(method, "/", headers=headers).status_code == 200


def test_the_own_origin_follows_the_host_header(client_of: ClientOf) -> None:
    client = client_of(allowed_hosts="digits.example")
    for host, origin in (
        ("Digits.Example:8000", "http://digits.example:8000"),
        ("digits.example", "https://digits.example"),
    ):
        assert client.post("/model", headers={"host": host, "origin": origin}).status_code == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 200),
        ("/docs", 200),
        ("/cards/cnn", 200),
        ("/swagger/swagger-ui.css", 200),
        ("/docs/", 401),
        ("/cards", 401),
        ("/model", 401),
        ("/metrics", 401),
        ("/unknown", 401),
    ],
)
def test_paths_that_are_not_open_need_the_key(client_of: ClientOf, path: str, status: int) -> None:
    client = client_of(api_key=KEY)
    answer = client.get(path)
    assert answer.status_code == status
    if status == 401:
        assert answer.headers["www-authenticate"] == "Bearer" and answer.json()["code"] == "unauthorized"
        assert "Authorization: Bearer" in answer.json()["error"]
    assert client.get(path, headers=bearer(KEY)).status_code == 200
    assert client_of().get(path).status_code == 200  # without a key in the settings, all paths are open


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (f"Bearer {KEY}", 200),
        (f"bearer \t{KEY}\t ", 200),
        (f"BEARER {KEY}", 200),
        ("", 401),
        ("Bearer", 401),
        ("Bearer ", 401),
        (f"Bearer {KEY}x", 401),
        (f"Bearer x{KEY}", 401),
        (f"Bearer {KEY[:-1]}", 401),
        (f"Bearer {KEY.upper()}", 401),
        (f"Bearer {KEY}X", 401),
        (f"Bearer {KEY}\x0b", 401),
        (f"Bearer\xa0{KEY}", 401),
        (f"Basic {KEY}", 401),
        (KEY, 401),
    ],
)
def test_only_the_whole_key_as_a_bearer_token_is_accepted(client_of: ClientOf, sent: str, status: int) -> None:
    client = client_of(api_key=KEY)
    assert client.get("/model", headers={"authorization": sent.encode("latin-1")}).status_code == status  # type: ignore[dict-item]


def test_of_several_tokens_the_first_counts(client_of: ClientOf) -> None:
    right, wrong = (b"authorization", f"Bearer {KEY}".encode()), (b"authorization", b"Bearer wrong")
    client = client_of(api_key=KEY)
    assert client.get("/model", headers=[right, wrong]).status_code == 200  # type: ignore[arg-type]
    assert client.get("/model", headers=[wrong, right]).status_code == 401  # type: ignore[arg-type]


def test_clients_are_identified_by_their_key_or_else_their_address(client_of: ClientOf, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"ann {hashlib.sha256(b'the key of ann').hexdigest()}\n")
    client = client_of(api_keys_file=keys)
    assert client.get("/model", headers=bearer("the key of ann")).text == "key of ann"
    assert client.get("/", headers=bearer("the key of ann")).text == "key of ann"
    assert client.get("/").text == "address 192.0.2.1"
    assert client.get("/model").status_code == 401
    assert client_of().get("/model", headers=bearer("the key of ann")).text == "address 192.0.2.1"

    async def without_address() -> str:
        scope: Scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"host", b"localhost")]}
        scope |= {"state": {}, "client": None}  # a Unix socket
        await AccessMiddleware(ignore, Settings(), OPEN_PATHS)(scope, ignore, ignore)  # type: ignore[arg-type]
        return str(scope["state"]["client"])

    assert asyncio.run(without_address()) == "address unknown"


async def ignore(*_: Any) -> None:
    """An application, or the sending of a message, without an effect."""


def test_each_client_has_its_own_rate(client_of: ClientOf, tmp_path: Path) -> None:
    client = client_of(rate_per_minute=2, api_key=KEY)
    assert [client.get("/model", headers=bearer(KEY)).status_code for _ in range(3)] == [200, 200, 429]
    # Guesses of keys count for the address, and end with 429 also for the right guess that comes too late
    assert [client.get("/model", headers=bearer(f"guess {n}")).status_code for n in range(3)] == [401, 401, 429]
    for path in ("/", "/cards/cnn"):
        assert {client.get(path).status_code for _ in range(3)} == {200}
    other = TestClient(client.app, base_url="http://localhost", client=("192.0.2.2", 50_000))
    assert other.get("/model").status_code == 401


def test_metrics_have_no_rate_but_guesses_of_their_key_do(client_of: ClientOf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_800_000_007.5)  # within a minute
    client = client_of(rate_per_minute=2, api_key=KEY)
    assert [client.get("/metrics", headers=bearer(f"guess {n}")).status_code for n in range(3)] == [401, 401, 429]
    assert {client.get("/metrics", headers=bearer(KEY)).status_code for _ in range(3)} == {200}
    assert client.get("/model", headers=bearer("guess 4")).status_code == 429  # guesses count together
    open_to_all = client_of(rate_per_minute=2)
    assert {open_to_all.get("/metrics").status_code for _ in range(3)} == {200}


def test_without_a_rate_there_is_no_limit(client_of: ClientOf) -> None:
    client = client_of()
    assert {client.get("/model").status_code for _ in range(50)} == {200}


def test_a_client_above_its_rate_is_answered_again_after_retry_after(
    client_of: ClientOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_800_000_007.5
    monkeypatch.setattr(time, "time", lambda: now)
    client = client_of(rate_per_minute=2)
    assert [client.get("/model").status_code for _ in range(2)] == [200, 200]
    refused = client.get("/model")
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert refused.json()["error"].startswith("more than 2 requests in a minute; wait until Retry-After")
    wait = int(refused.headers["retry-after"])
    assert wait == 53  # until the next minute, rounded up
    now += wait - 1
    assert client.get("/model").status_code == 429
    now += 0.4
    assert client.get("/model").headers["retry-after"] == "1"
    now += 0.6
    assert client.get("/model").status_code == 200


def test_a_path_with_a_line_break_is_not_found(client_of: ClientOf) -> None:
    client = client_of(api_key=KEY)
    answer = client.get("/model%0a", headers=bearer(KEY))
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert client.get("/model%0a", headers={"host": "evil.example"}).status_code == 403


def test_other_messages_than_requests_pass() -> None:
    passed: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        passed.append(scope["type"])

    asyncio.run(AccessMiddleware(app, Settings(api_key=KEY), OPEN_PATHS)({"type": "lifespan"}, ignore, ignore))  # type: ignore[arg-type]
    assert passed == ["lifespan"]


def test_a_missing_key_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        AccessMiddleware(name_client, Settings(api_keys_file=tmp_path / "missing"), OPEN_PATHS)
