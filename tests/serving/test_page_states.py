"""The page when the service does not answer as wished: drawing goes on, what is wrong is said, and it recovers."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Route, expect

from pipeline.deployment import bento_server
from pipeline.files import read_json
from tests.conftest import Project, serve
from tests.serving.conftest import ONE, SEVEN, Visit

pytestmark = pytest.mark.slow

Visitor = Callable[..., Visit]
KEY = "a key for tests"
KNOWN = re.compile(r"^\d$")


def bento(project: Project) -> str:
    tag: str = read_json(project.folder / "reports" / "bento.json")["bento"]
    return tag


def test_the_key_is_asked_for_and_kept_for_the_session(visit: Visitor, project: Project) -> None:
    with serve(project, bento(project), DIGITS_API_KEY=KEY) as url:
        here = visit(url, allow=("401",))
        page = here.page
        page.goto(url)
        field = page.get_by_label("API key")
        expect(page.locator("#verdict")).to_have_text("API key required")
        here.draw(SEVEN)
        assert here.ink() > 0  # nothing blocks drawing
        field.fill("the wrong one")
        page.get_by_role("button", name="Submit").click()
        expect(page.locator("#verdict")).to_have_text("The API key was rejected")
        here.picture("key")
        field.fill(KEY)
        page.get_by_role("button", name="Submit").click()
        expect(page.locator(".digit").first).to_have_text(KNOWN)
        expect(field).to_be_hidden()
        page.reload()
        here.draw_and_wait(SEVEN)
        page.locator("#why summary").click()
        expect(page.locator("#why-say")).to_contain_text("less likely")
        assert page.evaluate("() => [localStorage.length, document.cookie, sessionStorage.length]") == [0, "", 1]
        other = visit(url, allow=("401",))  # another session does not have it
        other.page.goto(url)
        expect(other.page.get_by_label("API key")).to_be_visible()
        here.close(), other.close()


def test_too_many_requests_are_waited_out(visit: Visitor, project: Project) -> None:
    with serve(project, bento(project), DIGITS_RATE_PER_MINUTE="6") as url:
        here = visit(url, allow=("429",))
        page = here.open()
        retry = None

        def note(answer) -> None:
            nonlocal retry
            if answer.status == 429:
                retry = int(answer.headers["retry-after"])

        page.on("response", note)
        for place in range(8):
            here.draw([(0.1 + place / 10, 0.2), (0.1 + place / 10, 0.8)])
            page.wait_for_timeout(150)
        expect(page.locator("#verdict")).to_have_text("Too many requests")
        assert retry is not None and 1 <= retry <= 60
        expect(page.locator("#detail")).to_contain_text(f"retries in {retry} s")
        ink = here.ink()
        here.draw([(0.1, 0.5), (0.9, 0.5)])
        assert here.ink() > ink
        here.picture("too-many")
        here.close()


def test_after_the_wait_it_asks_again_by_itself(visit: Visitor) -> None:
    here = visit(allow=("429",))
    page = here.open()
    refused = 0

    def refuse_twice(route: Route) -> None:
        nonlocal refused
        refused += 1
        if refused > 2:
            return route.continue_()
        route.fulfill(status=429, headers={"retry-after": "1"}, json={"error": "too many at once"})

    page.route("**/compare", refuse_twice)
    here.draw(SEVEN)
    expect(page.locator("#verdict")).to_have_text("Too many requests")
    expect(page.locator(".digit").first).to_have_text(KNOWN, timeout=15_000)
    assert refused == 3


def test_a_service_that_starts_is_waited_for(visit: Visitor) -> None:
    here = visit(allow=("503",))
    page = here.page
    answers = iter([503, 503])

    def not_yet(route: Route) -> None:
        if next(answers, 200) == 200:
            return route.continue_()
        route.fulfill(status=503, headers={"retry-after": "1"}, json={"error": "the models are being loaded"})

    page.route("**/model", not_yet)
    page.goto(here.url)
    expect(page.locator("#verdict")).to_have_text("The service is starting")
    here.draw(SEVEN)
    here.picture("starting")
    expect(page.locator(".digit").first).to_have_text(KNOWN, timeout=15_000)


@contextmanager
def running(project: Project, port: int) -> Iterator[str]:
    """The project's Bento on a chosen port."""
    home, bento_server.BENTOML_HOME = bento_server.BENTOML_HOME, project.folder / ".bentoml"
    server = bento_server.start(bento(project), "127.0.0.1", port)
    try:
        bento_server.wait_until_ready(server, f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"
    finally:
        bento_server.stop(server)
        bento_server.BENTOML_HOME = home


def test_a_service_that_stops_and_comes_back(visit: Visitor, project: Project) -> None:
    port = bento_server.free_port()
    with running(project, port) as url:
        here = visit(url, allow=("ERR_",))
        page = here.open()
        here.draw_and_wait(ONE)
    here.draw([(0.3, 0.3), (0.7, 0.3)])
    expect(page.locator("#verdict")).to_have_text("The service does not respond")
    expect(page.locator(".digit").first).to_have_text("–")  # not the answer to another drawing
    here.draw([(0.3, 0.7), (0.7, 0.7)])  # drawing goes on
    ink = here.ink()
    here.picture("gone")
    with running(project, port):
        expect(page.locator("#verdict")).not_to_have_text("The service does not respond", timeout=30_000)
        expect(page.locator(".digit").first).to_have_text(KNOWN)
        assert here.ink() == ink
        here.close()


def test_an_answer_that_is_none_is_said(visit: Visitor) -> None:
    here = visit()
    page = here.open()
    page.route("**/compare", lambda route: route.fulfill(status=200, body="<html>a proxy speaks</html>"))
    here.draw(SEVEN)
    expect(page.locator("#verdict")).to_have_text("The request failed")
    expect(page.locator("#detail")).to_contain_text("proxy")
