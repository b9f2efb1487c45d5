"""Bodies that are wrong, broken or made to do harm: each gets its status, memory is bounded, the service goes on."""

import io
import json
import socket
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import psutil
import pytest
import requests
from PIL import Image, ImageDraw, PngImagePlugin

from serving.errors import ErrorCode

pytestmark = pytest.mark.slow

JSON = {"content-type": "application/json"}
PNG = {"content-type": "image/png"}
FORM = {"content-type": "multipart/form-data; boundary=x"}


def seven(size: tuple[int, int] = (120, 120), mode: str = "RGB") -> Image.Image:
    """A seven in dark ink on white."""
    width, height = size
    image = Image.new("L", size, 255)
    points = [(0.25 * width, 0.2 * height), (0.75 * width, 0.2 * height), (0.4 * width, 0.8 * height)]
    ImageDraw.Draw(image).line(points, fill=0, width=max(1, width // 12))
    return image.convert(mode)


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, pixels: bytes, *, interlaced: bool = False, before: bytes = b"") -> bytes:
    """A grey 8-bit PNG of raw scan lines, with any chunks between header and pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, int(interlaced))
    body = chunk(b"IHDR", header) + before + chunk(b"IDAT", zlib.compress(pixels, 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def adam7(image: Image.Image) -> bytes:
    """An interlaced PNG (PNG specification, 8.2), which Pillow reads but does not write."""
    grey = np.asarray(image.convert("L"))
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    lines = [b"\0" + row.tobytes() for y, x, dy, dx in passes for row in grey[y::dy, x::dx]]
    return png(grey.shape[1], grey.shape[0], b"".join(lines), interlaced=True)


def moving(kind: str) -> bytes:
    frames = [seven(), Image.new("RGB", (120, 120), "white"), seven((120, 120)).rotate(90)]
    return saved(frames[0], kind, save_all=True, append_images=frames[1:])


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(seven(), "JPEG", exif=exif)


def huge_jpeg() -> bytes:
    content = bytearray(saved(seven(), "JPEG"))
    size = content.index(b"\xff\xc0") + 5  # in the start-of-frame segment
    content[size : size + 4] = b"\xff" * 4
    return bytes(content)


def text_bomb() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "a" * 30_000_000, zip=True)
    return saved(seven(), pnginfo=info)


def profile_bomb() -> bytes:
    content = chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(50_000_000), 9))
    return png(28, 28, b"".join(b"\0" + bytes(28) for _ in range(28)), before=content)


def form(*parts: tuple[str, bytes], boundary: str = "x", end: bool = True) -> bytes:
    lines = [f"--{boundary}\r\n{head}\r\n\r\n".encode("latin-1") + content + b"\r\n" for head, content in parts]
    return b"".join(lines) + (f"--{boundary}--\r\n".encode() if end else b"")


FILE = 'Content-Disposition: form-data; name="image"; filename="a.png"'
TEXT = 'Content-Disposition: form-data; name="image"'


def pixels(value: object = 0, **more: object) -> bytes:
    """JSON of one image with one pixel replaced."""
    rows: list[list[object]] = [[0] * 28 for _ in range(28)]
    rows[3][4] = value
    return json.dumps({"images": [rows], **more}).encode()


@dataclass
class Case:
    """A body, and the statuses of which one must come back."""

    name: str
    body: Callable[[], bytes]
    statuses: tuple[int, ...]
    headers: dict[str, str] = field(default_factory=lambda: PNG)
    path: str = "/predict"


def picture(name: str, body: Callable[[], bytes], *statuses: int, **headers: str) -> Case:
    return Case(name, body, statuses, {"content-type": "image/png", **headers})


def multipart(name: str, body: Callable[[], bytes], *statuses: int, kind: str = FORM["content-type"]) -> Case:
    return Case(name, body, statuses, {"content-type": kind})


def values(name: str, body: bytes | str, *statuses: int, kind: str = "application/json") -> Case:
    content = body.encode() if isinstance(body, str) else body
    return Case(name, lambda: content, statuses, {"content-type": kind}, "/predict_pixels")


EMPTY_IMAGE = json.dumps([[0] * 28] * 28)
CASES = [
    picture("empty", lambda: b"", 400),
    picture("text", lambda: b"a text", 415),
    picture("HTML", lambda: b"<html><img src=x></html>", 415),
    picture("SVG that loads a URL", lambda: b'<svg xmlns="x"><image href="http://127.0.0.1/"/></svg>', 415),
    picture("PDF", lambda: b"%PDF-1.7\n", 415),
    picture("zip", lambda: b"PK\3\4" + bytes(100), 415),
    picture("TIFF", lambda: saved(seven(), "TIFF"), 415),
    picture("ICO", lambda: saved(seven(), "ICO"), 415),
    picture("EPS, which Pillow would hand to Ghostscript", lambda: saved(seven(mode="L"), "EPS"), 415),
    picture("pickle", lambda: b"\x80\x04\x95.", 415, **{"content-type": "application/vnd.bentoml+pickle"}),
    picture("gzip of a picture", lambda: zlib.compress(saved(seven())), 415, **{"content-encoding": "deflate"}),
    picture("a form's text", lambda: b"image=http://127.0.0.1/", 415),
    picture("only PNG's signature", lambda: b"\x89PNG\r\n\x1a\n", 422),
    picture("PNG without pixels", lambda: saved(seven())[:33], 422),
    picture("half a PNG", lambda: (whole := saved(seven()))[: len(whole) // 2], 422),
    picture("half a JPEG", lambda: (whole := saved(seven(), "JPEG"))[: len(whole) // 2], 422),
    picture("half a WebP", lambda: (whole := saved(seven(), "WEBP"))[: len(whole) // 2], 422),
    picture("half a GIF", lambda: (whole := saved(seven(), "GIF"))[: len(whole) // 2], 422),
    picture("half a BMP", lambda: (whole := saved(seven(), "BMP"))[: len(whole) // 2], 422),
    picture("PNG with pixels that are no deflate", lambda: saved(seven()).replace(b"IDATx", b"IDATy"), 422),
    picture("PNG of no pixels", lambda: png(0, 0, b""), 422),
    picture("PNG with more pixels than it announces", lambda: png(10, 10, bytes(5000)), 200, 422),
    picture("PNG that announces 100,000 x 100,000", lambda: png(100_000, 100_000, b""), 413),
    picture("PNG that holds 13,000 x 13,000 blank pixels", lambda: saved(Image.new("1", (13_000, 13_000))), 413),
    picture("GIF that announces 65,535 x 65,535", lambda: b"GIF89a" + b"\xff" * 4 + bytes(20), 413),
    picture("JPEG that announces 65,535 x 65,535", huge_jpeg, 413),
    picture("PNG with a text of 30 MB", text_bomb, 200),
    picture("PNG with a colour profile of 50 MB", profile_bomb, 200),
    picture("CMYK", lambda: saved(seven(mode="CMYK"), "JPEG"), 200),
    picture("16 bits", lambda: saved(Image.fromarray(np.asarray(seven(mode="L")).astype(np.uint16) * 257)), 200),
    picture("palette with transparency", lambda: saved(seven(mode="P"), transparency=0), 200),
    picture("grey with alpha", lambda: saved(seven(mode="LA")), 200),
    picture("one bit", lambda: saved(seven(mode="1")), 200),
    picture("interlaced", lambda: adam7(seven()), 200),
    picture("1 x 1", lambda: saved(Image.new("L", (1, 1))), 200),
    picture("1 x 16,000", lambda: saved(Image.new("L", (1, 16_000), 255)), 200),
    picture("16,000 x 1", lambda: saved(Image.new("L", (16_000, 1), 255)), 200),
    picture("animated GIF", lambda: moving("GIF"), 200),
    picture("animated WebP", lambda: moving("WEBP"), 200),
    picture("animated PNG", lambda: moving("PNG"), 200),
    *(
        picture(f"EXIF orientation {turn}", lambda turn=turn: turned(turn), 200)
        for turn in (1, 2, 3, 4, 5, 6, 7, 8, 99)
    ),
    picture("2,000,001 bytes", lambda: bytes(2_000_001), 413),
    multipart("no boundary", lambda: b"x", 400, kind="multipart/form-data"),
    multipart("an empty boundary", lambda: b"----\r\n", 400, kind="multipart/form-data; boundary="),
    multipart("a boundary of 5,000 characters", lambda: b"x", 400, kind=f"multipart/form-data; boundary={'y' * 5000}"),
    multipart("a boundary that never comes", lambda: b"abc\r\n" * 1000, 400),
    multipart("5,000 parts", lambda: form(*[(FILE.replace("image", "other"), b"a")] * 5000), 400),
    multipart("5,000 fields", lambda: form(*[(TEXT.replace("image", "other"), b"a")] * 5000), 400),
    multipart("a part's header of 1 MB", lambda: form((f"{FILE}\r\nX: {'a' * 1_000_000}", b"a")), 400),
    multipart("10,000 headers of a part", lambda: form(("\r\n".join([FILE, *["X: a"] * 10_000]), b"a")), 400),
    multipart("a part without disposition", lambda: form(("X: a", b"a")), 400),
    multipart("a part without a name", lambda: form(("Content-Disposition: form-data", b"a")), 400),
    multipart("a text in place of the file", lambda: form((TEXT, b"http://127.0.0.1/a.png")), 422),
    multipart("an empty file", lambda: form((FILE, b"")), 400),
    multipart("another field's name", lambda: form((FILE.replace('"image"', '"picture"'), saved(seven()))), 400),
    multipart("the file twice", lambda: form((FILE, saved(seven())), (FILE, saved(seven()))), 400),
    multipart("an unfinished form", lambda: form((FILE, saved(seven())[:50]), end=False), 400, 422),
    multipart("a form in the form", lambda: form((FILE, form((FILE, saved(seven()))))), 415),
    multipart("a name that leads elsewhere", lambda: form((FILE.replace("a.png", "../../etc/x"), saved(seven()))), 200),
    multipart("a name of wild bytes", lambda: form((FILE.replace("a.png", "\xff\xfe\x80"), saved(seven()))), 200, 400),
    values("empty JSON body", "", 400),
    values("unfinished JSON", '{"images": [', 400),
    values("something after the JSON", pixels() + b"x", 400),
    values("bytes that are no UTF-8", b'{"images": "\xff"}', 400),
    values("100,000 open brackets", "[" * 100_000, 400),
    values("deep objects", '{"images":' * 50_000, 400),
    values("null", "null", 422),
    values("a list", "[]", 422),
    values("no images", "{}", 422),
    values("images as an object", '{"images": {}}', 422),
    values("images as a text", '{"images": "iVBORw0KGgo="}', 422),
    values("no image", '{"images": []}', 422),
    values("257 images", f'{{"images": [{",".join([EMPTY_IMAGE] * 257)}]}}', 422),
    values("27 rows", json.dumps({"images": [[[0] * 28] * 27]}), 422),
    values("a short row", json.dumps({"images": [[[0] * 28] * 27 + [[0] * 27]]}), 422),
    values("nested too deep", json.dumps({"images": [[[[0]] * 28] * 28]}), 422),
    values("images of different shapes", json.dumps({"images": [[[0] * 28] * 28, [0] * 28]}), 422),
    values("NaN", pixels().replace(b"0", b"NaN", 1), 400, 422),
    values("infinity", pixels().replace(b"0", b"1e999", 1), 400, 422),
    values("a fraction", pixels(0.5), 422),
    values("a whole float", pixels(7.0), 200),
    values("a text for a number", pixels("7"), 422),
    values("true", pixels(True), 422),
    values("null pixel", pixels(None), 422),
    values("256", pixels(256), 422),
    values("-1", pixels(-1), 422),
    values("2^64", pixels(2**64), 400, 422),
    values("5,000 digits", pixels().replace(b"0", b"9" * 5000, 1), 400, 422),
    values("a list for a pixel", pixels([1]), 422),
    values("unknown field", pixels(modle="cnn"), 422),
    values("model as a number", pixels(model=1), 422),
    values("model as a list", pixels(model=["cnn"]), 422),
    values("unknown model", pixels(model="x" * 10_000), 404),
    values("a model's name that leads elsewhere", pixels(model="../../etc/passwd"), 404),
    values("JSON called text", pixels(), 415, kind="text/plain"),
    values("JSON called a form", pixels(), 415, kind="application/x-www-form-urlencoded"),
    values("JSON called pickle", pixels(), 415, kind="application/vnd.bentoml+pickle"),
    values("2,000,001 spaces", " " * 2_000_001, 413),
]


@pytest.fixture(scope="module")
def memory(service: str) -> Iterator[Callable[[], float]]:
    """The resident memory of all the service's processes, in bytes."""
    port = int(service.rsplit(":", 1)[1])
    listening = {c.pid for c in psutil.net_connections("tcp") if c.laddr and c.laddr.port == port and c.pid}
    family = {p for pid in listening for p in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]}
    yield lambda: sum(process.memory_info().rss for process in family if process.is_running())


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_hostile_body_gets_its_status(service: str, case: Case) -> None:
    answer = requests.post(f"{service}{case.path}", data=case.body(), headers=case.headers, timeout=30)
    assert answer.status_code in case.statuses, answer.text[:300]
    if answer.status_code == 200:
        (row,) = answer.json().get("results", [answer.json()])
        assert row["prediction"] in range(10)
    else:
        assert list(answer.json()) == ["error", "code"] and len(answer.json()["error"]) < 500
        assert answer.json()["code"] in set(ErrorCode)


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 60 and len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("turn", [1, 3, 6, 8])
def test_a_turned_photograph_is_seen_upright(service: str, turn: int) -> None:
    upright = seven()
    back = {1: 0, 3: 180, 6: 90, 8: 270}[turn]  # degrees counter-clockwise that undo what the orientation says
    exif = Image.Exif()
    exif[0x0112] = turn
    stored = saved(upright.rotate(back, expand=True), "PNG", exif=exif)
    seen = [requests.post(f"{service}/compare", data=body, timeout=30).json() for body in (saved(upright), stored)]
    assert np.abs(np.subtract(seen[0]["pixels"], seen[1]["pixels"])).mean() < 8


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_a_moving_picture_the_first_frame_counts(service: str, kind: str) -> None:
    still = requests.post(f"{service}/compare", data=saved(seven()), timeout=30).json()
    first = requests.post(f"{service}/compare", data=moving(kind), timeout=30).json()
    assert np.abs(np.subtract(still["pixels"], first["pixels"])).mean() < 12


def test_a_body_without_a_length_is_refused_and_not_kept(service: str, memory: Callable[[], float]) -> None:
    before, during = memory(), 0.0

    def long() -> Iterator[bytes]:
        nonlocal during
        for _ in range(600):  # 60 MB
            yield bytes(100_000)
        during = memory()

    answer = requests.post(f"{service}/predict", data=long(), headers=PNG, timeout=30)
    assert answer.status_code == 413 and "2,000,000 bytes" in answer.json()["error"]
    assert during - before < 20e6


@pytest.mark.parametrize("line", [b"x-many: a\r\n" * 3000, b"x-long: " + b"a" * 30_000], ids=["many", "long"])
def test_an_endless_head_is_cut_off(service: str, memory: Callable[[], float], line: bytes) -> None:
    before = memory()
    host, port = service.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nhost: localhost\r\n")
        answer = b""
        try:
            for _ in range(1000):  # 30 MB
                connection.sendall(line)
            answer = connection.recv(100)
        except ConnectionError:
            answer = b""
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400")  # closed, at once or after an answer
    assert memory() - before < 10e6


def test_it_answers_as_before_and_has_not_grown(service: str, memory: Callable[[], float]) -> None:
    for _ in range(2):  # the first time, allocators and decoders take what they keep
        before = memory()
        for case in CASES:
            requests.post(f"{service}{case.path}", data=case.body(), headers=case.headers, timeout=30)
        time.sleep(0.5)
        after = memory()
    assert after - before < 30e6
    assert requests.post(f"{service}/predict", data=saved(seven()), timeout=30).status_code == 200
    metrics = requests.get(f"{service}/metrics", timeout=30).text
    assert 'status="500"' not in metrics
