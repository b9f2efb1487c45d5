"""HTML and Markdown reports from Jinja2 templates, and the colours of reports and charts."""

import base64
import io
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from pipeline.paths import TEMPLATES

# Distinguishable by colour-blind readers; each model has the same colour everywhere
COLOURS = ("#2f6fed", "#e0602b", "#1b9e77", "#8e5bd0", "#b8860b", "#c2407f")
INK = "#777777"  # lines and text of charts, readable on white and black; pages replace it by their own text colour


def colour(index: int) -> str:
    """The colour of the model at this position in `params.yaml`."""
    return COLOURS[index % len(COLOURS)]


def render(template: str, **values: Any) -> str:
    """Render a template of `pipeline/reporting/templates`; raises jinja2.UndefinedError for a missing value."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=template.endswith(".html"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["picture"] = image_element
    colours = Markup(" ".join(f"--model-{index}: {colour};" for index, colour in enumerate(COLOURS)))
    return environment.get_template(template).render(colours=colours, **values)


def image_element(image: NDArray[np.uint8], alt: str) -> Markup:
    """An <img> element with the image, uint8 (28, 28) with bright ink, embedded as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    element = Markup('<img class="digit" width="56" height="56" alt="{}" src="data:image/png;base64,{}">')
    return element.format(alt, data)
