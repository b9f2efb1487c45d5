"""Plot what learn/course.md measured (learn/experiments.csv), for light and dark pages: python learn/plots.py"""

import csv

import matplotlib as mpl
import numpy as np
from figures import FIGURES, THEMES, Theme
from figures import style as base_style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

MEASURED = FIGURES.parent / "experiments.csv"
IMAGES = 5981  # in MNIST's validation split


def measured(experiment: str) -> tuple[list[float], list[float]]:
    """Settings and validation accuracies (0..1) of one experiment, in the order of the file."""
    with MEASURED.open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["experiment"] == experiment]
    return [float(row["setting"]) for row in rows], [float(row["accuracy"]) for row in rows]


def points(ax: Axes, experiment: str, color: str, label: str | None = None) -> None:
    """Accuracies in percent with their 95% intervals."""
    settings, shares = measured(experiment)
    p = np.array(shares)
    spread = 1.96 * np.sqrt(p * (1 - p) / IMAGES)
    ax.errorbar(settings, 100 * p, 100 * spread, fmt="-o", color=color, ms=4, lw=1.6, capsize=2.5, label=label)


def plot(t: Theme, experiment: str, xlabel: str, log: bool) -> Figure:
    figure = Figure((4.8, 2.4), layout="constrained")
    ax = figure.subplots()
    points(ax, experiment, t.blue)
    settings, _ = measured(experiment)
    if log:
        ax.set_xscale("log")
    ax.set_xticks(settings, [f"{value:g}" for value in settings])
    ax.minorticks_off()
    ax.set(xlabel=xlabel, ylabel="validation accuracy, %")
    return figure


def shifted(t: Theme) -> Figure:
    figure = Figure((4.8, 2.4), layout="constrained")
    ax = figure.subplots()
    points(ax, "shifted-cnn", t.blue, "CNN")
    points(ax, "shifted-augmented", t.green, "MLP, trained with augmentation")
    points(ax, "shifted-mlp", t.orange, "MLP")
    ax.set(xlabel="shift in pixels", ylabel="validation accuracy, %", ylim=(0, 103))
    ax.legend()
    return figure


def main() -> None:
    for theme in THEMES:
        with mpl.rc_context(base_style(theme)):
            drawings = {
                "width": plot(theme, "width", "neurons in the hidden layer", log=True),
                "depth": plot(theme, "depth", "hidden layers of 128 neurons", log=True),
                "rate": plot(theme, "rate", "learning rate", log=True),
                "augmentation": plot(theme, "augmentation", "strength of augmentation, 1 as in params.yaml", log=False),
                "shifted": shifted(theme),
            }
            for name, figure in drawings.items():
                figure.savefig(FIGURES / f"learn-{name}-{theme.name}.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
