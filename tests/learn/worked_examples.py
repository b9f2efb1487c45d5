"""The worked examples of learn/mathematics.md, and arrays in the LaTeX notation of the text."""

import re
from pathlib import Path

import numpy as np

MATHEMATICS = Path(__file__).resolve().parents[2] / "learn" / "mathematics.md"
TEXT = MATHEMATICS.read_text(encoding="utf-8")


def example(section):
    """Return the worked example of a section."""
    chapter = re.search(rf"^## {section}\. .*?(?=^## )", TEXT, re.M | re.S)[0]
    return chapter.split("### Worked example\n")[1]


def latex_row(values, form="{:g}"):
    return " & ".join(form.format(value + 0.0) for value in np.atleast_1d(values))


def latex_matrix(values, form="{:g}"):
    lines = r" \\ ".join(latex_row(line, form) for line in np.atleast_2d(values))
    return rf"\begin{{pmatrix}} {lines} \end{{pmatrix}}"


def latex_tuple(values, form="{:g}"):
    return f"({', '.join(form.format(value + 0.0) for value in values)})"


def check_example(section, *snippets):
    text = example(section)
    for snippet in snippets:
        assert snippet in text, f"section {section} does not contain: {snippet}"
