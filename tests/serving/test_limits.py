"""The most expensive requests that the limits allow: other clients are answered meanwhile, and memory stays bounded."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import psutil
import pytest
import requests
from PIL import Image

from pipeline.files import read_json
from serving.prediction_log.request_ids import RequestIds
from tests.conftest import Project, serve
from tests.serving.test_hostile import saved, seven

pytestmark = [pytest.mark.slow, pytest.mark.alone]

CONNECTIONS = 8
SECONDS = 1.5  # of attack on each route
TIMEOUT = 2  # seconds within which probes and other clients' predictions are answered
CONTAINER_BYTES = 1_000_000_000  # the limit in compose.yaml
JSON = {"content-type": "application/json"}


def dots(side: int, step: int) -> bytes:
    """A picture of single black pixels in a grid."""
    pixels = np.full((side, side), 255, np.uint8)
    pixels[2::step, 2::step] = 0
    return saved(Image.fromarray(pixels))


def strokes(columns: int, rows: int, size: int = 24) -> bytes:
    """A page of many short strokes, each as high as a digit."""
    pixels = np.full((rows * size, columns * size), 255, np.uint8)
    for row in range(rows):
        for column in range(columns):
            top, left = row * size + 3, column * size + size // 3
            pixels[top : top + size - 6, left : left + 5] = 0
    return saved(Image.fromarray(pixels))


def noise(width: int, height: int) -> bytes:
    return saved(Image.fromarray(np.random.default_rng(0).integers(0, 2, (height, width), np.uint8) * 255))


def deep(side: int = 4000) -> bytes:
    """A PNG of 16 megapixels with 16 bits, which compresses well."""
    rows = np.linspace(0, 65535, side).astype(np.uint16)
    return saved(Image.fromarray(np.broadcast_to(rows // 4096 * 4096, (side, side)).copy()))


def photograph(kind: str, **options: object) -> bytes:
    return saved(seven((4000, 4000)), kind, **options)


def pixels(count: int = 256) -> bytes:
    return json.dumps({"images": np.random.default_rng(0).integers(0, 256, (count, 28, 28)).tolist()}).encode()


def forged(ahead: float = 0.0) -> bytes:
    """A label for an invented answer."""
    ids = RequestIds()
    ids.use_key(bytes(32))
    made = f"{int(1000 * (time.time() + ahead)):012x}{ids.create()[12:]}"
    return json.dumps({"request_id": made, "label": 1}).encode()


PICTURES = [
    ("16 megapixels of 16 bits", deep),
    ("16 megapixels, WebP", lambda: photograph("WEBP", lossless=True, method=0)),
    ("16 megapixels, JPEG", lambda: photograph("JPEG", progressive=True)),
    ("noise", lambda: noise(3000, 3000)),
    ("dots", lambda: dots(800, 20)),
]
ATTACKS: list[tuple[str, str, Callable[[], bytes], set[int]]] = [
    *((f"/predict, {name}", "/predict", body, {200, 413, 429, 503}) for name, body in PICTURES),
    *((f"/predict_number, {name}", "/predict_number", body, {200, 413, 422, 429, 503}) for name, body in PICTURES),
    ("/predict_number, 40,000 dots", "/predict_number", lambda: dots(800, 4), {200, 422, 503}),
    ("/predict_number, a page of strokes", "/predict_number", lambda: strokes(20, 9), {200, 422, 503}),
    ("/explain", "/explain", lambda: photograph("JPEG"), {200, 429, 503}),
    ("/predict_pixels", "/predict_pixels", pixels, {200, 429, 503}),
    ("/feedback, invented", "/feedback", forged, {404}),
    ("/feedback, from the future", "/feedback", lambda: forged(3600), {404}),
]


class Others:
    """Clients that send probes and small pictures one after the other, each with TIMEOUT."""

    def __init__(self, url: str) -> None:
        self._url, self.answers, self._ended = url, Counter[str](), threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(path,)) for path in ("/livez", "/readyz", "/predict")]

    def _ask(self, path: str) -> None:
        picture = saved(seven((280, 280)))
        with requests.Session() as session:
            while not self._ended.is_set():
                try:
                    method = session.post if path == "/predict" else session.get
                    status = method(f"{self._url}{path}", data=picture, timeout=TIMEOUT).status_code
                    self.answers[f"{path}: {status}"] += 1
                except requests.RequestException as error:
                    self.answers[f"{path}: {type(error).__name__}"] += 1
                time.sleep(0.02)

    def __enter__(self) -> "Others":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()


@pytest.fixture(scope="module")
def attacked(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    database = f"sqlite:///{tmp_path_factory.mktemp('attacked') / 'digits.db'}"
    tag = read_json(project.folder / "reports" / "bento.json")["bento"]
    with serve(project, tag, DIGITS_LOG_PREDICTIONS="true", DIGITS_DATABASE_URL=database) as url:
        yield url


def attack(url: str, path: str, body: bytes, seconds: float) -> Counter[int]:
    """Sends `body` over CONNECTIONS connections for some seconds; counts of the statuses."""
    headers = JSON if path in ("/predict_pixels", "/feedback") else {}
    end = time.monotonic() + seconds

    def send(_: int) -> Counter[int]:
        statuses: Counter[int] = Counter()
        with requests.Session() as session:
            while time.monotonic() < end:
                statuses[session.post(f"{url}{path}", data=body, headers=headers, timeout=60).status_code] += 1
        return statuses

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        return sum(pool.map(send, range(CONNECTIONS)), Counter())


@pytest.mark.parametrize(
    ("path", "body", "statuses"), [case[1:] for case in ATTACKS], ids=[case[0] for case in ATTACKS]
)
def test_other_clients_are_answered_during_an_attack(
    attacked: str, path: str, body: Callable[[], bytes], statuses: set[int]
) -> None:
    content = body()
    assert len(content) < 2_000_000
    with Others(attacked) as others:
        seen = attack(attacked, path, content, SECONDS)
    assert set(seen) <= statuses and seen.total() >= CONNECTIONS
    assert {answer.split(": ")[1] for answer in others.answers} == {"200"}, others.answers
    assert {answer.split(": ")[0] for answer in others.answers} == {"/livez", "/readyz", "/predict"}


@contextmanager
def highest_memory(url: str) -> Iterator[list[int]]:
    """While the block runs, the highest memory of the service's processes in bytes, as the only element."""
    port = int(url.rsplit(":", 1)[1])
    listening = {c.pid for c in psutil.net_connections("tcp") if c.laddr and c.laddr.port == port and c.pid}
    family = {p for pid in listening for p in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]}
    highest, ended = [0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.05):
            highest[0] = max(highest[0], sum(process.memory_full_info().uss for process in family))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield highest
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize(
    ("path", "body", "connections"),
    [
        *(("/predict", body, 10) for _, body in PICTURES[:3]),
        *(("/predict_number", body, 10) for _, body in PICTURES[:4]),
        ("/predict_pixels", pixels, 64),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_memory_stays_below_the_containers_limit(
    attacked: str, path: str, body: Callable[[], bytes], connections: int
) -> None:
    content = body()
    headers = JSON if path == "/predict_pixels" else {}
    with highest_memory(attacked) as highest, ThreadPoolExecutor(connections) as pool:
        asked = [
            pool.submit(requests.post, f"{attacked}{path}", data=content, headers=headers, timeout=120)
            for _ in range(2 * connections)
        ]
        statuses = {answer.result().status_code for answer in asked}
    assert statuses <= {200, 422, 503}
    assert 0 < highest[0] < CONTAINER_BYTES
