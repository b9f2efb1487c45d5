"""The diagrams of the site as inline SVG, in the colours of the page. On GitHub, Mermaid draws them."""

import html
from typing import NamedTuple

CHARACTER = 7.0  # pixels, mean width at a size of 13


class Box(NamedTuple):
    """A box with a text, at its centre (x, y) in pixels."""

    text: str
    x: float
    y: float
    width: float = 110
    height: float = 34
    kind: str = "box"  # or "store", drawn with round ends

    def draw(self) -> str:
        radius = self.height / 2 if self.kind == "store" else 5
        return (
            f'<rect class="{self.kind}" x="{self.x - self.width / 2:g}" y="{self.y - self.height / 2:g}" '
            f'width="{self.width:g}" height="{self.height:g}" rx="{radius:g}"/>'
            f'<text x="{self.x:g}" y="{self.y + 4.5:g}">{html.escape(self.text)}</text>'
        )


def arrow(*points: tuple[float, float], text: str = "", at: tuple[float, float] | None = None) -> str:
    """A line through points (x, y) with a head at its end, and a label at its middle or at `at`."""
    path = "M" + " L".join(f"{x:g} {y:g}" for x, y in points)
    drawn = f'<path class="arrow" d="{path}" marker-end="url(#head)"/>'
    if text:
        x, y = at or ((points[0][0] + points[-1][0]) / 2, (points[0][1] + points[-1][1]) / 2)
        width = len(text) * CHARACTER * 0.88 + 8
        drawn += f'<rect class="blank" x="{x - width / 2:g}" y="{y - 9:g}" width="{width:g}" height="18"/>'
        drawn += f'<text class="label" x="{x:g}" y="{y + 4:g}">{html.escape(text)}</text>'
    return drawn


def svg(width: int, height: int, title: str, parts: list[str]) -> str:
    """An SVG element of this size in pixels."""
    head = (
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0 L8 4 L0 8 z"/></marker></defs>'
    )
    return (
        f'<div class="diagram"><svg viewBox="0 0 {width} {height}" width="{width}" role="img" '
        f'aria-label="{html.escape(title)}">{head}{"".join(parts)}</svg></div>'
    )


def overview() -> str:
    """The pipeline, the registry, the service and the feedback loop."""
    stages = ["fetch", "validate", "prepare", "corrupt", "train", "evaluate", "compare", "register", "package"]
    boxes = [Box(name, 60 + 92 * index, 60, 76) for index, name in enumerate(stages)]
    flow = [arrow((box.x + 38, 60), (box.x + 54, 60)) for box in boxes[:-1]]
    frame = '<rect class="frame" x="8" y="8" width="844" height="84" rx="7"/>'
    caption = '<text class="caption" x="20" y="28">DVC pipeline: dvc repro</text>'
    boxes += [
        Box("MLflow registry", 90, 185, 140, kind="store"),
        Box("FastAPI service in BentoML", 330, 185, 200),
        Box("users", 575, 185, 90, kind="store"),
        Box("prediction log", 330, 275, 200, kind="store"),
        Box("digits monitor", 575, 250, 130),
        Box("digits feedback", 575, 302, 130),
        Box("make retrain", 790, 276, 120),
    ]
    arrows = [
        arrow((90, 92), (90, 167), text="model versions"),
        arrow((330, 92), (330, 167), text="Bento"),
        arrow((160, 185), (229, 185), text="champion", at=(193, 168)),
        arrow((530, 185), (431, 185), text="images, corrections", at=(486, 165)),
        arrow((330, 202), (330, 257)),
        arrow((430, 270), (509, 252)),
        arrow((430, 280), (509, 300)),
        arrow((640, 250), (729, 268), text="drift", at=(685, 247)),
        arrow((640, 302), (729, 284), text="training data", at=(692, 312)),
        arrow((790, 258), (790, 93)),
    ]
    return svg(
        860, 335, "The pipeline and the loop around it", [frame, caption, *flow, *arrows, *(b.draw() for b in boxes)]
    )


def retraining() -> str:
    """From logged requests to a new champion."""
    boxes = [
        Box("service", 70, 60, 100),
        Box("users", 70, 160, 100, kind="store"),
        Box("prediction log", 300, 60, 130, kind="store"),
        Box("drift?", 520, 60, 90),
        Box("labels.npz", 520, 130, 110, kind="store"),
        Box("gate.npz", 520, 200, 110, kind="store"),
        Box("make retrain", 760, 95, 120),
        Box("gate", 760, 200, 110),
        Box("registry: champion, previous", 340, 280, 230, kind="store"),
        Box("promotion history", 760, 280, 150, kind="store"),
    ]
    arrows = [
        arrow((120, 60), (234, 60), text="pictures and predictions", at=(178, 36)),
        arrow((120, 160), (300, 160), (300, 78), text="corrections", at=(200, 160)),
        arrow((365, 60), (474, 60), text="make monitor", at=(420, 42)),
        arrow((340, 77), (340, 200), (464, 200)),
        arrow((340, 130), (464, 130), text="make feedback", at=(399, 130)),
        arrow((565, 60), (760, 60), (760, 77), text="yes, or weekly", at=(662, 60)),
        arrow((575, 130), (730, 130), (730, 113), text="training data", at=(650, 130)),
        arrow((785, 112), (785, 182), text="challenger", at=(785, 150)),
        arrow((575, 200), (704, 200), text="evaluation data", at=(637, 200)),
        arrow((725, 217), (725, 240), (400, 240), (400, 262), text="promoted", at=(560, 240)),
        arrow((785, 217), (785, 262), text="refused"),
        arrow((455, 280), (684, 280)),
        arrow((225, 280), (10, 280), (10, 60), (19, 60), text="served/current.json", at=(115, 280)),
    ]
    return svg(850, 310, "The loop of retraining and promotion", [*arrows, *(box.draw() for box in boxes)])


DIAGRAMS = {"overview.md": overview, "retraining.md": retraining}
