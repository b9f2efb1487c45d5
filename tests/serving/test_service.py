"""The built Bento over HTTP: every route and every kind of error, as a client meets them."""

import io
import json
from pathlib import Path

import numpy as np
import psutil
import pytest
import requests
from PIL import Image, ImageDraw

from pipeline.files import read_json
from tests.conftest import Project, serve

pytestmark = pytest.mark.slow

ANSWER = {"prediction", "confidence", "probabilities", "model", "version", "uncertain", "reason"}


def picture(draw: bool = True, size: tuple[int, int] = (280, 280), kind: str = "PNG") -> bytes:
    """A one, drawn dark on white."""
    image = Image.new("RGB", size, "white")
    if draw:
        width, height = size
        pen = ImageDraw.Draw(image)
        pen.line([(width * 0.5, height * 0.2), (width * 0.5, height * 0.8)], fill="black", width=max(width // 12, 1))
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def known(project: Project) -> dict[str, np.ndarray]:
    """Digits with the probabilities that the CNN gave them in evaluation."""
    with np.load(project.folder / "evaluations" / "cnn" / "known_digits.npz") as content:
        return dict(content)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF"])
def test_a_picture_is_answered_as_body_and_as_multipart(service: str, kind: str) -> None:
    content = picture(kind=kind)
    one = requests.post(f"{service}/predict", data=content, timeout=30)
    other = requests.post(f"{service}/predict", files={"image": content}, timeout=30)
    assert one.status_code == other.status_code == 200
    one, other = one.json(), other.json()
    assert one.keys() == ANSWER | {"request_id"}
    assert one.pop("request_id") != other.pop("request_id")
    assert one == other
    assert sum(one["probabilities"]) == pytest.approx(1, abs=0.01)
    assert one["confidence"] == max(one["probabilities"]) == one["probabilities"][one["prediction"]]


def test_models_are_chosen_by_name(service: str) -> None:
    described = requests.get(f"{service}/model", timeout=30).json()
    assert described["dataset"] == "optdigits" and described["classes"] == [str(digit) for digit in range(10)]
    assert set(described["models"]) == {"mlp", "cnn"}
    card = described["models"]["cnn"]
    assert card.keys() == {"version", "digest", "run_id", "commit", "metrics", "threshold"}
    assert 0 < card["metrics"]["test"]["accuracy"] <= 1
    by_default = requests.post(f"{service}/predict", data=picture(), timeout=30).json()
    assert by_default["model"] == described["champion"]
    for name in described["models"]:
        assert requests.post(f"{service}/predict?model={name}", data=picture(), timeout=30).json()["model"] == name


def test_all_models_are_compared_on_the_same_pixels(service: str) -> None:
    answer = requests.post(f"{service}/compare", data=picture(), timeout=30).json()
    assert answer.keys() == {"pixels", "results", "champion", "request_id"}
    pixels = np.array(answer["pixels"])
    assert pixels.shape == (28, 28) and pixels.max() > 200 and pixels[0].max() == 0
    assert all(result.keys() == ANSWER for result in answer["results"].values())
    again = requests.post(f"{service}/predict_pixels", json={"images": [answer["pixels"]], "model": "mlp"}, timeout=30)
    assert again.json()["results"][0]["probabilities"] == answer["results"]["mlp"]["probabilities"]


def test_a_blank_picture_is_answered_and_marked(service: str) -> None:
    answer = requests.post(f"{service}/predict", data=picture(draw=False), timeout=30)
    assert answer.status_code == 200
    assert (answer.json()["uncertain"], answer.json()["reason"]) == (True, "blank")
    assert isinstance(answer.json()["prediction"], int)


def test_pixels_are_answered_in_order_as_in_evaluation(service: str, known) -> None:
    order = [3, 1, 4, 1, 5, 9, 2, 6]
    body = {"images": known["images"][order].tolist(), "model": "cnn"}
    results = requests.post(f"{service}/predict_pixels", json=body, timeout=30).json()["results"]
    assert [row["prediction"] for row in results] == order
    found = np.array([row["probabilities"] for row in results])
    assert found == pytest.approx(known["probabilities"][order], abs=1e-4)
    assert len({row["request_id"] for row in results}) == len(order)


def test_several_digits_are_read_as_a_number(service: str) -> None:
    image = Image.new("L", (600, 200), 255)
    pen = ImageDraw.Draw(image)
    for left in (100, 300, 500):
        pen.line([(left, 40), (left, 160)], fill=0, width=14)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    answer = requests.post(f"{service}/predict_number?model=cnn", data=buffer.getvalue(), timeout=30).json()
    assert answer.keys() == {"number", "confidence", "digits", "request_id"}
    assert len(answer["digits"]) == len(answer["number"]) == 3
    assert answer["confidence"] == pytest.approx(np.prod([digit["confidence"] for digit in answer["digits"]]))
    for digit, left in zip(answer["digits"], (100, 300, 500), strict=True):
        x, y, width, height = digit["box"]
        assert abs(x + width / 2 - left) < 8 and abs(y - 40) < 12 and abs(height - 120) < 24


def test_nothing_found_is_an_empty_number(service: str) -> None:
    answer = requests.post(f"{service}/predict_number", data=picture(draw=False), timeout=30).json()
    assert (answer["number"], answer["confidence"], answer["digits"]) == ("", 0.0, [])


def test_an_answer_is_uncertain_below_the_models_threshold(service: str, known) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, 28, 28))
    images = [*known["images"].tolist(), *noise.tolist()]
    threshold = requests.get(f"{service}/model", timeout=30).json()["models"]["cnn"]["threshold"]
    results = requests.post(f"{service}/predict_pixels", json={"images": images, "model": "cnn"}, timeout=30).json()
    for row in results["results"]:
        assert row["reason"] in ("not_a_digit", "low_confidence" if row["confidence"] < threshold else None)
        assert row["uncertain"] == (row["reason"] is not None)
    assert {row["reason"] for row in results["results"][10:]} == {"not_a_digit"}  # the noise
    assert sum(row["reason"] == "not_a_digit" for row in results["results"][:10]) <= 1


def noisy(side: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def vast() -> bytes:
    buffer = io.BytesIO()
    Image.new("1", (13000, 13000)).save(buffer, "PNG")
    return buffer.getvalue()


PIXELS = "application/json"
IMAGE = json.dumps([[0] * 28] * 28)


@pytest.mark.parametrize(
    ("path", "body", "content_type", "status", "said"),
    [
        ("/predict", b"", "image/png", 400, "empty"),
        ("/predict", b"a text", "image/png", 415, "PNG"),
        ("/predict", b"\x80\x04\x95pickle", "application/vnd.bentoml+pickle", 415, "PNG"),
        ("/predict", picture()[:200], "image/png", 422, ""),
        ("/predict", noisy(900), "image/png", 413, "2,000,000 bytes"),
        ("/predict", vast(), "image/png", 413, "pixels"),
        ("/predict?model=vit", picture(), "image/png", 404, "champion, mlp, cnn"),
        ("/predict", b"no parts", "multipart/form-data", 400, "multipart"),
        ("/predict", b"no parts", "multipart/form-data; boundary=x", 400, "image"),
        ("/compare", b"a text", "image/png", 415, "PNG"),
        ("/predict_pixels", b"", PIXELS, 400, "empty"),
        ("/predict_pixels", b"{", PIXELS, 400, "not valid JSON"),
        ("/predict_pixels", b"[" * 100_000, PIXELS, 400, "not valid JSON"),
        ("/predict_pixels", b"[]", PIXELS, 422, "images"),
        ("/predict_pixels", b'{"images": []}', PIXELS, 422, "1 to 256"),
        ("/predict_pixels", b'{"images": [[1]]}', PIXELS, 422, "28"),
        ("/predict_pixels", f'{{"images": [{IMAGE}], "modle": 1}}'.encode(), PIXELS, 422, "modle"),
        ("/predict_pixels", f'{{"images": [{IMAGE}], "model": 1}}'.encode(), PIXELS, 422, "model"),
        ("/predict_pixels", f'{{"images": [{IMAGE}], "model": "x"}}'.encode(), PIXELS, 404, "champion"),
        ("/predict_pixels", b'{"images": []}', "text/plain", 415, "JSON"),
        ("/predict_pixels", b" " * 2_000_001, PIXELS, 413, "2,000,000"),
        ("/nothing", b"x", PIXELS, 404, "/docs.json"),
    ],
)
def test_wrong_input_gets_its_status_and_says_what_is_right(
    service: str, path: str, body: bytes, content_type: str, status: int, said: str
) -> None:
    answer = requests.post(f"{service}{path}", data=body, headers={"content-type": content_type}, timeout=30)
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error", "code"] and said in answer.json()["error"]


def test_a_text_in_place_of_the_file_is_never_fetched(service: str) -> None:
    body = {"image": (None, f"{service}/icon.svg")}
    answer = requests.post(f"{service}/predict", files=body, timeout=30)
    assert answer.status_code == 422 and "not a file" in answer.json()["error"]


def test_other_methods_are_refused(service: str) -> None:
    answer = requests.get(f"{service}/predict", timeout=30)
    assert answer.status_code == 405 and "POST" in answer.json()["error"]


def test_it_says_that_it_lives_and_is_ready_and_counts(service: str) -> None:
    assert requests.get(f"{service}/livez", timeout=30).status_code == 200
    assert requests.get(f"{service}/readyz", timeout=30).status_code == 200
    assert requests.get(f"{service}/model", timeout=30).status_code == 200
    assert "digits_requests_total" in requests.get(f"{service}/metrics", timeout=30).text


def test_a_second_service_of_the_same_store_leaves_the_metrics_of_the_first(service: str, project: Project) -> None:
    """`make retrain` verifies the new Bento this way beside the service that runs."""
    counts = "digits_requests_total{"
    assert counts in requests.get(f"{service}/metrics", timeout=30).text
    with serve(project, read_json(project.folder / "reports" / "bento.json")["bento"]):
        assert counts in requests.get(f"{service}/metrics", timeout=30).text


def test_every_route_is_described(service: str) -> None:
    document = requests.get(f"{service}/docs.json", timeout=30).json()
    assert document["openapi"].startswith("3.1")
    asked = {"/predict", "/compare", "/explain", "/feedback", "/predict_number", "/predict_pixels", "/model"}
    opened = {"/report", "/cards/{name}", "/livez", "/readyz", "/metrics"}
    assert set(document["paths"]) == asked | opened
    names = set(document["components"]["schemas"])
    references = {part.split('"')[0] for part in json.dumps(document).split("#/components/schemas/")[1:]}
    assert references <= names


def test_pages_carry_security_headers(service: str) -> None:
    page = requests.get(f"{service}/", timeout=30)
    assert page.status_code == 200 and "<canvas" in page.text
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/", "/app.js", "/report", "/swagger/swagger-ui.css"])
def test_browsers_that_have_a_file_get_304(service: str, path: str) -> None:
    first = requests.get(f"{service}{path}", timeout=30)
    assert first.status_code == 200 and first.headers["cache-control"] == "no-cache"
    again = requests.get(f"{service}{path}", headers={"if-none-match": first.headers["etag"]}, timeout=30)
    assert again.status_code == 304 and again.content == b""


def test_neither_tensorflow_nor_the_trackers_are_loaded(service: str) -> None:
    port = int(service.rsplit(":", 1)[1])
    listening = {c.pid for c in psutil.net_connections("tcp") if c.laddr and c.laddr.port == port and c.pid}
    family = {p for pid in listening for p in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]}
    mapped = "\n".join(m.path for process in family for m in process.memory_maps())
    assert "litert" in mapped, "the service's processes were not found"
    for name in ("tensorflow", "pandas", "sklearn", "scipy"):
        assert f"/{name}/" not in mapped


def test_a_damaged_model_keeps_the_service_from_starting(project: Project) -> None:
    from pipeline.console import PipelineError
    from pipeline.files import read_json

    tag = read_json(project.folder / "reports" / "bento.json")["models"]["cnn"]["tag"].replace(":", "/")
    file = project.folder / ".bentoml" / "models" / Path(tag) / "model.tflite"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    try:
        with (
            pytest.raises(PipelineError, match="expected sha256"),
            serve(project, read_json(project.folder / "reports" / "bento.json")["bento"]),
        ):
            pass
    finally:
        file.write_bytes(whole)
