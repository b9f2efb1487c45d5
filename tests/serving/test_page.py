"""Page tests in a real browser: input methods and predictions."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image
from playwright.sync_api import Route, expect

from recognition.preprocessing import Digit
from tests.conftest import REPOSITORY
from tests.drawing import draw as drawn
from tests.drawing import likeness
from tests.serving.conftest import ONE, SEVEN, Tab, is_final, png

pytestmark = pytest.mark.slow

TabFactory = Callable[..., Tab]
READ_MODEL_INPUT = """() => {
    const copy = new OffscreenCanvas(28, 28).getContext("2d");
    copy.drawImage(document.getElementById("seen"), 0, 0);
    return [...copy.getImageData(0, 0, 28, 28).data].filter((_, i) => i % 4 === 0);
}"""
FOCUSED = "() => (({ id, ariaLabel, textContent }) => id || ariaLabel || textContent)(document.activeElement)"


@pytest.fixture
def tab(new_tab: TabFactory) -> Tab:
    tab = new_tab()
    tab.open()
    return tab


def a_seven() -> bytes:
    return png(np.asarray(drawn().convert("L")))


def drop(tab: Tab, content: bytes, name: str, kind: str) -> None:
    """Dispatch the browser event for a dropped or pasted file."""
    tab.page.evaluate(
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


def test_every_model_predicts_a_drawn_digit(tab: Tab) -> None:
    answer = tab.draw_and_wait(SEVEN)
    tab.screenshot("answer")
    predictions = {result["prediction"] for result in answer["results"].values()}
    if len(predictions) == 1:
        expect(tab.page.locator("#verdict")).to_have_text(f"Both models predict {predictions.pop()}")
    else:
        expect(tab.page.locator("#verdict")).to_have_text("The models disagree")
    for card, (name, result) in zip(tab.page.locator(".model").all(), answer["results"].items(), strict=True):
        expect(card.locator("h2")).to_contain_text(name)
        expect(card.locator("h2")).to_contain_text(f"version {result['version']}")
        shares = [f"{100 * value:.0f}%" for value in result["probabilities"]]
        assert card.locator(".share").all_inner_texts() == shares
    expect(tab.page.locator("#detail")).to_contain_text(re.compile(r"Answered in \d+ ms"))


def test_the_model_input_is_shown(tab: Tab) -> None:
    answer = tab.draw_and_wait(ONE)
    assert tab.page.evaluate(READ_MODEL_INPUT) == np.array(answer["pixels"]).ravel().tolist()


def test_predictions_update_during_a_stroke(tab: Tab) -> None:
    positions = tab.positions(SEVEN)
    with tab.page.expect_response(lambda answer: answer.url.endswith("/compare") and not is_final(answer)):
        tab.page.mouse.move(*positions[0])
        tab.page.mouse.down()
        tab.page.mouse.move(*positions[1], steps=10)
    expect(tab.page.locator(".share").first).not_to_be_empty()
    with tab.page.expect_response(lambda answer: answer.url.endswith("/compare") and is_final(answer)):
        tab.page.mouse.up()


def test_a_late_response_is_cancelled(tab: Tab) -> None:
    held: list[Route] = []

    def hold(route: Route) -> None:  # never answer the request of the first stroke
        if held or "digits-draft" in route.request.headers:
            return route.continue_()
        held.append(route)

    tab.page.route("**/compare", hold)
    with tab.page.expect_request(lambda asked: asked.url.endswith("/compare") and "digits-draft" not in asked.headers):
        tab.draw(ONE)
    tab.page.wait_for_timeout(200)
    with tab.page.expect_event("requestfailed") as failed:
        tab.draw_and_wait([(0.2, 0.5), (0.8, 0.5)])
    assert failed.value == held[0].request  # cancelled


def test_undo_redo_and_clear(tab: Tab) -> None:
    undo, redo, clear = (tab.page.get_by_role("button", name=name) for name in ("Undo", "Redo", "Clear"))
    for button in (undo, redo, clear):
        expect(button).to_be_disabled()
    tab.draw_and_wait(ONE)
    one = tab.ink()
    tab.draw_and_wait([(0.2, 0.5), (0.8, 0.5)])
    two = tab.ink()
    assert two > one > 0
    undo.click()
    assert tab.ink() == one
    redo.click()
    assert tab.ink() == two
    tab.page.keyboard.press("Control+z")
    assert tab.ink() == one
    tab.page.keyboard.press("Control+Shift+z")
    assert tab.ink() == two
    clear.click()
    assert tab.ink() == 0
    expect(tab.page.locator("#verdict")).to_have_text("Nothing drawn yet")
    expect(tab.page.locator(".digit").first).to_have_text("–")
    tab.page.keyboard.press("Control+z")
    assert tab.ink() == two


def test_touch_draws_and_does_not_scroll(new_tab: TabFactory) -> None:
    phone = new_tab(viewport={"width": 390, "height": 640}, has_touch=True, is_mobile=True)
    page = phone.open()
    session = phone.context.new_cdp_session(page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        spots = [{"x": x, "y": y} for x, y in points]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": spots})

    positions = phone.positions(ONE)
    with page.expect_response(lambda answer: answer.url.endswith("/compare") and is_final(answer)):
        touch("touchStart", positions[0])
        for share in np.linspace(0, 1, 12):
            touch("touchMove", tuple(np.array(positions[0]) + share * (np.array(positions[2]) - positions[0])))
        touch("touchEnd")
    assert phone.ink() > 500
    assert page.evaluate("scrollY") == 0
    expect(page.get_by_text("Camera")).to_be_attached()
    assert page.locator("#shot").get_attribute("capture") == "environment"
    for target in page.locator("button:visible, .button:visible").all():
        box = target.bounding_box()
        assert box and box["height"] >= 38 and box["width"] >= 38, target.inner_text()
    phone.screenshot("touch", full_page=True)


def test_pen_pressure_sets_the_stroke_width(tab: Tab) -> None:
    session = tab.context.new_cdp_session(tab.page)
    inked = []
    for force in (0.1, 0.9):
        for kind, (x, y) in zip(("mousePressed", "mouseMoved", "mouseReleased"), tab.positions(ONE), strict=True):
            event = {"type": kind, "x": x, "y": y, "button": "left", "buttons": 1, "pointerType": "pen", "force": force}
            session.send("Input.dispatchMouseEvent", event | {"clickCount": 1})
        tab.page.wait_for_timeout(100)
        inked.append(tab.ink())
        tab.page.get_by_role("button", name="Clear").click()
    assert 1.3 * inked[0] < inked[1]


def test_the_page_works_with_the_keyboard(tab: Tab) -> None:
    press = tab.page.keyboard.press
    tab.page.locator("#modes button").first.focus()
    press("Tab")
    press("Tab")
    expect(tab.page.locator("#pad")).to_be_focused()
    for _ in range(6):
        press("ArrowUp")
    press("Space")
    expect(tab.page.locator("#pen-state")).to_have_text("Pen is down")
    with tab.page.expect_response(lambda answer: answer.url.endswith("/compare") and is_final(answer)):
        for _ in range(12):
            press("ArrowDown")
        press("Shift+ArrowDown")
        press("Space")
    assert tab.ink() > 1000
    tab.screenshot("keyboard")
    press("Delete")
    assert tab.ink() == 0
    press("Space")
    for _ in range(5):
        press("ArrowUp")
    press("Delete")  # during the first stroke of an empty drawing
    expect(tab.page.locator("#pen-state")).to_have_text("Pen is up")
    assert tab.ink() == 0
    expect(tab.page.locator("#verdict")).to_have_text("Nothing drawn yet")
    reached = set()
    for _ in range(60):
        press("Tab")
        reached.add(tab.page.evaluate(FOCUSED))
    assert {"undo", "file", "Sample 0", "Sample 9", "API", "Comparison report"} <= reached
    assert {name[:3] for name in reached} >= {"Why", "Ins"}
    tab.page.get_by_role("button", name="Sample 3").focus()
    with tab.page.expect_response("**/compare"):
        press("Enter")
    tab.page.get_by_role("button", name="Number").focus()
    press("Space")
    expect(tab.page.locator("h1")).to_have_text("Write a number")


def test_upload_paste_and_drop_give_the_same_predictions(tab: Tab, tmp_path: Path) -> None:
    content = a_seven()
    file = tmp_path / "seven.png"
    file.write_bytes(content)
    expected = requests.post(f"{tab.url}/compare", data=content, timeout=30).json()
    for submit in (
        lambda: tab.page.locator("#file").set_input_files(file),
        lambda: drop(tab, content, "seven.png", "drop"),
        lambda: drop(tab, content, "seven.png", "paste"),
    ):
        submit()
        tab.wait_for(expected)
        expect(tab.page.locator("#picture")).to_be_visible()
        assert tab.page.evaluate(READ_MODEL_INPUT) == np.array(expected["pixels"]).ravel().tolist()
        tab.page.get_by_role("button", name="Clear").click()
        expect(tab.page.locator("#picture")).to_be_hidden()
        expect(tab.page.locator(".digit").first).to_have_text("–")


def test_a_large_photograph_is_downscaled(tab: Tab, tmp_path: Path) -> None:
    large = np.random.default_rng(0).integers(215, 256, (1500, 2000), dtype=np.uint8)
    large[300:1200, 950:1050] = 20
    file = tmp_path / "photograph.png"
    file.write_bytes(png(large))
    assert file.stat().st_size > 2_000_000
    with tab.page.expect_response("**/compare") as waited:
        tab.page.locator("#file").set_input_files(file)
    assert waited.value.status == 200 and not (np.array(waited.value.json()["pixels"]) == 0).all()


def on_transparency(ink: int) -> Image.Image:
    """A seven in the given grey value on a transparent background, whose noise makes the file large."""
    noise = np.random.default_rng(0).integers(0, 256, (1000, 1000, 4), dtype=np.uint8)
    strokes = np.asarray(drawn(size=(1000, 1000), width=70).convert("L")) < 128
    noise[..., 3] = 255 * strokes
    noise[strokes, :3] = ink
    return Image.fromarray(noise)


@pytest.mark.parametrize(
    "picture",
    [
        pytest.param(lambda: on_transparency(0), id="dark ink on transparency"),
        pytest.param(lambda: on_transparency(255), id="white ink on transparency"),
        pytest.param(lambda: drawn(size=(5000, 5000), width=350).convert("1"), id="scan of 25 megapixels"),
    ],
)
def test_an_image_above_the_limits_is_downscaled(tab: Tab, tmp_path: Path, picture: Callable[[], Image.Image]) -> None:
    file = tmp_path / "large.png"
    picture().save(file)
    assert file.stat().st_size > 1_900_000 or picture().width * picture().height > 16_000_000
    expected = requests.post(f"{tab.url}/compare", data=a_seven(), timeout=30).json()
    with tab.page.expect_response("**/compare") as waited:
        tab.page.locator("#file").set_input_files(file)
    answer = waited.value.json()
    tab.wait_for(answer)
    first, second = (Digit(np.array(found["pixels"], np.uint8), blank=False) for found in (answer, expected))
    assert likeness(first, second) > 0.9
    for name, result in expected["results"].items():
        lower, higher = sorted(result["probabilities"])[-2:]
        assert higher - lower < 0.3 or answer["results"][name]["prediction"] == result["prediction"]


def test_an_invalid_image_shows_the_message_of_the_service(new_tab: TabFactory, tmp_path: Path) -> None:
    tab = new_tab(allow=("415", "ERR_"))
    tab.open()
    file = tmp_path / "text.png"
    file.write_text("not a picture")
    tab.page.locator("#file").set_input_files(file)
    expect(tab.page.locator("#verdict")).to_have_text("The request failed")
    expect(tab.page.locator("#detail")).to_contain_text("PNG")
    tab.draw_and_wait(ONE)  # the next drawing is predicted


def test_a_blank_image_is_reported_as_blank(tab: Tab) -> None:
    with tab.page.expect_response("**/compare"):
        drop(tab, png(np.full((100, 100), 255, np.uint8)), "blank.png", "drop")
    expect(tab.page.locator(".note").first).to_have_text("Nothing drawn yet")
    expect(tab.page.locator("#verdict")).to_have_text("Nothing drawn yet")
    expect(tab.page.locator(".digit").first).to_have_text("–")


def test_disagreement_names_the_prediction_of_each_model(tab: Tab, find_image) -> None:
    content = find_image(lambda answer: len({result["prediction"] for result in answer["results"].values()}) == 2)
    with tab.page.expect_response("**/compare") as waited:
        drop(tab, content, "x.png", "drop")
    tab.wait_for(waited.value.json())
    expect(tab.page.locator("#verdict")).to_have_text("The models disagree")
    for name, result in waited.value.json()["results"].items():
        expect(tab.page.locator("#detail")).to_contain_text(f"{name} predicts {result['prediction']}")
    tab.screenshot("disagreement")


@pytest.mark.parametrize(
    ("reason", "note"),
    [("low_confidence", r"Not sure: \d or \d"), ("not_a_digit", "Does not look like a digit")],
)
def test_an_uncertain_prediction_shows_its_reason(tab: Tab, find_image, reason: str, note: str) -> None:
    def wanted(answer: dict) -> bool:
        return answer["results"][answer["champion"]]["reason"] == reason

    with tab.page.expect_response("**/compare") as waited:
        drop(tab, find_image(wanted), "x.png", "drop")
    answer = waited.value.json()
    tab.wait_for(answer)
    card = tab.page.locator(".model").nth(list(answer["results"]).index(answer["champion"]))
    expect(card.locator(".note")).to_have_text(re.compile(note))
    expect(card).to_have_class(re.compile("uncertain"))
    tab.screenshot(reason)


def test_sample_digits_are_drawn_as_strokes(new_tab: TabFactory) -> None:
    tab = new_tab(reduced_motion="no-preference")
    page = tab.open()
    for digit in range(10):
        with page.expect_response(lambda answer: answer.url.endswith("/compare") and is_final(answer)) as waited:
            page.get_by_role("button", name=f"Sample {digit}").click()
        assert (np.array(waited.value.json()["pixels"]) > 127).sum() > 30
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("button", name="Redo")).to_be_enabled()


def test_the_copied_curl_command_gives_the_same_predictions(tab: Tab) -> None:
    tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    answer = tab.draw_and_wait(SEVEN)
    tab.page.get_by_role("button", name="Copy as curl command").click()
    expect(tab.page.locator("#copied")).to_have_text("Copied.")
    command = tab.page.evaluate("() => navigator.clipboard.readText()")
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True, timeout=60)
    import json

    repeated = json.loads(done.stdout)
    assert np.abs(np.array(repeated["pixels"]) - np.array(answer["pixels"])).mean() < 8  # preprocessed twice
    assert repeated["results"].keys() == answer["results"].keys()


def test_the_first_paint_is_small(tab: Tab) -> None:
    sizes = {}
    for url in {url for url in tab.requests if not url.startswith("data:")}:
        sizes[url] = len(requests.get(url, timeout=30).content)
    assert {f"{tab.url}/{name}" for name in ("app.js", "style.css", "texts.js")} <= sizes.keys()
    assert sum(sizes.values()) < 100_000, sizes
    assert not any("demo_network.bin" in url for url in sizes)


def test_all_texts_are_in_texts_js() -> None:
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
