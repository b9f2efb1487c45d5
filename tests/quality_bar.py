"""After `make run`: hold the trained models against the quality bars of the dataset, the service against its data, and
the page against digits that are drawn on it.

Usage: python -m tests.quality_bar URL
"""

import re
import sys

import numpy as np
import requests
from playwright.sync_api import Page, expect, sync_playwright

from pipeline.data.datasets import load_dataset
from pipeline.data.splits import load_split
from pipeline.files import read_json
from pipeline.params import load_params
from pipeline.paths import REPORTS
from tests.conftest import CHROMIUM

LEAST_TEST_ACCURACY = {"mnist": {"mlp": 0.985, "cnn": 0.994}}
SERVED_IMAGES = 256
HAND_DRAWN = {  # strokes with the mouse, in shares of the drawing area
    1: [[(0.52, 0.18), (0.5, 0.5), (0.49, 0.83)]],
    2: [
        [
            (0.3, 0.33),
            (0.38, 0.22),
            (0.52, 0.18),
            (0.66, 0.26),
            (0.66, 0.4),
            (0.5, 0.6),
            (0.3, 0.8),
            (0.5, 0.79),
            (0.74, 0.8),
        ]
    ],
    7: [[(0.27, 0.22), (0.5, 0.21), (0.73, 0.22), (0.6, 0.5), (0.45, 0.84)]],
}


def main(url: str) -> None:
    params = load_params()
    comparison = read_json(REPORTS / "comparison.json")
    name = params.data.dataset
    assert comparison["dataset"] == name, f"trained on {comparison['dataset']}, not on {name}: no mirror was reached"
    bars = load_dataset(name)
    for model, figures in comparison["models"].items():
        val, test = figures["val"]["accuracy"], figures["test"]["accuracy"]
        least = LEAST_TEST_ACCURACY.get(name, {}).get(model, 0.0)
        print(f"{model}: validation {val:.2%} (bar {bars.bar(model):.2%}), test {test:.2%} (least {least:.2%})")
        assert val >= bars.bar(model) and test >= least
    served = requests.get(f"{url}/model", timeout=10).json()
    assert served["dataset"] == name and set(served["models"]) == set(params.models)
    split = load_split("test")
    body = {"images": split.images[:SERVED_IMAGES].tolist()}
    results = requests.post(f"{url}/predict_pixels", json=body, timeout=60).json()["results"]
    right = np.mean([row["prediction"] for row in results] == split.labels[:SERVED_IMAGES])
    print(f"served by {served['champion']}: {right:.2%} of {SERVED_IMAGES} test images right")
    assert right >= 0.98
    if name == "mnist":
        draw_on_the_page(url)


def draw_on_the_page(url: str) -> None:
    """The page's ten sample digits and three drawn with the mouse: every model reads them all."""
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(url)
        page.locator(".model").first.wait_for()
        for digit in range(10):
            page.get_by_role("button", name=f"Sample {digit}").click()
            expect_all_to_say(page, digit)
        for digit, strokes in HAND_DRAWN.items():
            page.get_by_role("button", name="Clear").click()
            box = page.locator("#pad").bounding_box()
            assert box
            for points in strokes:
                places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
                page.mouse.move(*places[0])
                page.mouse.down()
                for place in places:
                    page.mouse.move(*place, steps=6)
                page.mouse.up()
            expect_all_to_say(page, digit)
        browser.close()
    print("on the page: every model reads ten of ten sample digits, and 1, 2 and 7 drawn with the mouse")


def expect_all_to_say(page: Page, digit: int) -> None:
    """Wait until the page's verdict is that all models say `digit`; fails after 10 seconds."""
    pattern = re.compile(rf"(models say|is a) {digit}$")
    expect(page.locator("#verdict"), f"the page's {digit}").to_have_text(pattern, timeout=10_000)
    assert {card.inner_text() for card in page.locator(".digit").all()} == {str(digit)}


if __name__ == "__main__":
    main(sys.argv[1])
