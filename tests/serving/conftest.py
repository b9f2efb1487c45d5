"""The page in a real browser, watched: what it says on the console and whom it asks; drawing on it as people do."""

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.conftest import Project

SCREENSHOTS = Path(os.environ.get("SCREENSHOTS", "screenshots"))
Points = list[tuple[float, float]]
ONE: Points = [(0.5, 0.2), (0.5, 0.5), (0.5, 0.8)]
SEVEN: Points = [(0.28, 0.22), (0.72, 0.22), (0.45, 0.82)]


class Visit:
    """A page that was opened, and what happened on it."""

    def __init__(self, browser: Browser, url: str, **options: Any) -> None:
        size = {"width": 1280, "height": 900}
        self.context = browser.new_context(**{"viewport": size, "reduced_motion": "reduce"} | options)
        self.page: Page = self.context.new_page()
        self.url, self.seen, self.requests = url, [], []
        self.page.on("console", lambda message: self.seen.append(f"console: {message.text}"))
        self.page.on("pageerror", lambda error: self.seen.append(f"error: {error}"))
        self.page.on("request", lambda request: self.requests.append(request.url))

    def open(self, models: int = 2) -> Page:
        self.page.goto(self.url)
        expect(self.page.locator(".model")).to_have_count(models)
        return self.page

    def places(self, points: Points) -> Points:
        box = self.page.locator("#pad").bounding_box()
        assert box
        return [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]

    def draw(self, points: Points) -> None:
        """One stroke with the mouse; `points` in shares of the drawing area."""
        places = self.places(points)
        self.page.mouse.move(*places[0])
        self.page.mouse.down()
        for place in places[1:]:
            self.page.mouse.move(*place, steps=8)
        self.page.mouse.up()

    def draw_and_wait(self, points: Points) -> dict[str, Any]:
        """Draw a stroke; the body of the answer to it, which is on the page then."""
        with self.page.expect_response(lambda answer: answer.url.endswith("/compare") and final(answer)) as waited:
            self.draw(points)
        answer: dict[str, Any] = waited.value.json()
        self.wait_for(answer)
        return answer

    def wait_for(self, answer: dict[str, Any]) -> None:
        """Until an answer of /compare is on the cards."""
        for card, result in zip(self.page.locator(".model").all(), answer["results"].values(), strict=True):
            shown = "–" if result["reason"] == "blank" else str(result["prediction"])
            expect(card.locator(".digit")).to_have_text(shown)
            share = f"{100 * result['probabilities'][0]:.0f}%"
            expect(card.locator(".share").first).to_have_text(share)

    def ink(self) -> int:
        """Pixels of the drawing area that are drawn on."""
        return int(
            self.page.evaluate(
                """() => {
                    const pad = document.getElementById("pad");
                    const copy = new OffscreenCanvas(pad.width, pad.height).getContext("2d");
                    copy.drawImage(pad, 0, 0);
                    const { data } = copy.getImageData(0, 0, pad.width, pad.height);
                    return data.filter((value, i) => i % 4 === 3 && value > 127).length;
                }"""
            )
        )

    def picture(self, name: str, **options: Any) -> None:
        SCREENSHOTS.mkdir(exist_ok=True)
        self.page.wait_for_timeout(250)  # the bars move
        self.page.screenshot(path=SCREENSHOTS / f"page-{name}.png", **options)

    def close(self) -> None:
        self.context.close()


def final(answer: Any) -> bool:
    """Whether an answer belongs to a finished stroke."""
    return "digits-draft" not in answer.request.headers


@pytest.fixture
def visit(browser: Browser, service: str) -> Iterator[Callable[..., Visit]]:
    """Opens the page of the running service. A console message that was not announced by `allow=` fails the test, and
    so does any request to somewhere else."""
    visits: list[tuple[Visit, tuple[str, ...]]] = []

    def start(url: str = service, allow: tuple[str, ...] = (), **options: Any) -> Visit:
        made = Visit(browser, url, **options)
        visits.append((made, allow))
        return made

    yield start
    for made, _ in visits:
        made.close()
    for made, allow in visits:
        unexpected = [message for message in made.seen if not any(words in message for words in allow)]
        elsewhere = [url for url in made.requests if not url.startswith((made.url, "data:", "blob:"))]
        assert unexpected == [] and elsewhere == []


def png(pixels: np.ndarray, scale: int = 1) -> bytes:
    """A picture of uint8 (h, w) as a file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels.repeat(scale, axis=0).repeat(scale, axis=1)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def found(service: str, project: Project) -> Callable[[Callable[[dict[str, Any]], bool]], bytes]:
    """Finds a picture whose answer by /compare is as wanted, among the project's test and non-digits."""
    images = []
    for file in ("prepared/test.npz", "derived/ood_samples.npz"):
        with np.load(project.folder / "data" / file) as content:
            images += list(content["images"][:200])

    def find(wanted: Callable[[dict[str, Any]], bool]) -> bytes:
        for image in images:
            content = png(255 - image, 8)
            answer = requests.post(f"{service}/compare", data=content, timeout=30).json()
            if wanted(answer):
                return content
        raise AssertionError(f"none of {len(images)} pictures is answered like that")

    return find
