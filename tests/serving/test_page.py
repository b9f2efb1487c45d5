"""The page in a real browser: drawing by every means, and what it shows of the models' answers."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import requests
from playwright.sync_api import Route, expect

from tests.conftest import REPOSITORY
from tests.drawing import draw as drawn
from tests.serving.conftest import ONE, SEVEN, Visit, final, png

pytestmark = pytest.mark.slow

Visitor = Callable[..., Visit]
SEEN = """() => {
    const copy = new OffscreenCanvas(28, 28).getContext("2d");
    copy.drawImage(document.getElementById("seen"), 0, 0);
    return [...copy.getImageData(0, 0, 28, 28).data].filter((_, i) => i % 4 === 0);
}"""
FOCUSED = "() => (({ id, ariaLabel, textContent }) => id || ariaLabel || textContent)(document.activeElement)"


@pytest.fixture
def here(visit: Visitor) -> Visit:
    made = visit()
    made.open()
    return made


def a_seven() -> bytes:
    return png(np.asarray(drawn().convert("L")))


def drop(visit: Visit, content: bytes, name: str, kind: str) -> None:
    """Drop or paste a file, as the browser tells the page of it."""
    visit.page.evaluate(
        """([bytes, name, kind]) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], name, {type: "image/png"}));
            const event = kind === "drop"
                ? new DragEvent("drop", {dataTransfer: transfer, bubbles: true, cancelable: true})
                : new ClipboardEvent("paste", {clipboardData: transfer, bubbles: true});
            document.getElementById("frame").dispatchEvent(event);
        }""",
        [list(content), name, kind],
    )


def test_a_drawn_digit_is_answered_by_every_model(here: Visit) -> None:
    answer = here.draw_and_wait(SEVEN)
    here.picture("answer")
    said = {result["prediction"] for result in answer["results"].values()}
    if len(said) == 1:
        expect(here.page.locator("#verdict")).to_have_text(f"Both models predict {said.pop()}")
    else:
        expect(here.page.locator("#verdict")).to_have_text("The models disagree")
    for card, (name, result) in zip(here.page.locator(".model").all(), answer["results"].items(), strict=True):
        expect(card.locator("h2")).to_contain_text(name)
        expect(card.locator("h2")).to_contain_text(f"version {result['version']}")
        shares = [f"{100 * value:.0f}%" for value in result["probabilities"]]
        assert card.locator(".share").all_inner_texts() == shares
    expect(here.page.locator("#detail")).to_contain_text(re.compile(r"Answered in \d+ ms"))


def test_the_pixels_shown_are_those_that_the_models_see(here: Visit) -> None:
    answer = here.draw_and_wait(ONE)
    assert here.page.evaluate(SEEN) == np.array(answer["pixels"]).ravel().tolist()


def test_it_answers_while_a_stroke_is_drawn(here: Visit) -> None:
    places = here.places(SEVEN)
    with here.page.expect_response(lambda answer: answer.url.endswith("/compare") and not final(answer)):
        here.page.mouse.move(*places[0])
        here.page.mouse.down()
        here.page.mouse.move(*places[1], steps=10)
    expect(here.page.locator(".share").first).not_to_be_empty()
    with here.page.expect_response(lambda answer: answer.url.endswith("/compare") and final(answer)):
        here.page.mouse.up()


def test_an_answer_that_came_too_late_is_not_shown(here: Visit) -> None:
    held: list[Route] = []

    def hold(route: Route) -> None:  # the first stroke's question, for ever
        if held or "digits-draft" in route.request.headers:
            return route.continue_()
        held.append(route)

    here.page.route("**/compare", hold)
    with here.page.expect_request(lambda asked: asked.url.endswith("/compare") and "digits-draft" not in asked.headers):
        here.draw(ONE)
    here.page.wait_for_timeout(200)
    with here.page.expect_event("requestfailed") as failed:
        here.draw_and_wait([(0.2, 0.5), (0.8, 0.5)])
    assert failed.value == held[0].request  # cancelled


def test_undo_redo_and_clear(here: Visit) -> None:
    undo, redo, clear = (here.page.get_by_role("button", name=name) for name in ("Undo", "Redo", "Clear"))
    for button in (undo, redo, clear):
        expect(button).to_be_disabled()
    here.draw_and_wait(ONE)
    one = here.ink()
    here.draw_and_wait([(0.2, 0.5), (0.8, 0.5)])
    two = here.ink()
    assert two > one > 0
    undo.click()
    assert here.ink() == one
    redo.click()
    assert here.ink() == two
    here.page.keyboard.press("Control+z")
    assert here.ink() == one
    here.page.keyboard.press("Control+Shift+z")
    assert here.ink() == two
    clear.click()
    assert here.ink() == 0
    expect(here.page.locator("#verdict")).to_have_text("Nothing drawn yet")
    expect(here.page.locator(".digit").first).to_have_text("–")
    here.page.keyboard.press("Control+z")
    assert here.ink() == two


def test_touch_draws_and_does_not_scroll(visit: Visitor) -> None:
    phone = visit(viewport={"width": 390, "height": 640}, has_touch=True, is_mobile=True)
    page = phone.open()
    session = phone.context.new_cdp_session(page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        spots = [{"x": x, "y": y} for x, y in points]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": spots})

    places = phone.places(ONE)
    with page.expect_response(lambda answer: answer.url.endswith("/compare") and final(answer)):
        touch("touchStart", places[0])
        for share in np.linspace(0, 1, 12):
            touch("touchMove", tuple(np.array(places[0]) + share * (np.array(places[2]) - places[0])))
        touch("touchEnd")
    assert phone.ink() > 500
    assert page.evaluate("scrollY") == 0
    expect(page.get_by_text("Camera")).to_be_attached()
    assert page.locator("#shot").get_attribute("capture") == "environment"
    for target in page.locator("button:visible, .button:visible").all():
        box = target.bounding_box()
        assert box and box["height"] >= 38 and box["width"] >= 38, target.inner_text()
    phone.picture("touch", full_page=True)


def test_a_pen_pressed_harder_draws_a_wider_stroke(here: Visit) -> None:
    session = here.context.new_cdp_session(here.page)
    inked = []
    for force in (0.1, 0.9):
        for kind, (x, y) in zip(("mousePressed", "mouseMoved", "mouseReleased"), here.places(ONE), strict=True):
            event = {"type": kind, "x": x, "y": y, "button": "left", "buttons": 1, "pointerType": "pen", "force": force}
            session.send("Input.dispatchMouseEvent", event | {"clickCount": 1})
        here.page.wait_for_timeout(100)
        inked.append(here.ink())
        here.page.get_by_role("button", name="Clear").click()
    assert 1.3 * inked[0] < inked[1]


def test_everything_can_be_done_with_the_keyboard(here: Visit) -> None:
    press = here.page.keyboard.press
    here.page.locator("#modes button").first.focus()
    press("Tab")
    press("Tab")
    expect(here.page.locator("#pad")).to_be_focused()
    for _ in range(6):
        press("ArrowUp")
    press("Space")
    expect(here.page.locator("#pen-state")).to_have_text("Pen is down")
    with here.page.expect_response(lambda answer: answer.url.endswith("/compare") and final(answer)):
        for _ in range(12):
            press("ArrowDown")
        press("Shift+ArrowDown")
        press("Space")
    assert here.ink() > 1000
    here.picture("keyboard")
    press("Delete")
    assert here.ink() == 0
    reached = set()
    for _ in range(60):
        press("Tab")
        reached.add(here.page.evaluate(FOCUSED))
    assert {"undo", "file", "Sample 0", "Sample 9", "API", "Comparison report"} <= reached
    assert {name[:3] for name in reached} >= {"Why", "Ins"}
    here.page.get_by_role("button", name="Sample 3").focus()
    with here.page.expect_response("**/compare"):
        press("Enter")
    here.page.get_by_role("button", name="Number").focus()
    press("Space")
    expect(here.page.locator("h1")).to_have_text("Write a number")


def test_upload_paste_and_drop_of_one_picture_give_one_answer(here: Visit, tmp_path: Path) -> None:
    content = a_seven()
    file = tmp_path / "seven.png"
    file.write_bytes(content)
    expected = requests.post(f"{here.url}/compare", data=content, timeout=30).json()
    for way in (
        lambda: here.page.locator("#file").set_input_files(file),
        lambda: drop(here, content, "seven.png", "drop"),
        lambda: drop(here, content, "seven.png", "paste"),
    ):
        way()
        here.wait_for(expected)
        expect(here.page.locator("#picture")).to_be_visible()
        assert here.page.evaluate(SEEN) == np.array(expected["pixels"]).ravel().tolist()
        here.page.get_by_role("button", name="Clear").click()
        expect(here.page.locator("#picture")).to_be_hidden()
        expect(here.page.locator(".digit").first).to_have_text("–")


def test_a_photograph_too_large_for_the_service_is_made_smaller(here: Visit, tmp_path: Path) -> None:
    large = np.random.default_rng(0).integers(215, 256, (1500, 2000), dtype=np.uint8)
    large[300:1200, 950:1050] = 20
    file = tmp_path / "photograph.png"
    file.write_bytes(png(large))
    assert file.stat().st_size > 2_000_000
    with here.page.expect_response("**/compare") as waited:
        here.page.locator("#file").set_input_files(file)
    assert waited.value.status == 200 and not (np.array(waited.value.json()["pixels"]) == 0).all()


def test_what_is_no_picture_is_refused_in_the_services_words(visit: Visitor, tmp_path: Path) -> None:
    here = visit(allow=("415", "ERR_"))
    here.open()
    file = tmp_path / "text.png"
    file.write_text("not a picture")
    here.page.locator("#file").set_input_files(file)
    expect(here.page.locator("#verdict")).to_have_text("The request failed")
    expect(here.page.locator("#detail")).to_contain_text("PNG")
    here.draw_and_wait(ONE)  # and it goes on


def test_a_blank_picture_is_said_to_be_blank(here: Visit) -> None:
    with here.page.expect_response("**/compare"):
        drop(here, png(np.full((100, 100), 255, np.uint8)), "blank.png", "drop")
    expect(here.page.locator(".note").first).to_have_text("Nothing drawn yet")
    expect(here.page.locator("#verdict")).to_have_text("Nothing drawn yet")
    expect(here.page.locator(".digit").first).to_have_text("–")


def test_disagreement_is_said_by_whom(here: Visit, found) -> None:
    content = found(lambda answer: len({result["prediction"] for result in answer["results"].values()}) == 2)
    with here.page.expect_response("**/compare") as waited:
        drop(here, content, "x.png", "drop")
    here.wait_for(waited.value.json())
    expect(here.page.locator("#verdict")).to_have_text("The models disagree")
    for name, result in waited.value.json()["results"].items():
        expect(here.page.locator("#detail")).to_contain_text(f"{name} predicts {result['prediction']}")
    here.picture("disagreement")


@pytest.mark.parametrize(
    ("reason", "said"),
    [("low_confidence", r"Not sure: \d or \d"), ("not_a_digit", "Does not look like a digit")],
)
def test_doubt_is_said_in_words(here: Visit, found, reason: str, said: str) -> None:
    def wanted(answer: dict) -> bool:
        return answer["results"][answer["champion"]]["reason"] == reason

    with here.page.expect_response("**/compare") as waited:
        drop(here, found(wanted), "x.png", "drop")
    answer = waited.value.json()
    here.wait_for(answer)
    card = here.page.locator(".model").nth(list(answer["results"]).index(answer["champion"]))
    expect(card.locator(".note")).to_have_text(re.compile(said))
    expect(card).to_have_class(re.compile("uncertain"))
    here.picture(reason)


def test_sample_digits_are_drawn_like_strokes(visit: Visitor) -> None:
    here = visit(reduced_motion="no-preference")
    page = here.open()
    for digit in range(10):
        with page.expect_response(lambda answer: answer.url.endswith("/compare") and final(answer)) as waited:
            page.get_by_role("button", name=f"Sample {digit}").click()
        assert (np.array(waited.value.json()["pixels"]) > 127).sum() > 30
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("button", name="Redo")).to_be_enabled()


def test_the_copied_command_gives_the_same_answer_in_a_shell(here: Visit) -> None:
    here.context.grant_permissions(["clipboard-read", "clipboard-write"])
    answer = here.draw_and_wait(SEVEN)
    here.page.get_by_role("button", name="Copy as curl command").click()
    expect(here.page.locator("#copied")).to_have_text("Copied.")
    command = here.page.evaluate("() => navigator.clipboard.readText()")
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True, timeout=60)
    import json

    repeated = json.loads(done.stdout)
    assert np.abs(np.array(repeated["pixels"]) - np.array(answer["pixels"])).mean() < 8  # centred once more
    assert repeated["results"].keys() == answer["results"].keys()


def test_the_first_paint_is_small(here: Visit) -> None:
    sizes = {}
    for url in {url for url in here.requests if not url.startswith("data:")}:
        sizes[url] = len(requests.get(url, timeout=30).content)
    assert {f"{here.url}/{name}" for name in ("app.js", "style.css", "texts.js")} <= sizes.keys()
    assert sum(sizes.values()) < 100_000, sizes
    assert not any("demo_network.bin" in url for url in sizes)


def test_texts_stand_in_one_place() -> None:
    page = REPOSITORY / "serving" / "page"
    body = re.sub(r"<(noscript|title)>.*?</\1>|<!--.*?-->", "", (page / "index.html").read_text(), flags=re.DOTALL)
    assert re.sub(r"<[^>]*>|\s", "", body) == ""
    assert not re.search(r'(?<!data-)\b(aria-label|alt|title|placeholder)="', body)
    named = set(re.findall(r'data-(?:text|label|alt)="(\w+)"', body))
    texts = (page / "texts.js").read_text()
    assert all(re.search(rf"^  {name}:", texts, re.MULTILINE) for name in named)
    for file in page.glob("*.js"):
        if file.name not in ("texts.js", "inside.js"):
            for string in re.findall(r'textContent = "([^"]+)"|aria-label", "([^"]+)"', file.read_text()):
                assert string == ("", ""), (file.name, string)
