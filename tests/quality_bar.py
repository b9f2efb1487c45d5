"""Acceptance test after `make run`: the figures of the trained models, of the service, and of the page on drawn digits.

Usage: python -m tests.quality_bar URL
"""

import io
import re
import sys

import numpy as np
import requests
from playwright.sync_api import Page, expect, sync_playwright

from benchmarks import written_numbers
from pipeline.data.datasets import load_dataset
from pipeline.data.splits import load_split
from pipeline.drawing.number_pages import draw_pages
from pipeline.files import read_json
from pipeline.params import load_params
from pipeline.paths import REPORTS
from tests.conftest import CHROMIUM
from tests.drawing import hundred_digits

MINIMUM_TEST_ACCURACY = {"mnist": {"mlp": 0.985, "cnn": 0.994}}
BOUNDS = {  # of both models, where the README or docs/ state a figure: smallest and largest value
    ("mlp", "forms", "accuracy"): (0.98, 1),
    ("cnn", "forms", "accuracy"): (0.985, 1),
    ("mlp", "robustness", "mean_error"): (0, 0.05),
    ("cnn", "robustness", "mean_error"): (0, 0.025),
    ("mlp", "out_of_distribution", "accepted"): (0, 0.12),
    ("cnn", "out_of_distribution", "accepted"): (0, 0.10),
    ("mlp", "out_of_distribution", "false_rejections_test"): (0, 0.02),
    ("cnn", "out_of_distribution", "false_rejections_test"): (0, 0.02),
    ("mlp", "cost", "bytes"): (0, 2_000_000),
    ("cnn", "cost", "bytes"): (0, 200_000),
}
MINIMUM_NUMBERS = {"clean": 0.93, "touching": 0.83, "photographed": 0.92}  # exact numbers, of the CNN on 60 pages each
MINIMUM_DRAWN = 0.98  # accuracy on the hundred digits in tests/fixtures
SERVED_IMAGES = 256
HAND_DRAWN = {  # strokes of the mouse, as shares of the drawing area
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
    assert comparison["dataset"] == name, f"trained on {comparison['dataset']} instead of {name}: no mirror answered"
    dataset = load_dataset(name)
    for model, figures in comparison["models"].items():
        val, test = figures["val"]["accuracy"], figures["test"]["accuracy"]
        minimum = MINIMUM_TEST_ACCURACY.get(name, {}).get(model, 0.0)
        print(f"{model}: validation {val:.2%} (bar {dataset.bar(model):.2%}), test {test:.2%} (minimum {minimum:.2%})")
        assert val >= dataset.bar(model) and test >= minimum
    served = requests.get(f"{url}/model", timeout=10).json()
    assert served["dataset"] == name and set(served["models"]) == set(params.models)
    split = load_split("test")
    body = {"images": split.images[:SERVED_IMAGES].tolist()}
    results = requests.post(f"{url}/predict_pixels", json=body, timeout=60).json()["results"]
    accuracy = np.mean([row["prediction"] for row in results] == split.labels[:SERVED_IMAGES])
    print(f"service ({served['champion']}): accuracy {accuracy:.2%} on {SERVED_IMAGES} test images")
    assert accuracy >= 0.98
    if name == "mnist":
        for (model, group, figure), (low, high) in BOUNDS.items():
            value = comparison["models"][model][group][figure]
            print(f"{model}: {group} {figure} {value:,.4g} (from {low:,} to {high:,})")
            assert low <= value <= high
        read_generated_numbers()
        send_drawn_digits(url, list(comparison["models"]))
        draw_on_the_page(url)


def read_generated_numbers() -> None:
    """The CNN reads numbers on generated pages."""
    digits = written_numbers.pages_digits()
    for kind, minimum in MINIMUM_NUMBERS.items():
        seen = written_numbers.measure(
            draw_pages(*digits, kind, 60, written_numbers.SEED), written_numbers.evaluated_model("cnn")
        )
        share = seen["exact"] / seen["numbers"]
        print(f"{kind} numbers: {share:.1%} of {seen['numbers']} exact (minimum {minimum:.0%})")
        assert share >= minimum


def send_drawn_digits(url: str, models: list[str]) -> None:
    """Every model classifies the hundred drawn digits, sent as PNG files."""
    drawn = hundred_digits()
    for model in models:
        correct = 0
        for digit, image in drawn:
            file = io.BytesIO()
            image.save(file, "PNG")
            answer = requests.post(f"{url}/predict?model={model}", data=file.getvalue(), timeout=30)
            correct += answer.json()["prediction"] == digit
        print(f"{model}: {correct} of {len(drawn)} drawn digits (minimum {MINIMUM_DRAWN:.0%})")
        assert correct >= MINIMUM_DRAWN * len(drawn)


def draw_on_the_page(url: str) -> None:
    """Every model classifies the ten sample digits of the page and three digits drawn with the mouse correctly."""
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(url)
        page.locator(".model").first.wait_for()
        for digit in range(10):
            page.get_by_role("button", name=f"Sample {digit}").click()
            expect_prediction(page, digit)
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
            expect_prediction(page, digit)
        browser.close()
    print("page: every model classifies the ten sample digits and the drawn 1, 2 and 7 correctly")


def expect_prediction(page: Page, digit: int) -> None:
    """Wait until all models predict `digit`; fails after 10 seconds."""
    pattern = re.compile(rf"(models predict|Prediction:) {digit}$")
    expect(page.locator("#verdict"), f"the page's {digit}").to_have_text(pattern, timeout=10_000)
    assert {card.inner_text() for card in page.locator(".digit").all()} == {str(digit)}


if __name__ == "__main__":
    main(sys.argv[1])
