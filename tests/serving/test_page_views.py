"""Page tests of the other views: explanations, demo network, number mode, feedback, API page, accessibility."""

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import pytest
import requests
import sqlalchemy as sql
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Response, Route, expect

from pipeline.files import read_json
from recognition.classifier import Classifier
from recognition.preprocessing import Digit
from records import database
from tests.conftest import Project, serve
from tests.drawing import likeness
from tests.serving.conftest import ONE, SEVEN, Tab, is_final

pytestmark = pytest.mark.slow

TabFactory = Callable[..., Tab]


@pytest.fixture
def tab(new_tab: TabFactory) -> Tab:
    tab = new_tab()
    tab.open()
    return tab


def painted(tab: Tab, selector: str) -> int:
    """Returns the number of non-empty pixels of a canvas."""
    count = """canvas => {
        const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d");
        copy.drawImage(canvas, 0, 0);
        return copy.getImageData(0, 0, canvas.width, canvas.height).data.filter((v, i) => i % 4 === 3 && v > 9).length;
    }"""
    return int(tab.page.locator(selector).evaluate(count))


def test_explanations_for_the_predicted_and_for_another_class(tab: Tab) -> None:
    page = tab.page
    answer = tab.draw_and_wait(SEVEN)
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
        assert painted(tab, f"#maps figure:nth-child({place + 1}) canvas") > 1000
    tab.screenshot("why", full_page=True)
    other = (label + 1) % 10
    with page.expect_response(f"**/explain?label={other}") as second:
        page.locator("#why-classes button").nth(other).click()
    assert second.value.json()["label"] == other
    expect(page.locator("#why-classes button").nth(other)).to_have_attribute("aria-pressed", "true")
    with page.expect_response("**/explain"):  # a new drawing is explained for the champion's prediction
        tab.draw(ONE)
    page.get_by_role("button", name="Clear").click()
    assert painted(tab, "#maps figure:nth-child(1) canvas") == 0


def test_explanations_are_loaded_on_demand(tab: Tab) -> None:
    tab.draw_and_wait(SEVEN)
    assert not any(url.endswith(("/explain", "/demo_network.bin")) for url in tab.requests)


def test_the_browser_computes_the_same_probabilities_as_litert(tab: Tab, project: Project) -> None:
    network = Classifier(project.folder / "data" / "derived" / "demo_network.tflite")
    random = np.random.default_rng(0)
    images = [np.zeros((28, 28), np.uint8), random.integers(0, 256, (28, 28), dtype=np.uint8)]
    images += [np.array(tab.draw_and_wait(points)["pixels"], np.uint8) for points in (ONE, SEVEN)]
    computed = tab.page.evaluate(
        """async (images) => {
            const { read, forward } = await import("/inside.js");
            const network = read(await (await fetch("/demo_network.bin")).arrayBuffer());
            return images.map((pixels) => [...forward(network, pixels).at(-1)]);
        }""",
        [image.ravel().tolist() for image in images],
    )
    assert np.array(computed) == pytest.approx(network.probabilities(np.stack(images)), abs=1e-5)


def test_the_demo_network_updates_during_a_stroke(tab: Tab, project: Project) -> None:
    page = tab.page
    with page.expect_response("**/demo_network.bin"):
        page.locator("#inside summary").click()
    say = page.locator("#inside-say")
    expect(say).to_have_text("Draw something to see the activations.")
    positions = tab.positions(SEVEN)
    page.mouse.move(*positions[0])
    page.mouse.down()
    page.mouse.move(*positions[1], steps=5)
    expect(say).to_contain_text("Prediction:")  # before the end of the stroke
    before = page.locator("#network").screenshot()
    page.mouse.move(*positions[2], steps=5)
    with page.expect_response(lambda answer: answer.url.endswith("/compare") and is_final(answer)) as waited:
        page.mouse.up()
    pixels = np.array(waited.value.json()["pixels"], np.uint8)
    expected = Classifier(project.folder / "data" / "derived" / "demo_network.tflite").probabilities(pixels[None])[0]
    share = float(expected.max())
    shown = "over 99.9%" if share > 0.9995 else f"{100 * share:.1f}%"
    expect(say).to_contain_text(f"Prediction: {expected.argmax()}, {shown} confident")
    assert page.locator("#network").screenshot() != before
    assert painted(tab, "#filters canvas:nth-child(1)") > 100
    tab.screenshot("inside", full_page=True)


def test_the_preview_approximates_the_preprocessing_of_the_service(tab: Tab) -> None:
    tab.page.locator("#inside summary").click()
    pixels = np.array(tab.draw_and_wait(SEVEN)["pixels"], np.uint8)
    preview = tab.page.evaluate(
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


def test_number_mode_draws_boxes_over_the_digits(tab: Tab) -> None:
    page = tab.page
    page.get_by_role("button", name="Number").click()
    expect(page.locator("h1")).to_have_text("Write a number")
    strokes = [[(left, 0.2), (left, 0.8)] for left in (0.2, 0.5, 0.8)]
    answers: list[Response] = []
    page.on("response", lambda answer: "/predict_number?model=cnn" in answer.url and answers.append(answer))
    for stroke in strokes:
        tab.draw(stroke)
    expect(page.locator("#boxes rect")).to_have_count(3)
    answer = answers[-1].json()
    assert len(answer["digits"]) == 3
    champion = requests.get(f"{tab.url}/model", timeout=30).json()["champion"]
    for place, (left, _) in enumerate(stroke[0] for stroke in strokes):
        box = page.locator("#boxes rect").nth(place).bounding_box()
        pad = page.locator("#pad").bounding_box()
        assert box and pad
        assert abs((box["x"] + box["width"] / 2 - pad["x"]) / pad["width"] - left) < 0.03
    cards = {card.locator("h2").inner_text().split()[0]: card for card in page.locator(".model").all()}
    expect(cards["cnn"].locator(".digit")).to_have_text(answer["number"])
    expect(page.locator("#boxes")).to_contain_text(cards[champion].locator(".digit").inner_text())
    tab.screenshot("number")
    tab.draw([(0.65, 0.2), (0.65, 0.8)])
    expect(page.locator("#boxes rect")).to_have_count(4)
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#boxes rect")).to_have_count(0)
    page.get_by_role("button", name="Digit", exact=True).click()
    tab.draw_and_wait(SEVEN)


@pytest.fixture(scope="module")
def log_database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """URL of the database of `logging_service`."""
    return f"sqlite:///{tmp_path_factory.mktemp('log') / 'log.db'}"


@pytest.fixture(scope="module")
def logging_service(project: Project, log_database: str) -> Iterator[str]:
    """URL of a service with the prediction log enabled, in a separate database."""
    bento = read_json(project.folder / "reports" / "bento.json")["bento"]
    with serve(project, bento, DIGITS_LOG_PREDICTIONS="true", DIGITS_DATABASE_URL=log_database) as url:
        yield url


def test_feedback_is_recorded_and_withdrawn(new_tab: TabFactory, logging_service: str, log_database: str) -> None:
    tab = new_tab(logging_service)
    page = tab.open()
    expect(page.locator("#feedback")).to_be_hidden()
    drawn = tab.draw_and_wait(ONE)
    first = drawn["request_id"]
    expect(page.locator("#feedback")).to_contain_text("Stored: the 28 × 28 pixels")
    labels = page.locator("#labels button")
    labels.nth(1).click()
    expect(page.locator("#thanks")).to_have_text("Thank you. Label 1 is saved.")
    expect(labels.nth(1)).to_have_attribute("aria-pressed", "true")
    tab.screenshot("feedback")
    second = tab.draw_and_wait([(0.2, 0.5), (0.8, 0.5)])["request_id"]
    expect(labels.nth(1)).to_have_attribute("aria-pressed", "false")
    labels.nth(7).click()
    expect(page.locator("#thanks")).to_have_text("Thank you. Label 7 is saved. 2 labels in total.")
    withdraw = page.get_by_role("button", name="Withdraw the last label")
    withdraw.click()
    expect(page.locator("#thanks")).to_have_text("Label 7 is withdrawn.")
    withdraw.click()  # of the previous drawing
    expect(page.locator("#thanks")).to_have_text("Label 1 is withdrawn.")
    expect(withdraw).to_be_hidden()
    engine = sql.create_engine(log_database)
    with engine.connect() as connection:
        labels_table, pictures = database.labels, database.pictures
        labelled = connection.execute(sql.select(labels_table).order_by(labels_table.c.id)).all()
        kept = connection.execute(sql.select(pictures.c.pixels).where(pictures.c.request_id == first)).scalar_one()
    engine.dispose()
    assert [(row.request_id, row.label) for row in labelled] == [(first, 1), (second, 7), (second, None), (first, None)]
    assert np.frombuffer(kept, np.uint8).reshape(28, 28).tolist() == drawn["pixels"]


def test_a_double_click_withdraws_one_label(new_tab: TabFactory, logging_service: str) -> None:
    tab = new_tab(logging_service)
    page = tab.open()
    withdraw, thanks = page.get_by_role("button", name="Withdraw the last label"), page.locator("#thanks")

    def draw_and_label(height: float, label: int) -> None:
        page.locator("#pad").scroll_into_view_if_needed()
        tab.draw_and_wait([(0.2, height), (0.8, height)])
        page.locator("#labels button").nth(label).click()
        expect(thanks).to_contain_text(f"Label {label} is saved.")

    held: list[Route] = []
    holding = False

    def hold(route: Route) -> None:
        if holding:
            held.append(route)
        else:
            route.continue_()

    def hold_withdrawal(act: Callable[[], None]) -> list[Route]:
        """The requests to /feedback that `act` sends, still without a response."""
        nonlocal holding
        held.clear()
        holding = True
        act()
        while not held:
            page.wait_for_timeout(50)
        holding = False
        return [*held]

    page.route("**/feedback", hold)
    for height, label in ((0.2, 1), (0.4, 2), (0.6, 3)):
        draw_and_label(height, label)
    for route in hold_withdrawal(withdraw.dblclick):
        route.continue_()
    expect(thanks).to_have_text("Label 3 is withdrawn.")
    (route,) = hold_withdrawal(withdraw.click)
    draw_and_label(0.8, 4)  # while the withdrawal of label 2 is under way
    route.continue_()
    expect(thanks).to_have_text("Label 2 is withdrawn.")
    withdraw.click()
    expect(thanks).to_have_text("Label 4 is withdrawn.")
    withdraw.click()
    expect(thanks).to_have_text("Label 1 is withdrawn.")
    expect(withdraw).to_be_hidden()


def test_a_label_that_is_not_saved_is_reported(new_tab: TabFactory, logging_service: str) -> None:
    tab = new_tab(logging_service, allow=("503",))
    tab.page.clock.install()
    page = tab.open()
    tab.draw_and_wait(ONE)
    summary = page.locator("#verdict").inner_text()
    error = {"error": "labels cannot be kept now; try again later", "code": "database_unavailable"}
    page.route("**/feedback", lambda route: route.fulfill(status=503, headers={"retry-after": "10"}, json=error))
    sent = len(tab.requests)
    page.locator("#labels button").nth(1).click()
    thanks = page.locator("#thanks")
    expect(thanks).to_have_text("The label is not saved: labels cannot be kept now; try again later")
    page.clock.fast_forward(60_000)
    page.unroute("**/feedback")
    expect(page.locator("#verdict")).to_have_text(summary)
    page.locator("#labels button").nth(1).click()
    expect(thanks).to_have_text("Thank you. Label 1 is saved.")
    assert tab.requests[sent:] == 2 * [f"{tab.url}/feedback"]  # the prediction is not repeated


def test_a_digit_of_a_number_is_corrected(new_tab: TabFactory, logging_service: str, log_database: str) -> None:
    tab = new_tab(logging_service)
    page = tab.open()
    page.get_by_role("button", name="Number").click()
    answers: list[Response] = []
    champion = requests.get(f"{tab.url}/model", timeout=30).json()["champion"]
    page.on("response", lambda answer: f"/predict_number?model={champion}" in answer.url and answers.append(answer))
    for left in (0.2, 0.5, 0.8):
        tab.draw([(left, 0.2), (left, 0.8)])
    expect(page.locator("#which button")).to_have_count(3)
    labels = page.locator("#labels button")
    expect(labels.first).to_be_disabled()  # a digit is chosen first
    page.locator("#which button").nth(1).click()
    expect(page.locator("#which button").nth(1)).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#boxes rect.chosen")).to_have_count(1)
    labels.nth(4).click()
    expect(page.locator("#thanks")).to_have_text("Thank you. Label 4 is saved.")
    tab.screenshot("number-feedback")
    shown = [answer.json()["request_id"] for answer in answers if len(answer.json()["digits"]) == 3]
    engine = sql.create_engine(log_database)
    with engine.connect() as connection:
        query = sql.select(database.labels).where(database.labels.c.request_id.in_(shown))
        (row,) = connection.execute(query).all()
    engine.dispose()
    assert (row.position, row.label) == (1, 4)
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#which")).to_be_hidden()
    page.locator("#pad").scroll_into_view_if_needed()
    tab.draw([(0.5, 0.2), (0.5, 0.8)])  # a number of one digit
    page.locator("#which button").click()
    labels.nth(1).click()
    expect(page.locator("#thanks")).to_have_text("Thank you. Label 1 is saved. 2 labels in total.")


def test_feedback_is_hidden_without_prediction_log(tab: Tab) -> None:
    tab.draw_and_wait(ONE)
    expect(tab.page.locator("#feedback")).to_be_hidden()


def test_report_cards_and_api_are_linked(tab: Tab) -> None:
    names = requests.get(f"{tab.url}/model", timeout=30).json()["models"]
    links = {link.get_attribute("href") for link in tab.page.locator("footer a").all()}
    assert links == {"report", "docs", *(f"cards/{name}" for name in names)}
    for link in links:
        answer = requests.get(f"{tab.url}/{link}", timeout=30)
        assert answer.status_code == 200 and "text/html" in answer.headers["content-type"], link


def test_the_api_page_lists_all_routes_and_sends_requests(new_tab: TabFactory) -> None:
    tab = new_tab()
    tab.page.goto(f"{tab.url}/docs")
    paths = requests.get(f"{tab.url}/docs.json", timeout=30).json()["paths"]
    expect(tab.page.locator(".opblock")).to_have_count(len(paths))
    operation = tab.page.locator(".opblock", has=tab.page.locator("[data-path='/predict']"))
    operation.locator(".opblock-summary-control").click()
    expect(operation).to_contain_text("request_id")
    tab.screenshot("docs")
    operation = tab.page.locator(".opblock", has=tab.page.locator("[data-path='/model']"))
    operation.locator(".opblock-summary-control").click()
    operation.get_by_role("button", name="Try it out").click()
    with tab.page.expect_response("**/model") as answer:
        operation.get_by_role("button", name="Execute").click()
    assert answer.value.status == 200


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_axe_finds_no_accessibility_violations(
    new_tab: TabFactory, logging_service: str, scheme: str, width: int
) -> None:
    tab = new_tab(logging_service, color_scheme=scheme, viewport={"width": width, "height": 800})
    page = tab.open()
    check(tab)
    tab.draw_and_wait(SEVEN)
    page.locator("#why summary").click()
    page.locator("#inside summary").click()
    expect(page.locator("#inside-say")).to_contain_text("Prediction:")
    page.locator("#labels button").first.click()
    check(tab)
    tab.screenshot(f"all-{scheme}-{width}", full_page=True)
    page.get_by_role("button", name="Number").click()
    tab.draw(ONE)
    expect(page.locator("#boxes rect")).to_have_count(1)
    check(tab)


def check(tab: Tab) -> None:
    """Check the axe rules for WCAG 2.2 AA and best practices."""
    tab.page.wait_for_timeout(300)
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    found = Axe().run(tab.page, options={"runOnly": {"type": "tag", "values": tags}, "iframes": False})
    assert found.violations_count == 0, found.generate_report()
    assert len(found.response["passes"]) > 20  # the rules were applied


ANSWERS = [  # the reason of both answers, and whether they agree
    *((reason, True) for reason in (None, "low_confidence", "not_a_digit")),
    *((reason, False) for reason in (None, "low_confidence", "not_a_digit")),
]


def kind(answer: tuple[str | None, bool]) -> str:
    """How the page marks an answer of ANSWERS."""
    reason, agree = answer
    return "disagree" if not agree else "uncertain" if reason else "agree"


@pytest.mark.parametrize("width", [320, 375, 640, 768, 1024, 1440, 2560])
def test_the_layout_fits_all_widths_and_no_answer_shifts_it(new_tab: TabFactory, width: int) -> None:
    tab = new_tab(viewport={"width": width, "height": 900})
    page = tab.open()
    chosen: tuple[str | None, bool] = ANSWERS[0]

    def answer_as_chosen(route: Route) -> None:
        response = route.fetch()
        content = response.json()
        for place, result in enumerate(content["results"].values()):
            shares = [0.0] * 10
            shares[7], shares[1] = (0.6, 0.4) if chosen[1] or place == 0 else (0.4, 0.6)
            result |= {"reason": chosen[0], "uncertain": chosen[0] is not None, "probabilities": shares}
            result["prediction"] = int(np.argmax(shares))
        route.fulfill(response=response, json=content)

    page.route("**/compare", answer_as_chosen)

    def layout() -> list[float]:
        boxes = [page.locator(selector).bounding_box() for selector in ("#pad", "#models", "#why")]
        return [value for box in boxes if box for value in (box["y"], box["height"])]

    before = layout()
    for chosen in ANSWERS:
        with page.expect_response("**/compare"):
            tab.draw(SEVEN)
        expect(page.locator("#result")).to_have_attribute("data-kind", kind(chosen))
        assert layout() == pytest.approx(before, abs=1), chosen
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.get_by_role("button", name="Clear").click()
        expect(page.locator("#verdict")).to_have_text("Nothing drawn yet")
    page.locator("#why summary").click()
    page.locator("#inside summary").click()
    page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    tab.screenshot(f"{width}")


def test_dark_mode_sends_the_same_image(new_tab: TabFactory) -> None:
    answers = []
    for scheme in ("light", "dark"):
        tab = new_tab(color_scheme=scheme)
        tab.open()
        answers.append(tab.draw_and_wait(SEVEN)["pixels"])
        background = tab.page.evaluate("() => getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g)")
        assert (sum(map(int, background)) < 120) == (scheme == "dark")
    assert answers[0] == answers[1]


def test_screen_readers_announce_the_prediction(tab: Tab) -> None:
    summary = tab.page.locator("#verdict")
    assert summary.get_attribute("role") == "status"
    tab.draw_and_wait(SEVEN)
    snapshot = tab.page.locator("main").aria_snapshot()
    assert f"status: {summary.inner_text().strip()}" in snapshot.replace('"', "") or summary.inner_text() in snapshot
    for name in ("Drawing area", "Undo", "Sample 7"):
        assert name in snapshot


COUNT_FRAMES = """() => {
    window.framesDrawn = 0;
    const pen = document.getElementById("pad").getContext("2d");
    const { clearRect } = pen;
    pen.clearRect = (...box) => { window.framesDrawn++; clearRect.apply(pen, box); };
}"""


def test_reduced_motion_disables_animations(new_tab: TabFactory) -> None:
    observed = {}
    for preference in ("reduce", "no-preference"):
        tab = new_tab(reduced_motion=preference)
        page = tab.open()
        page.evaluate(COUNT_FRAMES)
        with page.expect_response(lambda answer: answer.url.endswith("/compare") and is_final(answer)):
            page.get_by_role("button", name="Sample 8").click()
        transition = page.locator(".track i").first.evaluate("bar => getComputedStyle(bar).transitionDuration")
        observed[preference] = (page.evaluate("framesDrawn"), transition)
    assert observed["reduce"][0] == 1 and observed["no-preference"][0] > 1
    assert observed["reduce"][1] == "0s" and observed["no-preference"][1] != "0s"
