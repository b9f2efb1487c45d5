"""More than answers: why, inside the network, numbers, feedback; and that all of it can be used by everybody."""

import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import requests
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Response, Route, expect

from pipeline.files import read_json
from recognition.classifier import Classifier
from recognition.preprocessing import Digit
from tests.conftest import Project, serve
from tests.drawing import likeness
from tests.serving.conftest import ONE, SEVEN, Visit, final

pytestmark = pytest.mark.slow

Visitor = Callable[..., Visit]


@pytest.fixture
def here(visit: Visitor) -> Visit:
    made = visit()
    made.open()
    return made


def painted(here: Visit, selector: str) -> int:
    """Pixels of a canvas that are not empty."""
    count = """canvas => {
        const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d");
        copy.drawImage(canvas, 0, 0);
        return copy.getImageData(0, 0, canvas.width, canvas.height).data.filter((v, i) => i % 4 === 3 && v > 9).length;
    }"""
    return int(here.page.locator(selector).evaluate(count))


def test_why_shows_what_speaks_for_the_answer_and_for_another(here: Visit) -> None:
    page = here.page
    answer = here.draw_and_wait(SEVEN)
    with page.expect_response("**/explain") as first:
        page.locator("#why summary").click()
    label = first.value.json()["label"]
    assert label == answer["results"][answer["champion"]]["prediction"]
    chosen = page.locator("#why-classes button").nth(label)
    expect(chosen).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#why-say")).to_contain_text(f"{label} less likely")
    for place, name in enumerate(answer["results"]):
        expect(page.locator("#maps canvas").nth(place)).to_have_attribute(
            "aria-label", f"Pixels that support or contradict {label}, by {name}"
        )
        assert painted(here, f"#maps figure:nth-child({place + 1}) canvas") > 1000
    here.picture("why", full_page=True)
    other = (label + 1) % 10
    with page.expect_response(f"**/explain?label={other}") as second:
        page.locator("#why-classes button").nth(other).click()
    assert second.value.json()["label"] == other
    expect(page.locator("#why-classes button").nth(other)).to_have_attribute("aria-pressed", "true")
    with page.expect_response("**/explain"):  # a new drawing: the champion's answer again
        here.draw(ONE)
    page.get_by_role("button", name="Clear").click()
    assert painted(here, "#maps figure:nth-child(1) canvas") == 0


def test_nothing_is_explained_unasked(here: Visit) -> None:
    here.draw_and_wait(SEVEN)
    assert not any(url.endswith(("/explain", "/demo_network.bin")) for url in here.requests)


def test_the_browsers_numbers_are_litert_s(here: Visit, project: Project) -> None:
    network = Classifier(project.folder / "data" / "derived" / "demo_network.tflite")
    random = np.random.default_rng(0)
    images = [np.zeros((28, 28), np.uint8), random.integers(0, 256, (28, 28), dtype=np.uint8)]
    images += [np.array(here.draw_and_wait(points)["pixels"], np.uint8) for points in (ONE, SEVEN)]
    found = here.page.evaluate(
        """async (images) => {
            const { read, forward } = await import("/inside.js");
            const network = read(await (await fetch("/demo_network.bin")).arrayBuffer());
            return images.map((pixels) => [...forward(network, pixels).at(-1)]);
        }""",
        [image.ravel().tolist() for image in images],
    )
    assert np.array(found) == pytest.approx(network.probabilities(np.stack(images)), abs=1e-5)


def test_inside_the_network_changes_while_drawing(here: Visit, project: Project) -> None:
    page = here.page
    with page.expect_response("**/demo_network.bin"):
        page.locator("#inside summary").click()
    say = page.locator("#inside-say")
    expect(say).to_have_text("Draw something to see the activations.")
    places = here.places(SEVEN)
    page.mouse.move(*places[0])
    page.mouse.down()
    page.mouse.move(*places[1], steps=5)
    expect(say).to_contain_text("Prediction:")  # before the stroke is finished
    before = page.locator("#network").screenshot()
    page.mouse.move(*places[2], steps=5)
    with page.expect_response(lambda answer: answer.url.endswith("/compare") and final(answer)) as waited:
        page.mouse.up()
    pixels = np.array(waited.value.json()["pixels"], np.uint8)
    expected = Classifier(project.folder / "data" / "derived" / "demo_network.tflite").probabilities(pixels[None])[0]
    expect(say).to_contain_text(f"Prediction: {expected.argmax()}, {100 * expected.max():.1f}% confident")
    assert page.locator("#network").screenshot() != before
    assert painted(here, "#filters canvas:nth-child(1)") > 100
    here.picture("inside", full_page=True)


def test_a_preview_is_near_what_the_service_makes_of_the_drawing(here: Visit) -> None:
    here.page.locator("#inside summary").click()
    pixels = np.array(here.draw_and_wait(SEVEN)["pixels"], np.uint8)
    preview = here.page.evaluate(
        """async (points) => {
            const { Drawing } = await import("/drawing.js");
            const drawing = new Drawing(document.getElementById("pad").cloneNode());
            drawing.state.strokes.push(points.map(([x, y]) => [560 * x, 560 * y, 31]));
            return [...drawing.preview()];
        }""",
        np.concatenate([np.linspace(a, b, 9) for a, b in pairwise(SEVEN)]).tolist(),
    )
    shown = Digit(np.array(preview, np.uint8).reshape(28, 28), blank=False)
    assert likeness(Digit(pixels, blank=False), shown) > 0.8


def test_a_number_is_read_with_boxes_over_the_digits(here: Visit) -> None:
    page = here.page
    page.get_by_role("button", name="Number").click()
    expect(page.locator("h1")).to_have_text("Write a number")
    strokes = [[(left, 0.2), (left, 0.8)] for left in (0.2, 0.5, 0.8)]
    answers: list[Response] = []
    page.on("response", lambda answer: "/predict_number?model=cnn" in answer.url and answers.append(answer))
    for stroke in strokes:
        here.draw(stroke)
    expect(page.locator("#boxes rect")).to_have_count(3)
    answer = answers[-1].json()
    assert len(answer["digits"]) == 3
    champion = requests.get(f"{here.url}/model", timeout=30).json()["champion"]
    for place, (left, _) in enumerate(stroke[0] for stroke in strokes):
        box = page.locator("#boxes rect").nth(place).bounding_box()
        pad = page.locator("#pad").bounding_box()
        assert box and pad
        assert abs((box["x"] + box["width"] / 2 - pad["x"]) / pad["width"] - left) < 0.03
    cards = {card.locator("h2").inner_text().split()[0]: card for card in page.locator(".model").all()}
    expect(cards["cnn"].locator(".digit")).to_have_text(answer["number"])
    expect(page.locator("#boxes")).to_contain_text(cards[champion].locator(".digit").inner_text())
    here.picture("number")
    here.draw([(0.65, 0.2), (0.65, 0.8)])
    expect(page.locator("#boxes rect")).to_have_count(4)
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#boxes rect")).to_have_count(0)
    page.get_by_role("button", name="Digit", exact=True).click()
    here.draw_and_wait(SEVEN)


@pytest.fixture(scope="module")
def logging_service(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The service with its log of predictions on, in a database of its own."""
    database = f"sqlite:///{tmp_path_factory.mktemp('log') / 'log.db'}"
    bento = read_json(project.folder / "reports" / "bento.json")["bento"]
    with serve(project, bento, DIGITS_LOG_PREDICTIONS="true", DIGITS_DATABASE_URL=database) as url:
        yield url


def test_feedback_is_recorded_and_withdrawn(visit: Visitor, logging_service: str) -> None:
    here = visit(logging_service)
    sent: list[dict[str, Any]] = []
    stand_in_for_the_log(here, sent)
    page = here.open()
    expect(page.locator("#feedback")).to_be_hidden()
    first = here.draw_and_wait(ONE)["request_id"]
    expect(page.locator("#feedback")).to_contain_text("Stored: the 28 × 28 pixels")
    labels = page.locator("#labels button")
    labels.nth(1).click()
    expect(page.locator("#thanks")).to_have_text("Thank you. Label 1 is saved.")
    expect(labels.nth(1)).to_have_attribute("aria-pressed", "true")
    here.picture("feedback")
    second = here.draw_and_wait([(0.2, 0.5), (0.8, 0.5)])["request_id"]
    expect(labels.nth(1)).to_have_attribute("aria-pressed", "false")
    labels.nth(7).click()
    expect(page.locator("#thanks")).to_have_text("Thank you. Label 7 is saved. 2 labels in total.")
    withdraw = page.get_by_role("button", name="Withdraw the last label")
    withdraw.click()
    expect(page.locator("#thanks")).to_have_text("Label 7 is withdrawn.")
    withdraw.click()  # of a drawing that is gone
    expect(page.locator("#thanks")).to_have_text("Label 1 is withdrawn.")
    expect(withdraw).to_be_hidden()
    assert sent == [
        {"request_id": first, "label": 1},
        {"request_id": second, "label": 7},
        {"request_id": second, "label": None},
        {"request_id": first, "label": None},
    ]


def stand_in_for_the_log(here: Visit, sent: list[dict[str, Any]]) -> None:
    """Notes what is sent to /feedback; answers in the service's place where it keeps no log yet."""
    logs = "digits-logged" in requests.post(f"{here.url}/compare", data=b"", timeout=30).headers

    def compare(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, headers={**answer.headers, "digits-logged": "pixels"})

    def feedback(route: Route) -> None:
        sent.append(json.loads(route.request.post_data or ""))
        route.continue_() if logs else route.fulfill(status=204)

    here.page.route("**/feedback", feedback)
    if not logs:
        here.page.route("**/compare", compare)


def test_where_nothing_is_logged_nothing_is_asked(here: Visit) -> None:
    here.draw_and_wait(ONE)
    expect(here.page.locator("#feedback")).to_be_hidden()


def test_report_cards_and_api_are_linked(here: Visit) -> None:
    names = requests.get(f"{here.url}/model", timeout=30).json()["models"]
    links = {link.get_attribute("href") for link in here.page.locator("footer a").all()}
    assert links == {"report", "docs", *(f"cards/{name}" for name in names)}
    for link in links:
        answer = requests.get(f"{here.url}/{link}", timeout=30)
        assert answer.status_code == 200 and "text/html" in answer.headers["content-type"], link


def test_the_api_page_shows_every_route_and_sends_requests(visit: Visitor) -> None:
    made = visit()
    made.page.goto(f"{made.url}/docs")
    paths = requests.get(f"{made.url}/docs.json", timeout=30).json()["paths"]
    expect(made.page.locator(".opblock")).to_have_count(len(paths))
    operation = made.page.locator(".opblock", has=made.page.locator("[data-path='/predict']"))
    operation.locator(".opblock-summary-control").click()
    expect(operation).to_contain_text("request_id")
    made.picture("docs")
    operation = made.page.locator(".opblock", has=made.page.locator("[data-path='/model']"))
    operation.locator(".opblock-summary-control").click()
    operation.get_by_role("button", name="Try it out").click()
    with made.page.expect_response("**/model") as answer:
        operation.get_by_role("button", name="Execute").click()
    assert answer.value.status == 200


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_axe_finds_nothing(visit: Visitor, scheme: str, width: int) -> None:
    here = visit(color_scheme=scheme, viewport={"width": width, "height": 800})
    sent: list[dict[str, Any]] = []
    stand_in_for_the_log(here, sent)
    page = here.open()
    check(here)
    here.draw_and_wait(SEVEN)
    page.locator("#why summary").click()
    page.locator("#inside summary").click()
    expect(page.locator("#inside-say")).to_contain_text("Prediction:")
    page.locator("#labels button").first.click()
    check(here)
    here.picture(f"all-{scheme}-{width}", full_page=True)
    page.get_by_role("button", name="Number").click()
    here.draw(ONE)
    expect(page.locator("#boxes rect")).to_have_count(1)
    check(here)


def check(here: Visit) -> None:
    """Every rule that axe has, WCAG 2.2 AA among them."""
    here.page.wait_for_timeout(300)
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    found = Axe().run(here.page, options={"runOnly": {"type": "tag", "values": tags}, "iframes": False})
    assert found.violations_count == 0, found.generate_report()
    assert len(found.response["passes"]) > 20  # it has looked


@pytest.mark.parametrize("width", [320, 375, 768, 1024, 1440, 2560])
def test_it_fits_every_width_and_does_not_jump(visit: Visitor, width: int) -> None:
    here = visit(viewport={"width": width, "height": 900})
    page = here.open()

    def places() -> list[float]:
        boxes = [page.locator(selector).bounding_box() for selector in ("#pad", "#models", "#why")]
        return [value for box in boxes if box for value in (box["y"], box["height"])]

    before = places()
    here.draw_and_wait(SEVEN)
    assert places() == pytest.approx(before, abs=1)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator("#why summary").click()
    page.locator("#inside summary").click()
    page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    here.picture(f"{width}")


def test_the_same_is_sent_in_the_dark(visit: Visitor) -> None:
    answers = []
    for scheme in ("light", "dark"):
        here = visit(color_scheme=scheme)
        here.open()
        answers.append(here.draw_and_wait(SEVEN)["pixels"])
        background = here.page.evaluate("() => getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g)")
        assert (sum(map(int, background)) < 120) == (scheme == "dark")
    assert answers[0] == answers[1]


def test_the_answer_is_told_to_screen_readers(here: Visit) -> None:
    verdict = here.page.locator("#verdict")
    assert verdict.get_attribute("role") == "status"
    here.draw_and_wait(SEVEN)
    snapshot = here.page.locator("main").aria_snapshot()
    assert f"status: {verdict.inner_text().strip()}" in snapshot.replace('"', "") or verdict.inner_text() in snapshot
    for name in ("Drawing area", "Undo", "Sample 7"):
        assert name in snapshot


COUNT_FRAMES = """() => {
    window.framesDrawn = 0;
    const pen = document.getElementById("pad").getContext("2d");
    const { clearRect } = pen;
    pen.clearRect = (...box) => { window.framesDrawn++; clearRect.apply(pen, box); };
}"""


def test_motion_is_reduced_where_that_is_wished(visit: Visitor) -> None:
    moving = {}
    for wish in ("reduce", "no-preference"):
        here = visit(reduced_motion=wish)
        page = here.open()
        page.evaluate(COUNT_FRAMES)
        with page.expect_response(lambda answer: answer.url.endswith("/compare") and final(answer)):
            page.get_by_role("button", name="Sample 8").click()
        transition = page.locator(".track i").first.evaluate("bar => getComputedStyle(bar).transitionDuration")
        moving[wish] = (page.evaluate("framesDrawn"), transition)
    assert moving["reduce"][0] == 1 and moving["no-preference"][0] > 2
    assert moving["reduce"][1] == "0s" and moving["no-preference"][1] != "0s"
