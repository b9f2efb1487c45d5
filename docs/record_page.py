"""Makes the pictures in docs/pictures from a running service: drawing.gif, page-inside.png and report.png.

python docs/record_page.py --url http://localhost:3000

The script needs Chromium (on Debian: apt-get install chromium). It moves the mouse over the page and takes screenshots
on the way, so the frames show the predictions that the service has sent by then. Screenshots contain no mouse pointer;
the script draws one.
"""

import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from playwright.sync_api import FloatRect, Page, sync_playwright
from scipy.interpolate import make_interp_spline

PICTURES = Path(__file__).resolve().parent / "pictures"
NAMES = ("drawing.gif", "page-inside.png", "report.png")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ARROW = np.array([(0, 0), (0, 20), (4.5, 15.5), (8, 23), (11.5, 21.5), (8, 14), (14, 14)])  # pixels
WIDTH = 760  # pixels of the recording
COLOURS = 64  # in its palette
FRAME_MILLISECONDS = 80
STEP = 0.045  # distance that the pen moves in a frame, as a share of the drawing area
MOVES = 5  # mouse movements in a frame; one alone would draw corners instead of curves
PAUSE = {"start": 5, "stroke": 3, "drawing": 24}  # frames

Strokes = list[list[tuple[float, float]]]
# Each stroke is a smooth curve through these points (x, y), in shares of the drawing area from its top left corner.
DRAWINGS: list[Strokes] = [
    [  # a 5
        [(0.36, 0.2), (0.34, 0.47), (0.5, 0.43), (0.64, 0.54), (0.6, 0.73), (0.44, 0.82), (0.3, 0.76)],
        [(0.36, 0.2), (0.52, 0.2), (0.68, 0.19)],
    ],
    [  # a 3 with almost closed loops, like an 8
        [
            (0.46, 0.32), (0.56, 0.19), (0.67, 0.32), (0.58, 0.44), (0.46, 0.47),
            (0.58, 0.57), (0.61, 0.72), (0.44, 0.81), (0.3, 0.7), (0.35, 0.58),
        ],
    ],
]  # fmt: skip


def curve(points: list[tuple[float, float]]) -> NDArray[np.float64]:
    """Returns the points (n, 2) of a spline through `points`, `STEP / MOVES` apart."""
    corners = np.array(points)
    distances = np.r_[0, np.cumsum(np.linalg.norm(np.diff(corners, axis=0), axis=1))]
    spline = make_interp_spline(distances, corners, k=min(3, len(points) - 1))
    return np.asarray(spline(np.linspace(0, distances[-1], round(distances[-1] / STEP) * MOVES + 1)))


def record(page: Page) -> Iterator[Image.Image]:
    """Draws `DRAWINGS` on the page and yields the frames."""
    area = page.locator("#pad").bounding_box()
    assert area
    corner, size = np.array([area["x"], area["y"]]), np.array([area["width"], area["height"]])
    position = corner + size / 2
    for drawing in DRAWINGS:
        page.locator("#clear").click(force=True)  # disabled while the area is empty
        yield from hold(page, position, PAUSE["start"])
        for stroke in drawing:
            points = corner + size * curve(stroke)
            yield from move(page, np.linspace(position, points[0], 4 * MOVES + 1))
            page.mouse.down()
            yield from move(page, points)
            page.mouse.up()
            position = points[-1]
            yield from hold(page, position, PAUSE["stroke"])
        yield from hold(page, position, PAUSE["drawing"])


def move(page: Page, points: NDArray[np.float64]) -> Iterator[Image.Image]:
    """Moves the mouse along `points` (n, 2) and yields a frame for every `MOVES` of them."""
    for number, (x, y) in enumerate(points[1:], start=1):
        page.mouse.move(x, y)
        if number % MOVES == 0:
            yield frame(page, points[number])


def hold(page: Page, position: NDArray[np.float64], count: int) -> Iterator[Image.Image]:
    for _ in range(count):
        yield frame(page, position)


def frame(page: Page, position: NDArray[np.float64]) -> Image.Image:
    """Returns a screenshot with a mouse pointer, scaled to `WIDTH`."""
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    ImageDraw.Draw(image).polygon([tuple(point) for point in ARROW + position], fill="white", outline="black")
    return image.resize((WIDTH, round(image.height * WIDTH / image.width)), Image.Resampling.LANCZOS)


def save_gif(frames: list[Image.Image], path: Path) -> None:
    """Writes an animation. All frames share a palette, so that unchanged areas cost nothing."""
    sample = Image.fromarray(np.concatenate([np.asarray(image) for image in frames[::12]]))
    palette = sample.quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE, kmeans=3)
    first, *others = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in frames]
    first.save(path, save_all=True, append_images=others, duration=FRAME_MILLISECONDS, loop=0, optimize=True)


def save_inside(page: Page, path: Path) -> None:
    """Opens the sections below the drawing for the sample digit 4 and writes a screenshot of them."""
    page.locator("#samples button").nth(4).click()
    page.locator("#why summary").click()
    page.locator("#inside summary").click()
    page.wait_for_timeout(3000)  # for the explanation and the network's animation
    top = page.locator("#why").evaluate("element => element.getBoundingClientRect().top + scrollY")
    bottom = page.locator("#network").evaluate("element => element.getBoundingClientRect().bottom + scrollY")
    save_screenshot(page, path, top, bottom)


def save_screenshot(page: Page, path: Path, top: float, bottom: float) -> None:
    """Writes a screenshot of the page between two heights in pixels."""
    clip: FloatRect = {"x": 0, "y": top, "width": page.evaluate("innerWidth"), "height": bottom - top}
    image = Image.open(io.BytesIO(page.screenshot(full_page=True, clip=clip))).convert("RGB")
    image.quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE, kmeans=3).save(path, optimize=True)


def main(
    url: Annotated[str, typer.Option(help="Address of a running service.")] = "http://localhost:3000",
    folder: Annotated[Path, typer.Option(help="Existing folder for the pictures.")] = PICTURES,
) -> None:
    """Record digits that are drawn on the page of a running service, and take screenshots."""
    drawing, inside, report = (folder / name for name in NAMES)
    browser_path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not browser_path:
        raise SystemExit("error: Chromium is required; on Debian run: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1100, "height": 690}, color_scheme="light")
        page.goto(url)
        page.wait_for_selector(".model")
        save_gif(list(record(page)), drawing)
        page.set_viewport_size({"width": 1080, "height": 800})
        save_inside(page, inside)
        page.goto(f"{url}/report")
        save_screenshot(page, report, 0, 1000)
        browser.close()
    for path in (drawing, inside, report):
        print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    typer.run(main)
