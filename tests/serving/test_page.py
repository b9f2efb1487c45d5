"""The page in a real browser: a drawn digit is answered by every model, and nothing leaves the service."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

pytestmark = pytest.mark.slow

SCREENSHOTS = Path(os.environ.get("SCREENSHOTS", "screenshots"))
ONE = [(0.5, 0.2), (0.5, 0.5), (0.5, 0.8)]


@pytest.fixture
def page(browser: Browser, service: str) -> Iterator[Page]:
    """The page, watched: any console message, failed request or request elsewhere fails the test."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    seen: list[str] = []
    page.on("console", lambda message: seen.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: seen.append(f"error: {error}"))
    page.on("request", lambda request: request.url.startswith((service, "data:", "blob:")) or seen.append(request.url))
    page.goto(service)
    expect(page.locator(".model")).to_have_count(2)
    yield page
    page.close()
    assert seen == []


def draw(page: Page, points: list[tuple[float, float]]) -> None:
    box = page.locator("#pad").bounding_box()
    assert box
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=8)
    page.mouse.up()


def test_a_drawn_digit_is_answered_by_every_model(page: Page) -> None:
    draw(page, ONE)
    expect(page.locator("#verdict")).to_contain_text("say")
    for model in page.locator(".model").all():
        expect(model.locator(".digit")).not_to_be_empty()
        assert sum(int(text.rstrip("%")) for text in model.locator("li span:last-child").all_inner_texts()) > 90
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / "page.png")


def test_clear_empties_everything(page: Page) -> None:
    draw(page, ONE)
    expect(page.locator(".model .digit").first).not_to_be_empty()
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#verdict")).to_have_text("Draw something.")
    expect(page.locator(".model .digit").first).to_be_empty()
    dark = page.evaluate(
        "() => document.getElementById('pad').getContext('2d').getImageData(280, 280, 1, 1).data[0] < 128"
    )
    assert not dark


def test_it_can_be_drawn_on_in_the_dark_and_on_a_phone(page: Page) -> None:
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 320, "height": 640})
    draw(page, ONE)
    expect(page.locator(".model .digit").first).not_to_be_empty()
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 320
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / "page-dark-phone.png", full_page=True)


def test_what_the_models_see_is_shown(page: Page) -> None:
    draw(page, ONE)
    expect(page.locator(".model .digit").first).not_to_be_empty()
    ink = page.evaluate(
        "() => [...document.getElementById('seen').getContext('2d').getImageData(0, 0, 28, 28).data]"
        ".filter((value, i) => i % 4 === 0 && value > 127).length"
    )
    assert 15 < ink < 200
