"""Page tests with failing services: drawing continues, the error is shown, and the page recovers."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Route, expect

from pipeline.deployment import bento_server
from pipeline.files import read_json
from tests.conftest import Project, serve
from tests.serving.conftest import ONE, SEVEN, Tab

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
        route.fulfill(status=503, headers={"retry-after": "1"}, json={"error": "the models are being loaded"})

    page.route("**/model", still_starting)
    page.goto(tab.url)
    expect(page.locator("#verdict")).to_have_text("The service is starting")
    tab.draw(SEVEN)
    tab.screenshot("starting")
    expect(page.locator(".digit").first).to_have_text(ANY_DIGIT, timeout=15_000)


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
