"""Fixtures of the page tests: a browser tab that records console messages and requests, and draws with the mouse."""

import io
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from pipeline.files import read_json, write_json
from tests.conftest import Project

SCREENSHOTS = Path(os.environ.get("SCREENSHOTS", "screenshots"))
Points = list[tuple[float, float]]
ONE: Points = [(0.5, 0.2), (0.5, 0.5), (0.5, 0.8)]
SEVEN: Points = [(0.28, 0.22), (0.72, 0.22), (0.45, 0.82)]


class Tab:
    """A browser tab with the page, its console messages and its requests."""

    def __init__(self, browser: Browser, url: str, **options: Any) -> None:
        size = {"width": 1280, "height": 900}
        self.context = browser.new_context(**{"viewport": size, "reduced_motion": "reduce"} | options)
        self.page: Page = self.context.new_page()
        self.url, self.messages, self.requests = url, [], []
        self.page.on("console", lambda message: self.messages.append(f"console: {message.text}"))
        self.page.on("pageerror", lambda error: self.messages.append(f"error: {error}"))
        self.page.on("request", lambda request: self.requests.append(request.url))

    def open(self, models: int = 2) -> Page:
        self.page.goto(self.url)
        expect(self.page.locator(".model")).to_have_count(models)
        return self.page

    def positions(self, points: Points) -> Points:
        box = self.page.locator("#pad").bounding_box()
        assert box
        return [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]

    def draw(self, points: Points) -> None:
        """Draw one stroke with the mouse. `points`: (x, y) in 0..1, relative to the drawing area."""
        positions = self.positions(points)
        self.page.mouse.move(*positions[0])
        self.page.mouse.down()
        for position in positions[1:]:
            self.page.mouse.move(*position, steps=8)
        self.page.mouse.up()

    def draw_and_wait(self, points: Points) -> dict[str, Any]:
        """Draw a stroke, wait until its predictions are shown, and return the body of the /compare response."""
        with self.page.expect_response(lambda answer: answer.url.endswith("/compare") and is_final(answer)) as waited:
            self.draw(points)
        answer: dict[str, Any] = waited.value.json()
        self.wait_for(answer)
        return answer

    def wait_for(self, answer: dict[str, Any]) -> None:
        """Wait until the cards show a response of /compare."""
        for card, result in zip(self.page.locator(".model").all(), answer["results"].values(), strict=True):
            shown = "–" if result["reason"] == "blank" else str(result["prediction"])
            expect(card.locator(".digit")).to_have_text(shown)
            share = f"{100 * result['probabilities'][0]:.0f}%"
            expect(card.locator(".share").first).to_have_text(share)

    def ink(self) -> int:
        """Returns the number of inked pixels of the drawing area."""
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

    def screenshot(self, name: str, **options: Any) -> None:
        SCREENSHOTS.mkdir(exist_ok=True)
        self.page.wait_for_timeout(250)  # until the transitions of the bars end
        self.page.screenshot(path=SCREENSHOTS / f"page-{name}.png", **options)

    def close(self) -> None:
        self.context.close()


def is_final(answer: Any) -> bool:
    """Returns whether a response belongs to a finished stroke."""
    return "digits-draft" not in answer.request.headers


@pytest.fixture
def new_tab(browser: Browser, service: str) -> Iterator[Callable[..., Tab]]:
    """Creates tabs for the running service. A test fails on console messages that `allow` does not list and on requests
    to other hosts."""
    tabs: list[tuple[Tab, tuple[str, ...]]] = []

    def create(url: str = service, allow: tuple[str, ...] = (), **options: Any) -> Tab:
        tab = Tab(browser, url, **options)
        tabs.append((tab, allow))
        return tab

    yield create
    for tab, _ in tabs:
        tab.close()
    for tab, allow in tabs:
        unexpected = [message for message in tab.messages if not any(words in message for words in allow)]
        other_hosts = [url for url in tab.requests if not url.startswith((tab.url, "data:", "blob:"))]
        assert unexpected == [] and other_hosts == []


def png(pixels: np.ndarray, scale: int = 1) -> bytes:
    """Returns pixels, uint8 (h, w), as PNG bytes, enlarged by `scale`."""
    buffer = io.BytesIO()
    Image.fromarray(pixels.repeat(scale, axis=0).repeat(scale, axis=1)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def find_image(service: str, project: Project) -> Callable[[Callable[[dict[str, Any]], bool]], bytes]:
    """Returns a function that finds a test or OOD image whose /compare response satisfies a condition, as PNG bytes."""
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
        raise AssertionError(f"no match among {len(images)} images")

    return find


@pytest.fixture
def directory(project: Project, tmp_path: Path) -> Path:
    """Both models of the small project, exported; the CNN is champion."""
    packaged = read_json(project.folder / "reports" / "bento.json")
    models = {}
    for name, entry in packaged["models"].items():
        stored = project.folder / ".bentoml" / "models" / Path(entry["tag"].replace(":", "/"))
        shutil.copytree(stored, tmp_path / f"v{entry['version']}-{entry['digest'][:12]}")
        models[name] = {
            "folder": f"v{entry['version']}-{entry['digest'][:12]}",
            "version": entry["version"],
            "digest": entry["digest"],
        }
    write_json(tmp_path / "current.json", {"dataset": "optdigits", "champion": "cnn", "models": models})
    return tmp_path


def change(directory: Path, edit: Callable[[dict], object]) -> None:
    current = read_json(directory / "current.json")
    edit(current)
    write_json(directory / "current.json", current)


def spoil(directory: Path) -> None:
    """Damage the CNN's file and point at it anew, as an interrupted copy would."""
    (file,) = (directory / read_json(directory / "current.json")["models"]["cnn"]["folder"]).glob("model.tflite")
    shutil.copytree(file.parent, directory / "broken")
    (directory / "broken" / "model.tflite").write_bytes(file.read_bytes()[:-100])
    change(directory, lambda current: current["models"]["cnn"].update(folder="broken", version="9"))
