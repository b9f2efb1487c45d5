"""nginx as deploy/nginx.conf configures it, and stand-ins for instances of the service, on free ports of loopback."""

import io
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from pathlib import Path

import requests
from PIL import Image, ImageDraw

from pipeline.deployment.bento_server import free_port, stop
from tests.conftest import REPOSITORY

PROGRAM = shutil.which("nginx") or next((path for path in ("/usr/sbin/nginx",) if Path(path).exists()), None)
START_SECONDS = 20
# What /etc/nginx/nginx.conf does around the file, with all paths in one folder
MAIN = """
{user}
worker_processes 2;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log info;
events {{ worker_connections 512; }}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    scgi_temp_path {folder}/scgi;
    uwsgi_temp_path {folder}/uwsgi;
    include {folder}/digits.conf;
}}
"""


@dataclass
class Proxy:
    """A running nginx. `url` is where it answers with TLS, `plain` where it redirects to that."""

    folder: Path
    https: int
    http: int

    @property
    def url(self) -> str:
        return f"https://localhost:{self.https}"

    @property
    def plain(self) -> str:
        return f"http://localhost:{self.http}"

    @property
    def certificate(self) -> Path:
        return self.folder / "fullchain.pem"

    def session(self) -> requests.Session:
        """A client that trusts the certificate of the proxy and no settings of the machine."""
        session = requests.Session()
        session.trust_env, session.verify = False, str(self.certificate)
        return session

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> requests.Response:
        with self.session() as session:
            return session.request(method, self.url + path, data=body, headers=headers, timeout=60)


def make_certificate(folder: Path) -> None:
    """A self-signed certificate for localhost."""
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(folder / "privkey.pem"), "-out", str(folder / "fullchain.pem")]
    subprocess.run([*command, *names, *files], check=True, capture_output=True)


def replaced(text: str, changes: dict[str, str]) -> str:
    """The text with each key replaced by its value. A key that does not occur is an error."""
    for old, new in changes.items():
        assert old in text, f"deploy/nginx.conf has no {old!r}"
        text = text.replace(old, new)
    return text


def write_configuration(folder: Path, proxy: Proxy, instances: Sequence[int], changes: dict[str, str]) -> Path:
    """Writes nginx's main file, which includes deploy/nginx.conf with other ports, paths and names. Returns its path.

    `instances`: ports of the service; `changes`: texts to replace besides, for example times that a test waits for.
    """
    (example,) = (line for line in source().splitlines() if line.strip().startswith("server 127.0.0.1:3000"))
    names = {
        example: "\n".join(example.replace("3000", str(port)) for port in instances),
        "/etc/nginx/tls": str(folder),
        "digits.example.org": "localhost",
        "listen 443": f"listen 127.0.0.1:{proxy.https}",
        "listen 80": f"listen 127.0.0.1:{proxy.http}",
        "listen [::]:": "# listen [::]:",  # a machine may have no IPv6
    }
    (folder / "digits.conf").write_text(replaced(source(), {**names, **changes}))
    user = "user root;" if os.geteuid() == 0 else ""  # the folders of a test are closed to other users
    main = folder / "nginx.conf"
    main.write_text(MAIN.format(folder=folder, user=user))
    return main


def source() -> str:
    return (REPOSITORY / "deploy" / "nginx.conf").read_text()


@contextmanager
def nginx(folder: Path, instances: Sequence[int], changes: dict[str, str] | None = None) -> Iterator[Proxy]:
    """Runs nginx in front of instances of the service while the block runs."""
    assert PROGRAM
    proxy = Proxy(folder, free_port(), free_port())
    make_certificate(folder)
    main = write_configuration(folder, proxy, instances, changes or {})
    with (folder / "output").open("wb") as output:
        server = subprocess.Popen([PROGRAM, "-c", str(main)], stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                requests.get(proxy.plain, allow_redirects=False, timeout=5)
                break
            except requests.ConnectionError:
                assert server.poll() is None and time.monotonic() < deadline, (folder / "output").read_text()
                time.sleep(0.05)
        yield proxy
    finally:
        stop(server)


def picture() -> bytes:
    """A PNG file of a seven."""
    image, buffer = Image.new("L", (280, 280), 255), io.BytesIO()
    ImageDraw.Draw(image).line([(70, 60), (210, 60), (120, 230)], fill=0, width=20)
    image.save(buffer, "PNG")
    return buffer.getvalue()


def pixels(count: int) -> bytes:
    """A body of /predict_pixels with this number of images."""
    return json.dumps({"images": [[[0] * 28] * 14 + [[255] * 28] * 14] * count}).encode()


Handler = Callable[["Answering"], None]


class Answering(BaseHTTPRequestHandler):
    """Reads a request whole, notes it, and calls the handler of the instance."""

    protocol_version = "HTTP/1.1"
    server: "Instance"

    def do_POST(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append(self.path)
        self.server.heads.append({name.lower(): value for name, value in self.headers.items()})
        self.server.handler(self)

    def do_GET(self) -> None:
        self.do_POST()

    def answer(self, status: int = 200, body: bytes = b"{}") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def drop(self) -> None:
        """Closes the connection without an answer."""
        self.close_connection = True

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing is printed."""


class Instance(HTTPServer):
    """A stand-in for an instance of the service: `seen` lists the paths of the requests that it received whole."""

    handler: Handler
    seen: list[str]
    heads: list[dict[str, str]]

    @property
    def port(self) -> int:
        return self.server_port


class ThreadedInstance(ThreadingHTTPServer, Instance):
    """A stand-in that answers several requests at the same time."""

    daemon_threads = True


@contextmanager
def instance(handler: Handler = Answering.answer, kind: type[Instance] = ThreadedInstance) -> Iterator[Instance]:
    """Runs a stand-in while the block runs."""
    server = kind(("127.0.0.1", 0), Answering)
    server.handler, server.seen, server.heads = handler, [], []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
