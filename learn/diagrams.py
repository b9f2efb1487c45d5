"""Diagrams of learn/mathematics.md: a neuron, backpropagation and a convolution. learn/figures.py draws them."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Rectangle

from learn.from_scratch.convolution import convolution_matrix
from learn.theme import Theme


def arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], color: str, **more: Any) -> None:
    """Draw an arrow between two points (x, y)."""
    ax.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=9, color=color, lw=1.2, **more))


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """Return a canvas without axes. `width`, `height`: inches, which are also the coordinates."""
    figure = Figure((width, height))
    ax = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height), aspect="equal")
    ax.set_axis_off()
    return figure, ax


def neuron(theme: Theme) -> Figure:
    """Inputs, weights, bias, sum and activation function of a neuron (section 2)."""
    figure, ax = canvas(7.0, 2.5)
    body, out = (4.0, 1.3), (5.35, 1.3)
    for row, name in enumerate(["x_1", "x_2", "x_d"]):
        y = (2.1, 1.45, 0.5)[row]
        ax.text(1.55, y, f"${name}$", size=13, ha="center", va="center")
        arrow(ax, (1.75, y), (3.55, 1.3 + (y - 1.3) * 0.28), theme.blue)
        ax.text(
            2.45,
            y + (1.3 - y) * 0.27 + 0.13,
            f"${name.replace('x', 'w')}$",
            size=12,
            color=theme.blue,
            ha="center",
        )
    ax.text(1.55, 0.98, r"$\vdots$", size=13, ha="center", va="center")
    ax.add_patch(Circle(body, 0.45, fc="none", ec=theme.ink, lw=1.4))
    ax.text(*body, r"$\sum$", size=17, ha="center", va="center")
    arrow(ax, (4.0, 2.3), (4.0, 1.76), theme.orange)
    ax.text(4.13, 2.13, "$b$", size=13, color=theme.orange)
    arrow(ax, (4.46, 1.3), (5.0, 1.3), theme.ink)
    ax.text(4.72, 1.42, "$z$", size=12, ha="center")
    ax.add_patch(
        FancyBboxPatch((5.02, 1.02), 0.66, 0.56, "round,pad=0,rounding_size=0.08", fc="none", ec=theme.ink, lw=1.4)
    )
    ax.text(out[0], 1.3, r"$\varphi$", size=15, ha="center", va="center")
    arrow(ax, (5.69, 1.3), (6.25, 1.3), theme.ink)
    ax.text(6.4, 1.3, "$a$", size=13, va="center")
    captions = [
        (0.62, 1.3, "other\nneurons"),
        (2.6, 0.16, "dendrites and synapses"),
        (4.0, 0.62, "cell body"),
        (5.35, 0.74, "firing"),
    ]
    for x, y, caption in captions:
        ax.text(x, y, caption, size=8.5, ha="center", va="center", style="italic", alpha=0.75)
    return figure


def backprop(theme: Theme) -> Figure:
    """Forward and backward pass of a network with one hidden layer (section 9)."""
    figure, ax = canvas(7.2, 2.4)
    nodes = [
        (0.5, "$X$", "(n, d)"),
        (2.0, "$Z_1$", "(n, h)"),
        (3.5, "$A_1$", "(n, h)"),
        (5.0, "$Z_2$", "(n, k)"),
        (6.7, "$L$", "()"),
    ]
    deltas = ["", "$\\Delta_1$", "$G_1$", "$\\Delta_2$", ""]
    for (x, name, shape), delta in zip(nodes, deltas, strict=True):
        ax.add_patch(
            FancyBboxPatch(
                (x - 0.36, 1.3), 0.72, 0.62, "round,pad=0,rounding_size=0.1", fc="none", ec=theme.ink, lw=1.3
            )
        )
        ax.text(x, 1.69, name, size=13, ha="center", va="center")
        ax.text(x, 1.42, shape, size=7.5, ha="center", va="center", alpha=0.75)
        ax.text(x, 0.36, delta, size=13, ha="center", va="center", color=theme.orange)
    forward = ["$XW_1+b_1$", r"$\varphi(Z_1)$", "$A_1W_2+b_2$", "softmax,\ncross-entropy"]
    backward = [None, r"$\odot\,\varphi'(Z_1)$", r"$\Delta_2 W_2^\top$", "$(P-Y)/n$"]
    for i, (text, backward_text) in enumerate(zip(forward, backward, strict=True)):
        a, b = nodes[i][0], nodes[i + 1][0]
        arrow(ax, (a + 0.37, 1.7), (b - 0.37, 1.7), theme.blue)
        ax.text(
            (a + b) / 2,
            2.03 if i < 3 else 1.98,
            text,
            size=9.5 if i < 3 else 8,
            ha="center",
            color=theme.blue,
            va="bottom",
        )
        if backward_text:
            end, start = (a + 0.3, 0.36), (b - 0.3, 0.36)
            arrow(
                ax,
                start if i < 3 else (6.7, 1.28),
                end,
                theme.orange,
                **({} if i < 3 else {"connectionstyle": "arc3,rad=-0.35"}),
            )
            ax.text(
                (a + b) / 2 + (0.72 if i == 3 else 0), 0.5, backward_text, size=9.5, ha="center", color=theme.orange
            )
    for x, text in (
        (2.0, r"$\partial L/\partial W_1=X^\top\Delta_1$"),
        (5.0, r"$\partial L/\partial W_2=A_1^\top\Delta_2$"),
    ):
        arrow(ax, (x, 0.52), (x, 0.88), theme.green)
        ax.text(x, 1.03, text, size=9.5, ha="center", va="center", color=theme.green)
    return figure


def convolution(theme: Theme) -> Figure:
    """A convolution, and the same operation as a matrix with shared weights (section 14)."""
    figure, ax = canvas(7.2, 2.8)

    def grid(x: float, y: float, rows: int, cell: float) -> None:
        for i, j in np.ndindex(rows, rows):
            ax.add_patch(Rectangle((x + j * cell, y + i * cell), cell, cell, fc="none", ec=theme.ink, lw=0.7))

    cell, names = 0.42, ["a", "b", "c", "d"]
    grid(0.15, 0.75, 4, cell)
    ax.add_patch(
        Rectangle((0.15 + cell, 0.75 + 2 * cell), 2 * cell, 2 * cell, fc=theme.orange, ec=theme.orange, alpha=0.25)
    )
    ax.add_patch(Rectangle((0.15 + cell, 0.75 + 2 * cell), 2 * cell, 2 * cell, fc="none", ec=theme.orange, lw=2))
    grid(2.25, 1.17, 2, cell)
    shades = (theme.blue, theme.green, theme.orange, theme.ink)
    for index, name in enumerate(names):
        i, j = divmod(index, 2)
        ax.text(
            2.25 + (j + 0.5) * cell,
            1.17 + (1.5 - i) * cell,
            f"${name}$",
            size=12,
            ha="center",
            va="center",
            color=shades[index],
        )
    grid(3.45, 0.96, 3, cell)
    ax.add_patch(Rectangle((3.45 + cell, 0.96 + 2 * cell), cell, cell, fc=theme.orange, ec=theme.orange, alpha=0.35))
    for x, symbol in ((2.04, "$*$"), (3.27, "$=$")):
        ax.text(x, 1.59, symbol, size=15, ha="center", va="center")
    for x, caption in ((0.99, "image 4 x 4"), (2.67, "kernel 2 x 2"), (4.08, "result 3 x 3")):
        ax.text(x, 0.42, caption, ha="center", size=9)
    small, left, bottom = 0.135, 5.35, 0.45
    matrix = convolution_matrix(np.array([[1.0, 2], [3, 4]]), 4, 4)  # each entry is the number of a weight
    for (row, column), value in np.ndenumerate(matrix):
        if value:
            corner = (left + column * small, bottom + (15 - row) * small)
            ax.add_patch(Rectangle(corner, small, small, fc=shades[int(value) - 1], alpha=0.85))
    ax.hlines(bottom + small * np.arange(17), left, left + 9 * small, color=theme.faint, lw=0.5)
    ax.vlines(left + small * np.arange(10), bottom, bottom + 16 * small, color=theme.faint, lw=0.5)
    ax.text(left + 4.5 * small, 0.18, "the same as a matrix, 16 x 9", ha="center", size=9)
    return figure
