"""Measures frame times and latency of the page in Chromium, with a throttled CPU.

    python benchmarks/page.py --url http://127.0.0.1:3000 [--throttle 4] [--expanded]

Draws sample digits with the mouse. Prints the frame time, the share of frames that take longer than two frames at 60
frames per second, the longest task of the main thread, the latency from the end of a stroke to the updated predictions,
and the bytes loaded for the first paint. --expanded: with the demo network and the explanation open, which update too.
"""

import argparse
import json
import shutil
from typing import Any

import numpy as np
from playwright.sync_api import Page, sync_playwright

ARGUMENTS = ["--no-sandbox", "--disable-background-networking"]
WEIGHT = """() => [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
    .reduce((sum, entry) => sum + entry.encodedBodySize, 0)"""
OBSERVE = """() => {
    window.frames = []; window.tasks = []; window.painted = [];
    new PerformanceObserver((list) => tasks.push(...list.getEntries().map((entry) => entry.duration)))
        .observe({ type: "longtask" });
    new MutationObserver(() => painted.push(performance.now()))
        .observe(document.getElementById("models"), { subtree: true, childList: true, characterData: true });
    const next = (time) => { frames.push(time); requestAnimationFrame(next); };
    requestAnimationFrame(next);
    document.getElementById("pad").addEventListener("pointerup", () => (window.ended = performance.now()));
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True, help="URL of a running service")
    parser.add_argument("--throttle", type=float, default=4, help="slow the CPU down by this factor")
    parser.add_argument("--expanded", action="store_true", help="open all sections that update with the drawing")
    settings = parser.parse_args()
    browser_path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(settings.url)
        page.locator(".model").first.wait_for()
        page.wait_for_load_state("networkidle")
        weight = page.evaluate(WEIGHT)
        result = {"first_paint_kB": round(weight / 1000, 1), **draw_all(page, settings.throttle, settings.expanded)}
        browser.close()
    print(json.dumps(result, indent=2))


def draw_all(page: Page, throttle: float, expanded: bool) -> dict[str, Any]:
    """Draws the ten sample digits with the mouse, one after another, and returns the measurements."""
    if expanded:
        page.locator("#why summary").click()
        page.locator("#inside summary").click()
        page.locator("#pad").scroll_into_view_if_needed()
    digits: list[list[list[list[float]]]] = page.evaluate("async () => (await import('/strokes.js')).DIGITS")
    page.context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": throttle})
    page.evaluate(OBSERVE)
    box = page.locator("#pad").bounding_box()
    assert box
    frames: list[float] = []
    latencies: list[float] = []
    for strokes in digits:
        page.evaluate("() => { frames.length = 0; painted.length = 0; }")
        for points in strokes:
            places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
            page.mouse.move(*places[0])
            page.mouse.down()
            for place in places:
                page.mouse.move(*place, steps=2)
            page.mouse.up()
        frames += np.diff(page.evaluate("frames")).tolist()
        page.wait_for_function("() => painted.some((time) => time > ended)")
        latencies.append(page.evaluate("() => Math.min(...painted.filter((time) => time > ended)) - ended"))
        page.get_by_role("button", name="Clear").click()
    tasks = page.evaluate("tasks")
    return {
        "throttle": throttle,
        "frames": len(frames),
        "frame_ms": {"median": round(float(np.median(frames)), 1), "p95": round(float(np.percentile(frames, 95)), 1)},
        "frames_over_34_ms": f"{np.mean(np.array(frames) > 34):.1%}",
        "longest_task_ms": round(max(tasks, default=0)),
        "stroke_end_to_answer_ms": {"median": round(float(np.median(latencies))), "worst": round(max(latencies))},
    }


if __name__ == "__main__":
    main()
