"""Plot the results of learn/course.md (learn/experiments.csv) for light and dark pages: python learn/plots.py"""

import csv
import sys
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from learn.theme import LEARN, Theme, save_figure

VALIDATION_IMAGES = 5981  # in MNIST's validation split

EXPERIMENTS = {  # x-axis label, and whether the axis is logarithmic
    "width": ("neurons in the hidden layer", True),
    "depth": ("hidden layers of 128 neurons", True),
    "rate": ("learning rate", True),
    "augmentation": ("strength of augmentation, 1 as in params.yaml", False),
}


def load_results(experiment: str) -> tuple[list[float], list[float]]:
    """Return the settings and the validation accuracies (0..1) of one experiment."""
    with (LEARN / "experiments.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["experiment"] == experiment]
    return [float(row["setting"]) for row in rows], [float(row["accuracy"]) for row in rows]


def plot_accuracy(ax: Axes, experiment: str, color: str, label: str | None = None) -> None:
    """Plot accuracies in percent with 95% confidence intervals (normal approximation of the binomial)."""
    settings, accuracies = load_results(experiment)
    p = np.array(accuracies)
    half_width = 1.96 * np.sqrt(p * (1 - p) / VALIDATION_IMAGES)
    ax.errorbar(settings, 100 * p, 100 * half_width, fmt="-o", color=color, ms=4, lw=1.6, capsize=2.5, label=label)


def one_parameter(experiment: str, theme: Theme) -> Figure:
    """Accuracy against one parameter."""
    xlabel, logarithmic = EXPERIMENTS[experiment]
    figure = Figure((4.8, 2.4), layout="constrained")
    ax = figure.subplots()
    plot_accuracy(ax, experiment, theme.blue)
    settings, _ = load_results(experiment)
    if logarithmic:
        ax.set_xscale("log")
    ax.set_xticks(settings, [f"{value:g}" for value in settings])
    ax.minorticks_off()
    ax.set(xlabel=xlabel, ylabel="validation accuracy, %")
    return figure


def shifted(theme: Theme) -> Figure:
    """Accuracy of MLP and CNN against the shift of the digits."""
    figure = Figure((4.8, 2.4), layout="constrained")
    ax = figure.subplots()
    plot_accuracy(ax, "shifted-cnn", theme.blue, "CNN")
    plot_accuracy(ax, "shifted-augmented", theme.green, "MLP, trained with augmentation")
    plot_accuracy(ax, "shifted-mlp", theme.orange, "MLP")
    ax.set(xlabel="shift in pixels", ylabel="validation accuracy, %", ylim=(0, 103))
    ax.legend()
    return figure


def main() -> None:
    for experiment in EXPERIMENTS:
        save_figure(f"learn-{experiment}", partial(one_parameter, experiment))
    save_figure("learn-shifted", shifted)


if __name__ == "__main__":
    main()
