"""deploy/nginx.conf in Debian's nginx: TLS, limits, addresses of clients, failover, and the service behind it."""

import json
import re
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import requests

from pipeline.deployment.bento_server import free_port
from pipeline.files import read_json
from tests.conftest import REPOSITORY, Project, avoid_the_end_of_a_minute, serve
from tests.deploy.conftest import StartProxy
from tests.deploy.proxy import PROGRAM, Answering, Handler, Instance, Proxy, instance, make_certificate, picture, source
from tests.deploy.proxy import write_configuration as write

StartInstances = Callable[[Sequence[Handler]], list[Instance]]
PREDICTIONS = ["/predict", "/compare", "/predict_pixels", "/predict_number", "/explain"]
SECONDS = 60  # until a test gives up; nothing takes that long
GUIDE = (REPOSITORY / "docs" / "operations.md").read_text()
DEBIAN = Path("/etc/nginx/nginx.conf")
REQUEST = b"POST /predict HTTP/1.1\r\nHost: localhost\r\n"


def connect(proxy: Proxy, receive_buffer: int | None = None) -> ssl.SSLSocket:
    """An open connection with TLS. `receive_buffer`: bytes that the system accepts before the client reads."""
    plain = socket.socket()
    if receive_buffer:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    plain.settimeout(SECONDS)
    plain.connect(("127.0.0.1", proxy.https))
    return ssl.create_default_context(cafile=str(proxy.certificate)).wrap_socket(plain, server_hostname="localhost")


def read_to_end(connection: ssl.SSLSocket) -> bytes:
    """What arrives until the server ends or resets the connection. Raises TimeoutError if it does neither."""
    received = b""
    try:
        while part := connection.recv(65_536):
            received += part
    except (ConnectionResetError, ssl.SSLEOFError):
        pass
    return received


def assert_error(answer: requests.Response, status: int, code: str) -> None:
    """The error has the form of the service's errors."""
    assert answer.status_code == status and answer.headers["content-type"] == "application/json"
    assert answer.json().keys() == {"error", "code"} and answer.json()["code"] == code


def test_debians_main_file_accepts_it(needs_nginx: None, tmp_path: Path) -> None:
    if not DEBIAN.exists():
        pytest.skip(f"{DEBIAN} does not exist: nginx is not Debian's")
    make_certificate(tmp_path)
    write(tmp_path, Proxy(tmp_path, free_port(), free_port()), [free_port()], {})
    text = (
        DEBIAN.read_text().replace("/etc/nginx/conf.d/*", f"{tmp_path}/digits").replace("/var/log/nginx", str(tmp_path))
    )
    text = re.sub(r"include /etc/nginx/sites-enabled.*|^user .*", "", text, flags=re.MULTILINE)
    main = tmp_path / "debian.conf"
    main.write_text(text.replace("/run/nginx.pid", f"{tmp_path}/nginx.pid"))
    assert PROGRAM and f"{tmp_path}/digits.conf" in main.read_text()
    done = subprocess.run([PROGRAM, "-t", "-c", str(main)], capture_output=True, text=True)
    assert done.returncode == 0 and "[warn]" not in done.stderr, done.stderr


def test_its_limit_of_the_body_is_that_of_the_service() -> None:
    (default,) = re.findall(r"\| `DIGITS_MAX_BODY_BYTES` \| `(\d+)` \|", GUIDE)
    limit = int(default)
    assert f"client_max_body_size {limit};" in source() and f"more than {limit:,} bytes" in source()


def test_its_errors_are_json_and_documented() -> None:
    bodies = [json.loads(text) for text in re.findall(r"'(\{.*\})';", source())]
    assert all(body.keys() == {"error", "code"} for body in bodies)
    section = GUIDE.split("## Reverse proxy")[1].split("\n## ")[0]
    codes = re.search(r"with the codes (.*?)\.\n", section, re.DOTALL)
    assert codes and set(re.findall(r"`(\w+)`", codes[1])) == {body["code"] for body in bodies}


def test_plain_http_is_redirected_with_method_and_path(start_proxy: StartProxy) -> None:
    proxy = start_proxy(free_port())
    answer = requests.post(f"{proxy.plain}/predict?model=cnn", data=b"x", allow_redirects=False, timeout=SECONDS)
    assert answer.status_code == 308 and answer.headers["location"] == "https://localhost/predict?model=cnn"


def test_plain_http_on_the_port_of_https_is_an_error(start_proxy: StartProxy) -> None:
    proxy = start_proxy(free_port())
    assert_error(requests.get(proxy.url.replace("https", "http"), timeout=SECONDS), 400, "bad_request")


def test_only_current_versions_of_tls_are_accepted(start_proxy: StartProxy) -> None:
    proxy = start_proxy(free_port())
    context = ssl.create_default_context(cafile=str(proxy.certificate))
    context.set_ciphers("ALL:@SECLEVEL=0")  # the client itself would refuse
    for version, accepted in ((ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True)):
        context.minimum_version = context.maximum_version = version
        with socket.create_connection(("127.0.0.1", proxy.https), SECONDS) as plain:
            try:
                context.wrap_socket(plain, server_hostname="localhost").close()
                assert accepted
            except ssl.SSLError:
                assert not accepted


def test_headers_of_a_client_about_its_address_are_overwritten(
    start_proxy: StartProxy, start_instances: StartInstances
) -> None:
    (service,) = start_instances([Answering.answer])
    proxy = start_proxy(service.port)
    forged = {
        "X-Forwarded-For": "203.0.113.9",
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Host": "evil.example",
        "X-Real-IP": "203.0.113.9",
        "Forwarded": "for=203.0.113.9",
    }
    assert proxy.request("GET", "/model", **forged).status_code == 200
    (head,) = service.heads
    assert head["x-forwarded-for"] == "127.0.0.1" and head["x-forwarded-proto"] == "https"
    assert head["host"] == head["x-forwarded-host"] == f"localhost:{proxy.https}"
    assert not {"x-real-ip", "forwarded"} & head.keys() and "203.0.113.9" not in str(head)


@pytest.mark.parametrize("path", ["/metrics", "/metrics/", "//metrics", "/%6detrics", "/x/../metrics", "/metrics?a=b"])
def test_metrics_are_not_public(start_proxy: StartProxy, start_instances: StartInstances, path: str) -> None:
    (service,) = start_instances([Answering.answer])
    proxy = start_proxy(service.port)
    with connect(proxy) as connection:  # the bytes as they are: clients in Python would normalize the path
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        received = read_to_end(connection)
    assert received.startswith(b"HTTP/1.1 404") and b'"code": "not_found"' in received
    assert service.seen == []


def test_errors_of_the_service_pass_unchanged(start_proxy: StartProxy, start_instances: StartInstances) -> None:
    (service,) = start_instances([lambda request: request.answer(413, b"the service's own")])
    answer = start_proxy(service.port).request("POST", "/predict", b"x")
    assert answer.status_code == 413 and answer.content == b"the service's own"


# Limits


def test_a_large_body_is_refused_before_it_reaches_the_service(
    start_proxy: StartProxy, start_instances: StartInstances
) -> None:
    (service,) = start_instances([Answering.answer])
    proxy = start_proxy(service.port)
    assert_error(proxy.request("POST", "/predict", bytes(2_000_001)), 413, "body_too_large")
    chunks = (bytes(100_000) for _ in range(21))  # without Content-Length
    with proxy.session() as session:
        assert_error(session.post(f"{proxy.url}/predict", data=chunks, timeout=SECONDS), 413, "body_too_large")
    assert service.seen == []
    assert proxy.request("POST", "/predict", bytes(2_000_000)).status_code == 200


def test_a_large_head_is_refused_before_it_reaches_the_service(
    start_proxy: StartProxy, start_instances: StartInstances
) -> None:
    (service,) = start_instances([Answering.answer])
    proxy = start_proxy(service.port)
    many = {f"X-{number}": "a" * 4_000 for number in range(10)}
    assert_error(proxy.request("GET", "/", **many), 431, "head_too_large")
    assert_error(proxy.request("GET", "/", Cookie="a" * 9_000), 431, "head_too_large")
    assert_error(proxy.request("GET", f"/?{'a' * 9_000}"), 414, "url_too_long")
    assert service.seen == []


def test_bytes_that_are_no_http_are_an_error(start_proxy: StartProxy) -> None:
    with connect(start_proxy(free_port())) as connection:
        connection.sendall(b"these are no words of a protocol\r\n\r\n")
        received = read_to_end(connection)
    assert received.startswith(b"HTTP/1.1 400") and b'"code": "bad_request"' in received


@pytest.mark.parametrize(
    ("directive", "sent"),
    [
        ("client_header_timeout", REQUEST),
        ("client_body_timeout", REQUEST + b"Content-Length: 1000\r\n\r\nthe beginning"),
    ],
    ids=["head", "body"],
)
def test_a_slow_request_is_cut_off_and_the_service_never_sees_it(
    start_proxy: StartProxy, start_instances: StartInstances, directive: str, sent: bytes
) -> None:
    (service,) = start_instances([Answering.answer])
    proxy = start_proxy(service.port, changes={f"{directive} 10s": f"{directive} 1s"})
    with connect(proxy) as connection:
        connection.sendall(sent)
        assert read_to_end(connection) == b""
    assert service.seen == []


def test_a_connection_without_tls_is_closed(start_proxy: StartProxy) -> None:
    proxy = start_proxy(free_port(), changes={"client_header_timeout 10s": "client_header_timeout 1s"})
    with socket.create_connection(("127.0.0.1", proxy.https), SECONDS) as silent:
        assert silent.recv(1) == b""


def test_many_predictions_of_a_client_get_429_and_other_routes_do_not(
    start_proxy: StartProxy, start_instances: StartInstances
) -> None:
    (service,) = start_instances([Answering.answer])
    proxy = start_proxy(service.port, changes={"rate=20r/s": "rate=1r/m", "burst=40": "burst=3"})
    answers = [proxy.request("POST", path, b"x", **{"X-Forwarded-For": path}) for path in (*PREDICTIONS, "/predict")]
    assert [answer.status_code for answer in answers] == [200] * 4 + [429] * 2
    assert_error(answers[-1], 429, "too_many_requests")
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert service.seen == PREDICTIONS[:4]
    assert proxy.request("GET", "/model").status_code == proxy.request("POST", "/feedback", b"x").status_code == 200


def test_a_network_of_64_bits_is_one_client(start_proxy: StartProxy, start_instances: StartInstances) -> None:
    (service,) = start_instances([Answering.answer])
    rate = {"rate=50r/s": "rate=1r/m", "burst=100 ": ""}
    # The address comes from a header, as loopback has one network only
    address = {"server_tokens off": "set_real_ip_from 127.0.0.1; real_ip_header X-Test; server_tokens off"}
    proxy = start_proxy(service.port, changes={**rate, **address})
    addresses = ["2001:db8:0:1::5", "2001:db8:0:1:2:3:4:5", "2001:db8:0:2::5", "198.51.100.1", "198.51.100.2"]
    statuses = [proxy.request("GET", "/", **{"X-Test": each}).status_code for each in addresses]
    assert statuses == [200, 429, 200, 200, 200]


def test_many_requests_of_any_kind_get_429(start_proxy: StartProxy, start_instances: StartInstances) -> None:
    (service,) = start_instances([Answering.answer])
    proxy = start_proxy(service.port, changes={"rate=50r/s": "rate=1r/m", "burst=100": "burst=3"})
    answers = [proxy.request("GET", "/") for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200] * 4 + [429]
    assert_error(answers[-1], 429, "too_many_requests")


def test_many_requests_at_once_of_a_client_get_429(start_proxy: StartProxy, start_instances: StartInstances) -> None:
    released = threading.Event()

    def wait(request: Answering) -> None:
        released.wait(SECONDS)
        request.answer()

    (service,) = start_instances([wait])
    proxy = start_proxy(service.port, changes={"limit_conn connections 32": "limit_conn connections 2"})
    statuses: list[int] = []

    def ask() -> None:
        statuses.append(proxy.request("GET", "/").status_code)
        released.set()  # the third is refused at once, the first two are answered after that

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert sorted(statuses) == [200, 200, 429] and statuses[0] == 429


LARGE = bytes(40_000_000)  # more than the buffers of the sockets


def report(request: Answering) -> None:
    """Answers /report with LARGE. Each answer ends its connection, so that the next one can be accepted."""
    request.answer(200, LARGE if request.path == "/report" else b"{}")
    request.close_connection = True


def test_a_slow_reader_holds_no_instance(start_proxy: StartProxy) -> None:
    with instance(report, kind=Instance) as service:  # answers one request after another
        proxy = start_proxy(service.port)
        with connect(proxy, receive_buffer=4096) as slow:
            slow.sendall(b"GET /report HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert slow.recv(1) == b"H"
            assert proxy.request("GET", "/model").content == b"{}"
            assert "client timed out" not in errors(proxy), "the slow reader was cut off before the other was answered"


def test_a_client_that_stops_reading_is_cut_off(start_proxy: StartProxy) -> None:
    with instance(report) as service:
        proxy = start_proxy(service.port, changes={"send_timeout 10s": "send_timeout 1s"})
        with connect(proxy, receive_buffer=4096) as slow:
            slow.sendall(b"GET /report HTTP/1.1\r\nHost: localhost\r\n\r\n")
            deadline = time.monotonic() + SECONDS
            while "client timed out" not in errors(proxy):
                assert time.monotonic() < deadline, "the client was not cut off"
                time.sleep(0.1)
            assert len(read_to_end(slow)) < len(LARGE)


def errors(proxy: Proxy) -> str:
    """nginx's error log."""
    return (proxy.folder / "error.log").read_text()


# Failover

FAILURES: dict[str, Handler] = {
    "drops the connection": Answering.drop,
    "is not ready": lambda request: request.answer(503, b"not ready"),
}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("path", PREDICTIONS)
def test_a_prediction_is_repeated_at_another_instance(
    start_proxy: StartProxy, start_instances: StartInstances, path: str, failure: str
) -> None:
    failing, working = start_instances([FAILURES[failure], Answering.answer])
    proxy = start_proxy(failing.port, working.port)
    statuses = [proxy.request("POST", path, b"x").status_code for _ in range(4)]
    assert statuses == [200] * 4 and working.seen == [path] * 4
    assert failing.seen, "no request reached the failing instance, so nothing was repeated"


@pytest.mark.parametrize("failure", FAILURES)
def test_feedback_is_not_repeated_once_it_was_sent(
    start_proxy: StartProxy, start_instances: StartInstances, failure: str
) -> None:
    failing, working = start_instances([FAILURES[failure], lambda request: request.answer(200)])
    proxy = start_proxy(failing.port, working.port)
    answers = [proxy.request("POST", "/feedback", b"{}") for _ in range(2)]
    assert failing.seen == working.seen == ["/feedback"]
    assert sorted(answer.status_code for answer in answers) == [200, 502 if failure.startswith("drops") else 503]
    if failure.startswith("drops"):
        (failed,) = (answer for answer in answers if answer.status_code == 502)
        assert_error(failed, 502, "unavailable")


def test_feedback_goes_to_another_instance_if_it_was_not_sent(
    start_proxy: StartProxy, start_instances: StartInstances
) -> None:
    (working,) = start_instances([Answering.answer])
    proxy = start_proxy(free_port(), working.port)
    assert [proxy.request("POST", "/feedback", b"{}").status_code for _ in range(4)] == [200] * 4
    assert working.seen == ["/feedback"] * 4


def test_an_instance_that_hangs_costs_a_prediction_only_time(
    start_proxy: StartProxy, start_instances: StartInstances
) -> None:
    released = threading.Event()

    def hang(request: Answering) -> None:
        released.wait(SECONDS)

    hanging, working = start_instances([hang, Answering.answer])
    changes = {"proxy_read_timeout 15s": "proxy_read_timeout 1s", "proxy_read_timeout 35s": "proxy_read_timeout 2s"}
    proxy = start_proxy(hanging.port, working.port, changes=changes)
    try:
        assert [proxy.request("POST", "/predict", b"x").status_code for _ in range(2)] == [200] * 2
        assert hanging.seen == ["/predict"] and working.seen == ["/predict"] * 2
        answers = [proxy.request("POST", "/feedback", b"{}") for _ in range(2)]
        (late,) = (answer for answer in answers if answer.status_code != 200)
        assert_error(late, 504, "timeout")
    finally:
        released.set()


def test_the_number_of_attempts_is_bounded(start_proxy: StartProxy, start_instances: StartInstances) -> None:
    failing = start_instances([Answering.drop] * 5)
    proxy = start_proxy(*(each.port for each in failing))
    answer = proxy.request("POST", "/predict", b"x")
    assert_error(answer, 502, "unavailable")
    assert sum(len(each.seen) for each in failing) == 3
    assert int(answer.headers["retry-after"]) >= 1 and "max-age" in answer.headers["strict-transport-security"]


# The service itself


@pytest.mark.slow
def test_the_service_answers_through_it(start_proxy: StartProxy, service: str) -> None:
    proxy = start_proxy(int(service.rsplit(":", 1)[1]))
    answer = proxy.request("POST", "/predict", picture())
    assert answer.status_code == 200 and 0 <= answer.json()["prediction"] <= 9
    assert "max-age" in answer.headers["strict-transport-security"]
    assert proxy.request("GET", "/readyz").status_code == 200
    assert "<canvas" in proxy.request("GET", "/").text
    assert proxy.request("POST", "/predict", b"a text").json()["error"] != ""
    assert proxy.request("POST", "/predict", bytes(2_000_000)).status_code == 415  # as large as the service reads
    assert_error(proxy.request("GET", "/metrics"), 404, "not_found")


@pytest.mark.slow
def test_every_route_that_predicts_is_limited_and_repeated(service: str) -> None:
    paths = requests.get(f"{service}/docs.json", timeout=SECONDS).json()["paths"]
    (listed,) = re.findall(r"location ~ \^/\((.*)\)\$ \{", source())
    assert {f"/{name}" for name in listed.split("|")} == set(PREDICTIONS)
    assert {path for path, methods in paths.items() if "post" in methods} == {*PREDICTIONS, "/feedback"}


@pytest.mark.slow
def test_a_forged_address_is_not_another_client_for_the_service(start_proxy: StartProxy, project: Project) -> None:
    tag = read_json(project.folder / "reports" / "bento.json")["bento"]
    with serve(project, tag, DIGITS_RATE_PER_MINUTE="3") as url:
        proxy = start_proxy(int(url.rsplit(":", 1)[1]))
        forged = [{"X-Forwarded-For": f"203.0.113.{number}"} for number in range(5)]
        avoid_the_end_of_a_minute()
        statuses = [proxy.request("GET", "/model", **headers).status_code for headers in forged]
        assert statuses == [200] * 3 + [429] * 2
        # Loopback is a trusted proxy: without nginx, each address is a client of its own
        direct = [requests.get(f"{url}/model", headers=headers, timeout=SECONDS) for headers in forged]
        assert [answer.status_code for answer in direct] == [200] * 5
