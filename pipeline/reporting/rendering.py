"""Turning figures into the pages that people read: Jinja2 templates, and charts that follow light and dark."""

import base64
import io
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from pipeline.paths import TEMPLATES
from pipeline.reporting.palette import COLOURS


def render(template: str, **values: Any) -> str:
    """Fill a template of `pipeline/reporting/templates`; a value that is not given raises."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=template.endswith(".html"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["picture"] = picture
    colours = Markup(" ".join(f"--model-{index}: {colour};" for index, colour in enumerate(COLOURS)))
    return environment.get_template(template).render(colours=colours, **values)


def picture(image: NDArray[np.uint8], alt: str) -> Markup:
    """An <img> that holds uint8 (28, 28), ink bright, as a PNG inside the page."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", optimize=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    return Markup('<img class="digit" width="56" height="56" alt="{}" src="data:image/png;base64,{}">').format(
        alt, data
    )
