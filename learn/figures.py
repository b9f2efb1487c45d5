"""Draw the figures of learn/mathematics.md for light and dark pages: python learn/figures.py"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from learn.diagrams import backprop, convolution, neuron
from learn.from_scratch import layers, losses, optimizers, regularization
from learn.from_scratch.neurons import Array
from learn.theme import Theme, save_figure

CORNERS = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])


def scatter_classes(ax: Axes, points: Array, labels: Array, theme: Theme, lo: float = -0.5, hi: float = 1.5) -> None:
    """Draw points of two classes: filled for label 1, open for label 0. `points`: (n, 2), `labels`: (n,)."""
    ax.set(xlim=(lo, hi), ylim=(lo, hi), aspect="equal", xticks=[0, 1], yticks=[0, 1])
    (x1, y1), (x0, y0) = points[labels == 1].T, points[labels == 0].T
    ax.scatter(x1, y1, s=70, color=theme.blue, zorder=3)
    ax.scatter(x0, y0, s=70, facecolors="none", edgecolors=theme.orange, lw=2, zorder=3)


def shade_positive_side(ax: Axes, w: tuple[float, float], b: float, theme: Theme) -> None:
    """Draw the decision boundary of a neuron and shade the side where its output is 1."""
    x, y = np.meshgrid(np.linspace(-0.5, 2.5, 61), np.linspace(-0.5, 2.5, 61))
    z = w[0] * x + w[1] * y + b
    ax.contourf(x, y, z, levels=[0, 99], colors=[theme.blue], alpha=0.13)
    ax.contour(x, y, z, levels=[0], colors=[theme.ink], linewidths=1.3)


def xor(theme: Theme) -> Figure:
    """AND and OR with a separating line, XOR with three lines that fail (section 3)."""
    figure = Figure((7.0, 2.5), layout="constrained")
    for ax, name, labels, line in zip(
        figure.subplots(1, 3),
        ("AND", "OR", "XOR"),
        ([0, 0, 0, 1], [0, 1, 1, 1], [0, 1, 1, 0]),
        (((1, 1), -1.5), ((1, 1), -0.5), None),
        strict=True,
    ):
        scatter_classes(ax, CORNERS, np.array(labels), theme)
        ax.set(title=name, xlabel="$x_1$", ylabel="$x_2$")
        if line:
            shade_positive_side(ax, *line, theme)
        else:
            for start, end in (
                ((-0.45, 0.6), (1.2, -0.45)),
                ((-0.3, -0.45), (0.72, 1.45)),
                ((0.5, -0.45), (0.5, 1.45)),
            ):
                ax.plot(*zip(start, end, strict=True), "--", color=theme.ink, lw=1, alpha=0.55)
    return figure


def hidden(theme: Theme) -> Figure:
    """The inputs of XOR before and after the hidden layer (section 5)."""
    figure = Figure((6.2, 2.7), layout="constrained")
    left, right = figure.subplots(1, 2)
    labels = np.array([0, 1, 1, 0])
    scatter_classes(left, CORNERS, labels, theme)
    for b in (0, -1):
        x = np.array([-0.5, 1.5])
        left.plot(x, -b - x, color=theme.ink, lw=1.2)
    left.text(0.08, 0.12, "$x_1+x_2=0$", size=9)
    left.text(0.62, 0.55, "$x_1+x_2=1$", size=9)
    left.set(title="The inputs", xlabel="$x_1$", ylabel="$x_2$")
    points = layers.relu(layers.dense(CORNERS, np.ones((2, 2)), np.array([0.0, -1.0])))
    shade_positive_side(right, (1, -2), -0.5, theme)
    scatter_classes(right, points, labels, theme, hi=2.5)
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


def activations(theme: Theme) -> Figure:
    """Activation functions and their derivatives (section 6)."""
    figure = Figure((7.0, 2.3), layout="constrained")
    z = np.sort(np.append(np.linspace(-4, 4, 60), [0.0, 1e-6]))  # so that the step of ReLU's derivative is vertical
    for ax, name, top in zip(figure.subplots(1, 3), ("sigmoid", "tanh", "relu"), (1.2, 1.2, 2.2), strict=True):
        ax.axhline(0, color=theme.faint, lw=0.8)
        ax.plot(z, getattr(layers, name)(z), color=theme.blue, label=r"$\varphi$")
        ax.plot(z, getattr(layers, f"{name}_derivative")(z), "--", color=theme.orange, label=r"$\varphi\,'$")
        ax.set(title={"relu": "ReLU"}.get(name, name), xlabel="$z$", ylim=(-1.2 if name == "tanh" else -0.2, top))
    ax.legend(loc="upper left")
    return figure


def optimizer_path(optimizer: str, steps: int) -> Array:
    """Return the points (steps + 1, 2) that an optimizer visits on (x^2 + 20 y^2) / 2."""
    x: Array = np.array([-4.0, 1.4])
    velocity: Array = np.zeros(2)
    mean = square = velocity
    path = [x]
    for step in range(1, steps + 1):
        gradient = x * [1.0, 20.0]
        if optimizer == "Adam":
            mean, square = optimizers.adam_moments(mean, square, gradient)
            x = optimizers.adam_update(x, *optimizers.adam_bias_correction(mean, square, step), 0.25)
        else:
            velocity = optimizers.momentum_velocity(velocity, gradient, 0.8 if optimizer == "momentum" else 0.0)
            x = optimizers.gradient_descent(x, velocity, 0.08 if optimizer == "gradient descent" else 0.04)
        path.append(x)
    return np.array(path)


def descent(theme: Theme) -> Figure:
    """Thirty steps of three optimizers (section 10)."""
    figure = Figure((7.2, 2.2), layout="constrained")
    for ax, name in zip(figure.subplots(1, 3, sharey=True), ("gradient descent", "momentum", "Adam"), strict=True):
        for level in (0.3, 1.5, 4, 8, 14, 22, 32):  # contour lines of the function
            width, height = 2 * np.sqrt(2 * level), 2 * np.sqrt(level / 10)
            ax.add_patch(Ellipse((0, 0), width, height, fc="none", ec=theme.faint, lw=0.9))
        path = optimizer_path(name, 30)
        ax.plot(*path.T, "-o", color=theme.blue, ms=2.6, lw=1.2)
        ax.plot(*path[0], "o", color=theme.orange, ms=5)
        ax.plot(0, 0, "+", color=theme.green, ms=9, mew=1.8)
        ax.set(title=name, xticks=[-4, -2, 0], yticks=[-1, 0, 1], xlim=(-4.6, 1.8), ylim=(-1.8, 1.8))
    return figure


def initialisation(theme: Theme) -> Figure:
    """Root mean square of the activations in twenty ReLU layers (section 11)."""
    figure = Figure((5.4, 2.4), layout="constrained")
    ax = figure.subplots()
    width, depth = 256, 20
    for factor, color, name in (
        (0.5, theme.orange, "half of He's"),
        (1.0, theme.blue, "He's"),
        (2.0, theme.green, "twice He's"),
    ):
        rng = np.random.default_rng(0)
        a: Array = rng.normal(size=(256, width))
        sizes = []
        for _ in range(depth):
            a = layers.relu(a @ (factor * regularization.he_normal(width, width, rng)))
            sizes.append(np.sqrt((a**2).mean()))
        ax.semilogy(range(1, depth + 1), sizes, "-o", ms=3, color=color)
        ax.text(depth + 0.4, sizes[-1], name, color=color, va="center")
    ax.set(xlabel="layer", ylabel="size of activations", xticks=[1, 5, 10, 15, 20], xlim=(0.5, 24.5))
    return figure


def temperature(theme: Theme) -> Figure:
    """Softmax of the same logits at three temperatures (section 13)."""
    figure = Figure((7.0, 2.1), layout="constrained")
    logits = np.array([[2.0, 1.0, 0.0, -1.0]])
    for ax, value in zip(figure.subplots(1, 3, sharey=True), (0.5, 1.0, 3.0), strict=True):
        bars = ax.bar(range(4), losses.tempered_softmax(logits, value)[0], color=theme.blue, width=0.65)
        ax.bar_label(bars, fmt="%.2f", size=8, padding=1)
        ax.set(title=f"$T={value:g}$", xticks=range(4), xlabel="class", ylim=(0, 1.08), yticks=[0, 0.5, 1])
    return figure


FIGURES = (neuron, xor, hidden, activations, backprop, descent, initialisation, temperature, convolution)


def main() -> None:
    for draw in FIGURES:
        save_figure(draw.__name__, draw)


if __name__ == "__main__":
    main()
