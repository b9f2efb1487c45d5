"""Page tests with failing or changing services: drawing continues, the error is shown, and the page recovers."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Route, expect

from pipeline.deployment import bento_server
from pipeline.files import read_json, write_json
from tests.conftest import Project, serve
from tests.serving.conftest import ONE, SEVEN, Tab, change, is_final

pytestmark = pytest.mark.slow

TabFactory = Callable[..., Tab]
KEY = "a key for tests"
ANY_DIGIT = re.compile(r"^\d$")


def bento(project: Project) -> str:
    tag: str = read_json(project.folder / "reports" / "bento.json")["bento"]
    return tag


def test_the_api_key_is_requested_and_kept_for_the_session(new_tab: TabFactory, project: Project) -> None:
    with serve(project, bento(project), DIGITS_API_KEY=KEY) as url:
        tab = new_tab(url, allow=("401",))
        page = tab.page
        page.goto(url)
        field = page.get_by_label("API key")
        expect(page.locator("#verdict")).to_have_text("API key required")
        tab.draw(SEVEN)
        assert tab.ink() > 0  # the missing key does not block drawing
        field.fill("a wrong key")
        page.get_by_role("button", name="Submit").click()
        expect(page.locator("#verdict")).to_have_text("The API key was rejected")
        tab.screenshot("key")
        field.fill(KEY)
        page.get_by_role("button", name="Submit").click()
        expect(page.locator(".digit").first).to_have_text(ANY_DIGIT)
        expect(field).to_be_hidden()
        page.reload()
        tab.draw_and_wait(SEVEN)
        page.locator("#why summary").click()
        expect(page.locator("#why-say")).to_contain_text("less likely")
        assert page.evaluate("() => [localStorage.length, document.cookie, sessionStorage.length]") == [0, "", 1]
        other = new_tab(url, allow=("401",))  # the key is not shared with other sessions
        other.page.goto(url)
        expect(other.page.get_by_label("API key")).to_be_visible()
        tab.close(), other.close()


def test_the_rate_limit_is_shown_with_the_waiting_time(new_tab: TabFactory, project: Project) -> None:
    with serve(project, bento(project), DIGITS_RATE_PER_MINUTE="6") as url:
        tab = new_tab(url, allow=("429",))
        page = tab.open()
        retry = None

        def note(answer) -> None:
            nonlocal retry
            if answer.status == 429:
                retry = int(answer.headers["retry-after"])

        page.on("response", note)
        for place in range(8):
            tab.draw([(0.1 + place / 10, 0.2), (0.1 + place / 10, 0.8)])
            page.wait_for_timeout(150)
        expect(page.locator("#verdict")).to_have_text("Too many requests")
        assert retry is not None and 1 <= retry <= 60
        expect(page.locator("#detail")).to_contain_text(f"retries in {retry} s")
        ink = tab.ink()
        tab.draw([(0.1, 0.5), (0.9, 0.5)])
        assert tab.ink() > ink
        tab.screenshot("too-many")
        tab.close()


def test_rejected_requests_are_retried(new_tab: TabFactory) -> None:
    tab = new_tab(allow=("429",))
    page = tab.open()
    rejected = 0

    def reject_twice(route: Route) -> None:
        nonlocal rejected
        rejected += 1
        if rejected > 2:
            return route.continue_()
        route.fulfill(status=429, headers={"retry-after": "1"}, json={"error": "too many at once"})

    page.route("**/compare", reject_twice)
    tab.draw(SEVEN)
    expect(page.locator("#verdict")).to_have_text("Too many requests")
    expect(page.locator(".digit").first).to_have_text(ANY_DIGIT, timeout=15_000)
    assert rejected == 3


def test_the_page_waits_for_a_starting_service(new_tab: TabFactory) -> None:
    tab = new_tab(allow=("503",))
    page = tab.page
    answers = iter([503, 503])

    def still_starting(route: Route) -> None:
        if next(answers, 200) == 200:
            return route.continue_()
        route.fulfill(
            status=503, headers={"retry-after": "1"}, json={"error": "the models are being loaded", "code": "not_ready"}
        )

    page.route("**/model", still_starting)
    page.goto(tab.url)
    expect(page.locator("#verdict")).to_have_text("The service is starting")
    tab.draw(SEVEN)
    tab.screenshot("starting")
    expect(page.locator(".digit").first).to_have_text(ANY_DIGIT, timeout=15_000)


def test_an_image_that_exceeds_the_deadline_is_not_sent_again(new_tab: TabFactory) -> None:
    tab = new_tab(allow=("503",))
    tab.page.clock.install()
    page = tab.open()
    error = {"error": "no answer within 10 s", "code": "deadline_exceeded"}
    page.route("**/compare", lambda route: route.fulfill(status=503, headers={"retry-after": "1"}, json=error))
    page.get_by_role("button", name="Sample 7").click()
    expect(page.locator("#verdict")).to_have_text("The request failed")
    expect(page.locator("#detail")).to_have_text("no answer within 10 s")
    page.clock.fast_forward(60_000)
    page.evaluate("() => fetch('livez')")  # a later request
    assert [url for url in tab.requests if url.endswith("/compare")] == [f"{tab.url}/compare"]
    page.unroute("**/compare")
    page.get_by_role("button", name="Sample 1", exact=True).click()
    expect(page.locator(".digit").first).to_have_text(ANY_DIGIT)


def promote(url: str, directory: Path, edit: Callable[[dict], object]) -> None:
    """Change the served models, and wait until the service has loaded them."""
    change(directory, edit)
    current, deadline = read_json(directory / "current.json"), time.monotonic() + 60
    expected = current["champion"], {name: entry["version"] for name, entry in current["models"].items()}
    while True:
        found = requests.get(f"{url}/model", timeout=30).json()
        if (found["champion"], {name: entry["version"] for name, entry in found["models"].items()}) == expected:
            return
        assert time.monotonic() < deadline, "the models are not loaded"
        time.sleep(0.1)


def test_an_open_page_follows_the_served_models(new_tab: TabFactory, project: Project, directory: Path) -> None:
    def add_challenger(current: dict) -> None:
        current["models"]["challenger"] = {**current["models"]["mlp"], "version": "6"}

    def promote_mlp(current: dict) -> None:
        current["champion"] = "mlp"
        current["models"]["mlp"]["version"] = "5"

    with serve(project, bento(project), DIGITS_MODEL_DIR=str(directory), DIGITS_WORKERS="1") as url:
        tab = new_tab(url)
        page = tab.open()
        tab.draw_and_wait(ONE)
        promote(url, directory, add_challenger)
        with page.expect_response(lambda answer: answer.url.endswith("/compare") and is_final(answer)) as waited:
            tab.draw([(0.2, 0.5), (0.8, 0.5)])
        answer = waited.value.json()
        cards = page.locator(".model")
        expect(cards).to_have_count(3)
        expect(cards.nth(2).locator("h2")).to_have_text("challengerversion 6")
        tab.wait_for(answer)
        predictions = {result["prediction"] for result in answer["results"].values()}
        summary = "The models disagree" if len(predictions) > 1 else f"All 3 models predict {predictions.pop()}"
        expect(page.locator("#verdict")).to_have_text(summary)
        expect(page.locator("footer a")).to_contain_text(["report", "mlp", "cnn", "challenger", "API"])
        promote(url, directory, promote_mlp)
        tab.draw([(0.2, 0.7), (0.8, 0.7)])
        expect(cards.filter(has_text="version 5")).to_contain_text("champion")
        expect(cards.filter(has_text="champion")).to_have_count(1)
        page.get_by_role("button", name="Number").click()
        tab.draw([(0.3, 0.2), (0.3, 0.8)])
        expect(page.locator("#boxes rect")).to_have_count(1)
        promote(url, directory, lambda current: current["models"].pop("challenger"))
        tab.draw([(0.7, 0.2), (0.7, 0.8)])
        expect(page.locator("#boxes rect")).to_have_count(2)
        expect(cards).to_have_count(2)
        expect(page.locator("#verdict")).to_have_text(re.compile("Prediction: |The models disagree"))
        tab.close()


def test_an_open_page_follows_a_change_of_classes(new_tab: TabFactory, project: Project, directory: Path) -> None:
    def replace_all(current: dict) -> None:
        for entry in current["models"].values():
            card = directory / entry["folder"] / "model.json"
            write_json(card, read_json(card) | {"classes": [*"abcdefghij"]})
            entry["version"] = "7"

    with serve(project, bento(project), DIGITS_MODEL_DIR=str(directory), DIGITS_WORKERS="1") as url:
        tab = new_tab(url)
        page = tab.open()
        page.get_by_role("button", name="Number").click()
        tab.draw(ONE)
        expect(page.locator("#boxes rect")).to_have_count(1)
        promote(url, directory, replace_all)
        tab.draw([(0.2, 0.5), (0.8, 0.5)])
        expect(page.locator("h1")).to_have_text("Draw a character")
        expect(page.locator(".digit").first).to_have_text(re.compile("^[a-j]$"))
        assert page.locator("#labels button").all_text_contents() == [*"abcdefghij"]
        assert page.locator("#why-classes button").all_text_contents() == [*"abcdefghij"]
        for hidden in ("#modes", "#samples", "#boxes rect"):
            expect(page.locator(hidden)).to_be_hidden()
        tab.close()


def test_the_page_retries_while_the_service_replaces_its_models(new_tab: TabFactory) -> None:
    tab = new_tab(allow=("404",))
    page = tab.open()
    changes = iter([True])

    def change_version(route: Route) -> None:
        if not next(changes, False):
            return route.continue_()
        response = route.fetch()
        content = response.json()
        content["results"]["mlp"]["version"] = "99"
        route.fulfill(response=response, json=content)

    def forget_model(route: Route) -> None:
        if not next(changes, False):
            return route.continue_()
        route.fulfill(status=404, json={"error": "there is no model challenger", "code": "unknown_model"})

    page.route("**/compare", change_version)
    page.get_by_role("button", name="Sample 7").click()
    expect(page.locator("#verdict")).to_have_text("The models are being replaced")
    expect(page.locator(".digit").first).to_have_text(ANY_DIGIT, timeout=15_000)
    page.get_by_role("button", name="Number").click()
    changes = iter([True])
    page.route("**/predict_number?*", forget_model)
    tab.draw(ONE)
    expect(page.locator("#verdict")).to_have_text("The models are being replaced")
    expect(page.locator("#boxes rect")).to_have_count(1, timeout=15_000)


@contextmanager
def running(project: Project, port: int) -> Iterator[str]:
    """Serve the project's Bento on the given port."""
    server = bento_server.start(bento(project), "127.0.0.1", port, home=project.folder / ".bentoml")
    try:
        bento_server.wait_until_ready(server, f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"
    finally:
        bento_server.stop(server)


def test_the_page_recovers_after_a_restart_of_the_service(new_tab: TabFactory, project: Project) -> None:
    port = bento_server.free_port()
    with running(project, port) as url:
        tab = new_tab(url, allow=("ERR_",))
        page = tab.open()
        tab.draw_and_wait(ONE)
    tab.draw([(0.3, 0.3), (0.7, 0.3)])
    expect(page.locator("#verdict")).to_have_text("The service does not respond")
    expect(page.locator(".digit").first).to_have_text("–")  # no outdated prediction
    tab.draw([(0.3, 0.7), (0.7, 0.7)])  # drawing still works
    ink = tab.ink()
    tab.screenshot("gone")
    with running(project, port):
        expect(page.locator("#verdict")).not_to_have_text("The service does not respond", timeout=30_000)
        expect(page.locator(".digit").first).to_have_text(ANY_DIGIT)
        assert tab.ink() == ink
        tab.close()


def test_an_invalid_response_is_reported(new_tab: TabFactory) -> None:
    tab = new_tab()
    page = tab.open()
    page.route("**/compare", lambda route: route.fulfill(status=200, body="<html>proxy error</html>"))
    tab.draw(SEVEN)
    expect(page.locator("#verdict")).to_have_text("The request failed")
    expect(page.locator("#detail")).to_contain_text("proxy")
