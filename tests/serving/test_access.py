"""Keys, limits and logs of the service, served with settings of its own."""

import hashlib
import json
import re
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from pipeline.deployment import bento_server
from pipeline.files import read_json
from tests.conftest import Project, avoid_the_end_of_a_minute, serve
from tests.serving.test_hostile import saved, seven

pytestmark = pytest.mark.slow

KEY = "a-key-of-the-tests"
GUARDED = ["/predict", "/compare", "/predict_number", "/predict_pixels", "/model", "/metrics", "/schema.json"]
OPEN = ["/", "/app.js", "/report", "/cards/cnn", "/docs", "/docs.json", "/livez", "/readyz"]
OPEN += ["/swagger/swagger-ui.css", "/swagger/swagger-ui-bundle.js"]


@pytest.fixture(scope="module")
def tag(project: Project) -> str:
    """The Bento of the small project."""
    return str(read_json(project.folder / "reports" / "bento.json")["bento"])


@pytest.fixture(scope="module")
def locked(project: Project, tag: str) -> Iterator[str]:
    """The service with a key, two workers and few requests at once."""
    with serve(project, tag, DIGITS_API_KEY=KEY, DIGITS_WORKERS="2", DIGITS_MAX_IN_FLIGHT="4") as url:
        yield url


def ask(url: str, path: str, **headers: str) -> requests.Response:
    if path in ("/model", "/metrics", "/schema.json"):
        return requests.get(f"{url}{path}", headers=headers, timeout=30)
    if path == "/predict_pixels":
        return requests.post(f"{url}{path}", json={"images": [[[0] * 28] * 28]}, headers=headers, timeout=30)
    return requests.post(f"{url}{path}", data=saved(seven()), headers=headers, timeout=30)


@pytest.mark.parametrize("path", GUARDED)
@pytest.mark.parametrize("sent", ["", "Bearer", "Bearer wrong", f"Bearer {KEY}x", f"Basic {KEY}", KEY, "Bearer \xff"])
def test_without_the_key_nothing_is_answered(locked: str, path: str, sent: str) -> None:
    answer = ask(locked, path, **({"authorization": sent} if sent else {}))
    assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
    assert "Authorization: Bearer" in answer.json()["error"] and KEY not in answer.text


@pytest.mark.parametrize("path", GUARDED)
def test_with_the_key_everything_is(locked: str, path: str) -> None:
    assert ask(locked, path, authorization=f"Bearer {KEY}").status_code == 200


@pytest.mark.parametrize("path", OPEN)
def test_what_people_read_is_open(locked: str, path: str) -> None:
    assert requests.get(f"{locked}{path}", timeout=30).status_code == 200


@pytest.mark.parametrize("path", ["//model", "/model/", "/./model", "/docs/../model", "/%6dodel", "/MODEL", "/model;x"])
def test_no_other_spelling_of_a_path_avoids_the_key(locked: str, path: str) -> None:
    host, port = locked.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:  # as it stands, not made plain
        connection.sendall(f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.split(b" ")[1] in (b"401", b"404") and b"champion" not in answer


def test_more_at_once_than_allowed_are_told_to_come_back(locked: str) -> None:
    host, port = locked.removeprefix("http://").split(":")
    fields = f"host: localhost\r\nauthorization: Bearer {KEY}\r\ncontent-length: 100"
    head = f"POST /predict HTTP/1.1\r\n{fields}\r\n\r\n".encode()
    waiting = [socket.create_connection((host, int(port)), timeout=10) for _ in range(40)]
    try:
        for connection in waiting:  # requests whose bodies are yet to come
            connection.sendall(head)
        refused: set[socket.socket] = set()
        while answered := select.select(list(set(waiting) - refused), [], [], 1 if len(refused) >= 36 else 8)[0]:
            for connection in answered:
                answer = connection.recv(4096)
                assert answer.startswith(b"HTTP/1.1 429") and b"retry-after: 1" in answer.lower()
            refused |= set(answered)
        assert 36 <= len(refused) <= 38  # at most two of each worker's are still waited for
        assert requests.get(f"{locked}/livez", timeout=30).status_code == 200
        assert requests.get(f"{locked}/readyz", timeout=30).status_code == 200
        assert ask(locked, "/metrics", authorization=f"Bearer {KEY}").status_code == 200
    finally:
        for connection in waiting:
            connection.close()
    deadline = time.monotonic() + 30
    while ask(locked, "/model", authorization=f"Bearer {KEY}").status_code != 200:
        assert time.monotonic() < deadline, "places of requests that were given up are not free again"
        time.sleep(0.2)


def test_a_client_has_its_rate_and_guesses_no_keys(project: Project, tag: str) -> None:
    with serve(project, tag, DIGITS_API_KEY=KEY, DIGITS_RATE_PER_MINUTE="5") as url:
        avoid_the_end_of_a_minute()
        guesses = [ask(url, "/model", authorization=f"Bearer guess-{number}") for number in range(7)]
        assert [answer.status_code for answer in guesses] == [401] * 5 + [429] * 2
        assert 1 <= int(guesses[-1].headers["retry-after"]) <= 60 and "Retry-After" in guesses[-1].json()["error"]
        avoid_the_end_of_a_minute()
        good = [ask(url, "/model", authorization=f"Bearer {KEY}").status_code for _ in range(6)]
        assert good == [200] * 5 + [429]  # who has the key is counted apart from who has not
        assert ask(url, "/metrics", authorization=f"Bearer {KEY}").status_code == 200  # never limited
        assert requests.get(f"{url}/docs", timeout=30).status_code == 200


def test_logs_are_json_without_keys_and_pixels(project: Project, tag: str, tmp_path: Path) -> None:
    port, log = bento_server.free_port(), tmp_path / "log"
    environment = project.environment(
        DIGITS_API_KEY=KEY, BENTOML_HOME=str(project.folder / ".bentoml"), BENTOML_QUIET="true"
    )
    command = [sys.executable, "-m", "bentoml", "serve", tag, "--host", "127.0.0.1", "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    with log.open("wb") as output:
        server = subprocess.Popen(
            command, stdout=output, stderr=output, env=environment, cwd=project.folder / ".bentoml"
        )
        try:
            bento_server.wait_until_ready(server, url)
            trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
            own = {"x-request-id": "client 7\u00e9", "traceparent": trace}
            answer = ask(url, "/predict", authorization=f"Bearer {KEY}", **own)
            refused = ask(url, "/predict", authorization="Bearer another-key")
            requests.get(f"{url}/nothing/{KEY}?key={KEY}", headers={"authorization": f"Bearer {KEY}"}, timeout=30)
        finally:
            bento_server.stop(server)
    text = log.read_text()
    begun, *lines = text.splitlines()
    assert "Starting production" in begun  # BentoML's supervisor, before there is a worker
    rows = [json.loads(line) for line in lines]
    asked = [row for row in rows if row["event"] == "request"]
    assert [(row["route"], row["status"], row["method"]) for row in asked] == [
        ("/predict", 200, "POST"),
        ("/predict", 401, "POST"),
        ("other", 404, "GET"),
    ]
    assert asked[0]["request_id"] == answer.json()["request_id"] == answer.headers["x-request-id"]
    assert asked[1]["request_id"] == refused.headers["x-request-id"]
    assert (asked[0]["client_request_id"], asked[0]["traceparent"]) == ("client7", trace)
    assert "client_request_id" not in asked[1]
    assert all(row["milliseconds"] > 0 and re.match(r"\d{4}-\d\d-\d\dT", row["time"]) for row in asked)
    assert KEY not in text and "another-key" not in text and "0, 0, 0" not in text


def test_metrics_are_bounded_whatever_is_asked_for(locked: str) -> None:
    headers = {"authorization": f"Bearer {KEY}"}

    def lines() -> int:
        return len(requests.get(f"{locked}/metrics", headers=headers, timeout=30).text.splitlines())

    for path in ("/nothing", "/cards/nothing", "/model"):
        for _ in range(20):  # each worker has seen each kind
            requests.get(f"{locked}{path}", headers=headers, timeout=30)
    before = lines()
    with requests.Session() as session:
        for number in range(300):
            session.get(f"{locked}/{number}/x", headers=headers, timeout=30)
            session.get(f"{locked}/cards/{number}", headers=headers, timeout=30)
    assert lines() <= before
    assert "digits_requests_total" in requests.get(f"{locked}/metrics", headers=headers, timeout=30).text


def test_other_sites_may_not_call_unless_they_are_named(service: str, project: Project, tag: str) -> None:
    site, other_site = "https://example.org", "https://example.com"

    def post(url: str, **headers: str) -> requests.Response:
        return requests.post(f"{url}/predict", files={"image": ("a.png", saved(seven()))}, headers=headers, timeout=30)

    for headers in (
        {"origin": site},
        {"origin": "null"},
        {"origin": service, "sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ):
        refused = post(service, **headers)
        assert refused.status_code == 403 and refused.json()["code"] == "origin_not_allowed", headers
        assert "access-control-allow-origin" not in refused.headers
    own: tuple[dict[str, str], ...] = ({}, {"origin": service}, {"origin": service, "sec-fetch-site": "same-origin"})
    assert [post(service, **headers).status_code for headers in own] == [200] * 3
    with serve(project, tag, DIGITS_ALLOW_ORIGINS=site, DIGITS_API_KEY=KEY) as url:
        allowed = post(url, authorization=f"Bearer {KEY}", origin=site, **{"sec-fetch-site": "cross-site"})
        assert allowed.status_code == 200 and allowed.headers["access-control-allow-origin"] == site
        refused = post(url, origin=site)
        assert refused.status_code == 401 and refused.headers["access-control-allow-origin"] == site
        other = post(url, authorization=f"Bearer {KEY}", origin=other_site)
        assert other.status_code == 403 and "access-control-allow-origin" not in other.headers


def test_only_named_hosts_are_answered(service: str, project: Project, tag: str) -> None:
    port = service.rsplit(":", 1)[1]

    def statuses(url: str, path: str, hosts: list[str]) -> list[int]:
        return [requests.get(f"{url}{path}", headers={"host": host}, timeout=30).status_code for host in hosts]

    loopback = ["localhost", f"LOCALHOST:{port}", f"127.0.0.1:{port}", f"[::1]:{port}"]
    foreign = ["evil.example", "localhost.evil.example", f"10.0.0.1:{port}", "", "[", "a.digits.example"]
    for path in ("/", "/model", "/metrics", "/schema.json", "/nothing"):
        assert set(statuses(service, path, foreign)) == {403}, path
    assert statuses(service, "/model", loopback) == [200] * 4
    assert statuses(service, "/livez", foreign) == statuses(service, "/readyz", foreign) == [200] * len(foreign)
    answer = requests.get(f"{service}/model", headers={"host": "evil.example"}, timeout=30).json()
    assert answer["code"] == "host_not_allowed" and "DIGITS_ALLOWED_HOSTS" in answer["error"]
    with serve(project, tag, DIGITS_ALLOWED_HOSTS="digits.example, *.digits.example") as url:
        assert statuses(url, "/model", [*loopback, "digits.example", "A.digits.example:80"]) == [200] * 6
        assert statuses(url, "/model", ["evil.example", "xdigits.example"]) == [403] * 2
    with serve(project, tag, DIGITS_ALLOWED_HOSTS="*") as url:
        assert statuses(url, "/model", foreign) == [200] * len(foreign)


def test_keys_of_a_file_open_the_service_and_can_be_changed(project: Project, tag: str, tmp_path: Path) -> None:
    file = tmp_path / "keys"

    def write(**keys: str) -> None:
        file.write_text("".join(f"{name} {hashlib.sha256(key.encode()).hexdigest()}\n" for name, key in keys.items()))

    def status(key: str) -> int:
        header = b"Bearer " + key.encode()  # not ASCII only
        return requests.get(f"{url}/model", headers={"authorization": header}, timeout=30).status_code

    write(ann="the key of ann", bob="the key of bob \u00e0")  # its last byte in UTF-8 is a space in Latin-1
    with serve(project, tag, DIGITS_API_KEYS_FILE=str(file)) as url:
        assert [status(key) for key in ("the key of ann", "the key of bob \u00e0", "", "ann")] == [200, 200, 401, 401]
        write(ann="a new key of ann")
        deadline = time.monotonic() + 30
        while status("a new key of ann") != 200:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert [status(key) for key in ("the key of ann", "the key of bob \u00e0")] == [401, 401]
