"""Colours, settings and output files of the figures in learn/figures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.figure import Figure

LEARN = Path(__file__).resolve().parent


class Theme(NamedTuple):
    """Colours for a light or a dark page. The background of a figure is transparent."""

    name: str
    ink: str
    faint: str
    blue: str
    orange: str
    green: str


THEMES = (
    Theme("light", "#1f2328", "#d0d7de", "#0969da", "#bc4c00", "#1a7f37"),
    Theme("dark", "#e6edf3", "#3d444d", "#58a6ff", "#f0883e", "#3fb950"),
)


def matplotlib_settings(theme: Theme) -> dict[Any, Any]:
    """Return rcParams for a theme. The fixed hash salt makes the SVG files reproducible."""
    ink_keys = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    return {
        **dict.fromkeys(ink_keys, theme.ink),
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "savefig.facecolor": "none",
        "font.size": 9,
        "mathtext.fontset": "cm",
        "svg.hashsalt": "figures",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.8,
        "lines.linewidth": 1.8,
        "axes.titlesize": 10,
        "legend.frameon": False,
    }


def save_figure(name: str, draw: Callable[[Theme], Figure]) -> None:
    """Draw a figure in every theme and write learn/figures/NAME-THEME.svg."""
    for theme in THEMES:
        with mpl.rc_context(matplotlib_settings(theme)):
            draw(theme).savefig(LEARN / "figures" / f"{name}-{theme.name}.svg", metadata={"Date": None})
