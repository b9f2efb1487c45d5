"""Draw the figures of learn/mathematics.md, for light and dark pages: python learn/figures.py"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Ellipse, FancyArrowPatch, FancyBboxPatch, Rectangle

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from learn.from_scratch import layers, losses, optimizers, regularisation
from learn.from_scratch.convolution import convolution_matrix
from learn.from_scratch.neurons import Array

FIGURES = Path(__file__).resolve().parent / "figures"


class Theme(NamedTuple):
    """Colours of one page background; the background itself stays transparent."""

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


def style(theme: Theme) -> dict[Any, Any]:
    """Settings of matplotlib: same bytes on every run, strokes in the theme's ink."""
    inked = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    return {
        **dict.fromkeys(inked, theme.ink),
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


def arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], color: str, **more: Any) -> None:
    ax.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=9, color=color, lw=1.2, **more))


def blank(width: float, height: float) -> tuple[Figure, Axes]:
    """A canvas without axes, one unit to the inch."""
    figure = Figure((width, height))
    ax = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height), aspect="equal")
    ax.set_axis_off()
    return figure, ax


def neuron(t: Theme) -> Figure:
    figure, ax = blank(7.0, 2.5)
    body, out = (4.0, 1.3), (5.35, 1.3)
    for row, name in enumerate(["x_1", "x_2", "x_d"]):
        y = (2.1, 1.45, 0.5)[row]
        ax.text(1.55, y, f"${name}$", size=13, ha="center", va="center")
        arrow(ax, (1.75, y), (3.55, 1.3 + (y - 1.3) * 0.28), t.blue)
        ax.text(
            2.45,
            y + (1.3 - y) * 0.27 + 0.13,
            f"${name.replace('x', 'w')}$",
            size=12,
            color=t.blue,
            ha="center",
        )
    ax.text(1.55, 0.98, r"$\vdots$", size=13, ha="center", va="center")
    ax.add_patch(Circle(body, 0.45, fc="none", ec=t.ink, lw=1.4))
    ax.text(*body, r"$\sum$", size=17, ha="center", va="center")
    arrow(ax, (4.0, 2.3), (4.0, 1.76), t.orange)
    ax.text(4.13, 2.13, "$b$", size=13, color=t.orange)
    arrow(ax, (4.46, 1.3), (5.0, 1.3), t.ink)
    ax.text(4.72, 1.42, "$z$", size=12, ha="center")
    ax.add_patch(
        FancyBboxPatch((5.02, 1.02), 0.66, 0.56, "round,pad=0,rounding_size=0.08", fc="none", ec=t.ink, lw=1.4)
    )
    ax.text(out[0], 1.3, r"$\varphi$", size=15, ha="center", va="center")
    arrow(ax, (5.69, 1.3), (6.25, 1.3), t.ink)
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


CORNERS = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])


def plane(ax: Axes, points: Array, answers: Array, t: Theme, lo: float = -0.5, hi: float = 1.5) -> None:
    """Points of two classes: filled for 1, open for 0."""
    ax.set(xlim=(lo, hi), ylim=(lo, hi), aspect="equal", xticks=[0, 1], yticks=[0, 1])
    (x1, y1), (x0, y0) = points[answers == 1].T, points[answers == 0].T
    ax.scatter(x1, y1, s=70, color=t.blue, zorder=3)
    ax.scatter(x0, y0, s=70, facecolors="none", edgecolors=t.orange, lw=2, zorder=3)


def halfplane(ax: Axes, w: tuple[float, float], b: float, t: Theme) -> None:
    """The boundary of a neuron and, shaded, the side that it answers 1."""
    x, y = np.meshgrid(np.linspace(-0.5, 2.5, 61), np.linspace(-0.5, 2.5, 61))
    z = w[0] * x + w[1] * y + b
    ax.contourf(x, y, z, levels=[0, 99], colors=[t.blue], alpha=0.13)
    ax.contour(x, y, z, levels=[0], colors=[t.ink], linewidths=1.3)


def xor(t: Theme) -> Figure:
    figure = Figure((7.0, 2.5), layout="constrained")
    for ax, name, answers, line in zip(
        figure.subplots(1, 3),
        ("AND", "OR", "XOR"),
        ([0, 0, 0, 1], [0, 1, 1, 1], [0, 1, 1, 0]),
        (((1, 1), -1.5), ((1, 1), -0.5), None),
        strict=True,
    ):
        plane(ax, CORNERS, np.array(answers), t)
        ax.set(title=name, xlabel="$x_1$", ylabel="$x_2$")
        if line:
            halfplane(ax, *line, t)
        else:
            for start, end in (
                ((-0.45, 0.6), (1.2, -0.45)),
                ((-0.3, -0.45), (0.72, 1.45)),
                ((0.5, -0.45), (0.5, 1.45)),
            ):
                ax.plot(*zip(start, end, strict=True), "--", color=t.ink, lw=1, alpha=0.55)
    return figure


def hidden(t: Theme) -> Figure:
    figure = Figure((6.2, 2.7), layout="constrained")
    left, right = figure.subplots(1, 2)
    answers = np.array([0, 1, 1, 0])
    plane(left, CORNERS, answers, t)
    for b in (0, -1):
        x = np.array([-0.5, 1.5])
        left.plot(x, -b - x, color=t.ink, lw=1.2)
    left.text(0.08, 0.12, "$x_1+x_2=0$", size=9)
    left.text(0.62, 0.55, "$x_1+x_2=1$", size=9)
    left.set(title="The inputs", xlabel="$x_1$", ylabel="$x_2$")
    points = layers.relu(layers.dense(CORNERS, np.ones((2, 2)), np.array([0.0, -1.0])))
    halfplane(right, (1, -2), -0.5, t)
    plane(right, points, answers, t, hi=2.5)
    right.set(
        title="What the hidden layer makes of them",
        xlabel="$h_1$",
        ylabel="$h_2$",
        xticks=[0, 1, 2],
        yticks=[0, 1, 2],
        ylim=(-0.5, 1.5),
    )
    right.annotate("(0,1) and (1,0)", (1, 0), (1.25, -0.35), size=8)
    right.annotate("(0,0)", (0, 0), (-0.2, 0.22), size=8)
    right.annotate("(1,1)", (2, 1), (1.85, 1.2), size=8)
    return figure


def activations(t: Theme) -> Figure:
    figure = Figure((7.0, 2.3), layout="constrained")
    z = np.sort(np.append(np.linspace(-4, 4, 60), [0.0, 1e-6]))  # the step of ReLU's derivative
    for ax, name, top in zip(figure.subplots(1, 3), ("sigmoid", "tanh", "relu"), (1.2, 1.2, 2.2), strict=True):
        ax.axhline(0, color=t.faint, lw=0.8)
        ax.plot(z, getattr(layers, name)(z), color=t.blue, label=r"$\varphi$")
        ax.plot(z, getattr(layers, f"{name}_derivative")(z), "--", color=t.orange, label=r"$\varphi\,'$")
        ax.set(title={"relu": "ReLU"}.get(name, name), xlabel="$z$", ylim=(-1.2 if name == "tanh" else -0.2, top))
    ax.legend(loc="upper left")
    return figure


def backprop(t: Theme) -> Figure:
    figure, ax = blank(7.2, 2.4)
    nodes = [
        (0.5, "$X$", "(n, d)"),
        (2.0, "$Z_1$", "(n, h)"),
        (3.5, "$A_1$", "(n, h)"),
        (5.0, "$Z_2$", "(n, k)"),
        (6.7, "$L$", "()"),
    ]
    names = ["", "$\\Delta_1$", "$G_1$", "$\\Delta_2$", ""]
    for (x, name, shape), delta in zip(nodes, names, strict=True):
        ax.add_patch(
            FancyBboxPatch((x - 0.36, 1.3), 0.72, 0.62, "round,pad=0,rounding_size=0.1", fc="none", ec=t.ink, lw=1.3)
        )
        ax.text(x, 1.69, name, size=13, ha="center", va="center")
        ax.text(x, 1.42, shape, size=7.5, ha="center", va="center", alpha=0.75)
        ax.text(x, 0.36, delta, size=13, ha="center", va="center", color=t.orange)
    forward = ["$XW_1+b_1$", r"$\varphi(Z_1)$", "$A_1W_2+b_2$", "softmax,\ncross-entropy"]
    back = [None, r"$\odot\,\varphi'(Z_1)$", r"$\Delta_2 W_2^\top$", "$(P-Y)/n$"]
    for i, (text, text_back) in enumerate(zip(forward, back, strict=True)):
        a, b = nodes[i][0], nodes[i + 1][0]
        arrow(ax, (a + 0.37, 1.7), (b - 0.37, 1.7), t.blue)
        ax.text(
            (a + b) / 2,
            2.03 if i < 3 else 1.98,
            text,
            size=9.5 if i < 3 else 8,
            ha="center",
            color=t.blue,
            va="bottom",
        )
        if text_back:
            end, start = (a + 0.3, 0.36), (b - 0.3, 0.36)
            arrow(
                ax,
                start if i < 3 else (6.7, 1.28),
                end,
                t.orange,
                **({} if i < 3 else {"connectionstyle": "arc3,rad=-0.35"}),
            )
            ax.text((a + b) / 2 + (0.72 if i == 3 else 0), 0.5, text_back, size=9.5, ha="center", color=t.orange)
    for x, text in (
        (2.0, r"$\partial L/\partial W_1=X^\top\Delta_1$"),
        (5.0, r"$\partial L/\partial W_2=A_1^\top\Delta_2$"),
    ):
        arrow(ax, (x, 0.52), (x, 0.88), t.green)
        ax.text(x, 1.03, text, size=9.5, ha="center", va="center", color=t.green)
    return figure


def descend(name: str, steps: int) -> Array:
    """The path of an optimizer on (x^2 + 20 y^2) / 2, by the package's own functions."""
    x: Array = np.array([-4.0, 1.4])
    velocity: Array = np.zeros(2)
    mean = square = velocity
    path = [x]
    for step in range(1, steps + 1):
        gradient = x * [1.0, 20.0]
        if name == "Adam":
            mean, square = optimizers.adam_moments(mean, square, gradient)
            x = optimizers.adam_update(x, *optimizers.adam_unbiased(mean, square, step), 0.25)
        else:
            velocity = optimizers.momentum_velocity(velocity, gradient, 0.8 if name == "momentum" else 0.0)
            x = optimizers.gradient_descent(x, velocity, 0.08 if name == "gradient descent" else 0.04)
        path.append(x)
    return np.array(path)


def descent(t: Theme) -> Figure:
    figure = Figure((7.2, 2.2), layout="constrained")
    for ax, name in zip(figure.subplots(1, 3, sharey=True), ("gradient descent", "momentum", "Adam"), strict=True):
        for level in (0.3, 1.5, 4, 8, 14, 22, 32):  # where the function has this value
            width, height = 2 * np.sqrt(2 * level), 2 * np.sqrt(level / 10)
            ax.add_patch(Ellipse((0, 0), width, height, fc="none", ec=t.faint, lw=0.9))
        path = descend(name, 30)
        ax.plot(*path.T, "-o", color=t.blue, ms=2.6, lw=1.2)
        ax.plot(*path[0], "o", color=t.orange, ms=5)
        ax.plot(0, 0, "+", color=t.green, ms=9, mew=1.8)
        ax.set(title=name, xticks=[-4, -2, 0], yticks=[-1, 0, 1], xlim=(-4.6, 1.8), ylim=(-1.8, 1.8))
    return figure


def initialisation(t: Theme) -> Figure:
    figure = Figure((5.4, 2.4), layout="constrained")
    ax = figure.subplots()
    width, depth = 256, 20
    for factor, color, name in (
        (0.5, t.orange, "half of He's"),
        (1.0, t.blue, "He's"),
        (2.0, t.green, "twice He's"),
    ):
        rng = np.random.default_rng(0)
        a: Array = rng.normal(size=(256, width))
        spreads = []
        for _ in range(depth):
            a = layers.relu(a @ (factor * regularisation.he_normal(width, width, rng)))
            spreads.append(np.sqrt((a**2).mean()))
        ax.semilogy(range(1, depth + 1), spreads, "-o", ms=3, color=color)
        ax.text(depth + 0.4, spreads[-1], name, color=color, va="center")
    ax.set(xlabel="layer", ylabel="size of activations", xticks=[1, 5, 10, 15, 20], xlim=(0.5, 24.5))
    return figure


def temperature(t: Theme) -> Figure:
    figure = Figure((7.0, 2.1), layout="constrained")
    logits = np.array([[2.0, 1.0, 0.0, -1.0]])
    for ax, value in zip(figure.subplots(1, 3, sharey=True), (0.5, 1.0, 3.0), strict=True):
        bars = ax.bar(range(4), losses.tempered_softmax(logits, value)[0], color=t.blue, width=0.65)
        ax.bar_label(bars, fmt="%.2f", size=8, padding=1)
        ax.set(title=f"$T={value:g}$", xticks=range(4), xlabel="class", ylim=(0, 1.08), yticks=[0, 0.5, 1])
    return figure


def convolution(t: Theme) -> Figure:
    figure, ax = blank(7.2, 2.8)

    def grid(x: float, y: float, rows: int, cell: float) -> None:
        for i, j in np.ndindex(rows, rows):
            ax.add_patch(Rectangle((x + j * cell, y + i * cell), cell, cell, fc="none", ec=t.ink, lw=0.7))

    cell, names = 0.42, ["a", "b", "c", "d"]
    grid(0.15, 0.75, 4, cell)
    ax.add_patch(Rectangle((0.15 + cell, 0.75 + 2 * cell), 2 * cell, 2 * cell, fc=t.orange, ec=t.orange, alpha=0.25))
    ax.add_patch(Rectangle((0.15 + cell, 0.75 + 2 * cell), 2 * cell, 2 * cell, fc="none", ec=t.orange, lw=2))
    grid(2.25, 1.17, 2, cell)
    shades = (t.blue, t.green, t.orange, t.ink)
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
    ax.add_patch(Rectangle((3.45 + cell, 0.96 + 2 * cell), cell, cell, fc=t.orange, ec=t.orange, alpha=0.35))
    for x, symbol in ((2.04, "$*$"), (3.27, "$=$")):
        ax.text(x, 1.59, symbol, size=15, ha="center", va="center")
    for x, caption in ((0.99, "image 4 x 4"), (2.67, "kernel 2 x 2"), (4.08, "result 3 x 3")):
        ax.text(x, 0.42, caption, ha="center", size=9)
    small, left, bottom = 0.135, 5.35, 0.45
    matrix = convolution_matrix(np.array([[1.0, 2], [3, 4]]), 4, 4)  # its entries say which weight
    for (row, column), value in np.ndenumerate(matrix):
        if value:
            corner = (left + column * small, bottom + (15 - row) * small)
            ax.add_patch(Rectangle(corner, small, small, fc=shades[int(value) - 1], alpha=0.85))
    ax.hlines(bottom + small * np.arange(17), left, left + 9 * small, color=t.faint, lw=0.5)
    ax.vlines(left + small * np.arange(10), bottom, bottom + 16 * small, color=t.faint, lw=0.5)
    ax.text(left + 4.5 * small, 0.18, "the same as a matrix, 16 x 9", ha="center", size=9)
    return figure


DRAWINGS: tuple[Callable[[Theme], Figure], ...] = (
    neuron,
    xor,
    hidden,
    activations,
    backprop,
    descent,
    initialisation,
    temperature,
    convolution,
)


def main() -> None:
    FIGURES.mkdir(exist_ok=True)
    for theme in THEMES:
        with mpl.rc_context(style(theme)):
            for draw in DRAWINGS:
                draw(theme).savefig(FIGURES / f"{draw.__name__}-{theme.name}.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
