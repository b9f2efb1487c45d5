"""Charts of the reports: each function takes metrics and returns a matplotlib Figure."""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib import rc_context, rcParams
from matplotlib.colors import LinearSegmentedColormap, to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from pipeline.reporting.rendering import COLOURS, INK, colour

Curves = Mapping[str, Sequence[Mapping[str, float]]]  # rows of one curve for each model

MANY = 18  # classes; more of them need a larger confusion matrix
NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))  # the same chart gives the same bytes

rcParams.update({f"{part}color": INK for part in ("text.", "axes.label", "axes.edge", "xtick.", "ytick.")})
rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False})
rcParams["figure.constrained_layout.use"] = True


def figure_to_svg(figure: Figure, alt: str) -> Markup:
    """The chart as an SVG element in the text colour of the page around it"""
    buffer = io.StringIO()
    with rc_context({"svg.hashsalt": alt, "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata=NO_METADATA)
    svg = buffer.getvalue()
    svg = re.sub(INK, "currentColor", svg[svg.index("<svg") :], flags=re.IGNORECASE)
    svg = re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', "", svg, count=1)
    prefix = re.sub(r"[^a-z0-9]", "", alt.lower())[:24]  # ids must be unique among the charts of a page
    svg = re.sub(r'id="([^"]+)"', rf'id="{prefix}-\1"', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\1{prefix}-", svg)
    return Markup(svg.replace("<svg ", f'<svg role="img" aria-label="{Markup.escape(alt)}" ', 1))


def chart(width: float, height: float) -> tuple[Figure, Any]:
    """An empty chart with one axes; sizes in inches."""
    figure = Figure((width, height))
    return figure, figure.subplots()


def learning_curves(histories: Mapping[str, pd.DataFrame]) -> Figure:
    """Loss and error rate by epoch, on training images (dashed) and validation images (solid)."""
    figure = Figure((9, 3.4))
    loss, error = figure.subplots(1, 2)
    for index, (name, rows) in enumerate(histories.items()):
        for split, prefix, line in (("training", "", "--"), ("validation", "val_", "-")):
            style = {"linestyle": line, "color": colour(index), "label": f"{name}, {split}"}
            loss.plot(rows["epoch"] + 1, rows[f"{prefix}loss"], **style)
            error.plot(rows["epoch"] + 1, 100 * (1 - rows[f"{prefix}accuracy"]), **style)
    for axes, label in ((loss, "cross-entropy (nats)"), (error, "error rate (%)")):
        axes.set(xlabel="epoch", ylabel=label, yscale="log")
        _label_log_axis(axes.yaxis)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    error.legend()
    return figure


def confusion(matrix: NDArray[np.integer[Any]], classes: Sequence[str], index: int) -> Figure:
    """Confusion matrix in the colour of the model at `index`; errors are shaded, the diagonal is not.

    `matrix`: counts (classes, classes), rows are labels and columns are predictions.
    """
    width, height = (5.2, 5.0) if _are_long(classes) else (4.4, 4.2)
    side = 0.2 * len(classes) + 0.6  # inches; less than the height for up to MANY classes
    figure, axes = chart(max(width, side), max(height, side))
    size = 7 if matrix.max() < 1000 or len(classes) <= MANY else 5  # points; cells have 14
    errors = matrix * (1 - np.eye(len(matrix), dtype=int))
    share = errors / max(errors.max(), 1)
    shades = LinearSegmentedColormap.from_list("errors", [to_rgba(colour(index), alpha) for alpha in (0, 0.85)])
    axes.imshow(share, cmap=shades, vmin=0, vmax=1)
    for row, column in np.argwhere(matrix):
        ink = "white" if share[row, column] > 0.8 else INK
        axes.text(column, row, str(matrix[row, column]), ha="center", va="center", fontsize=size, color=ink)
    _label_classes(axes, classes, 60)
    axes.set_yticks(range(len(classes)), classes)
    if len(classes) > MANY:  # the labels are far from most cells
        axes.tick_params(top=True, right=True, labeltop=True, labelright=True)
        axes.grid(linewidth=0.25, alpha=0.5)
    axes.set(xlabel="prediction", ylabel="label")
    return figure


def reliability_diagram(calibrated: Curves, uncalibrated: Curves) -> Figure:
    """Accuracy by confidence, with and without (dashed) temperature scaling; the diagonal is perfect calibration."""
    figure, axes = chart(4.4, 4.0)
    axes.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle=":")
    for index, name in enumerate(calibrated):
        for rows, label, style in (
            (uncalibrated[name], f"{name}, uncalibrated", {"linestyle": "--", "linewidth": 1, "alpha": 0.55}),
            (calibrated[name], name, {"marker": "o", "markersize": 4}),
        ):
            axes.plot("confidence", "accuracy", data=pd.DataFrame(rows), color=colour(index), label=label, **style)
    axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.02), ylim=(0, 1.02))
    axes.legend(loc="lower right", fontsize=8)
    return figure


def risk_coverage(curves: Curves, thresholds: Mapping[str, float]) -> Figure:
    """Error rate among the most confident answers, by their share; a ring marks the model's confidence threshold."""
    figure, axes = chart(4.4, 4.0)
    starts = []  # coverage up to which a model makes no error
    for index, (name, rows) in enumerate(curves.items()):
        curve = 100 * pd.DataFrame(rows)
        axes.plot(curve.coverage, curve.risk, color=colour(index), label=name)
        at_threshold = curve[curve.confidence >= 100 * thresholds[name]].tail(1)
        axes.plot(at_threshold.coverage, at_threshold.risk, "o", color=colour(index), fillstyle="none", markersize=8)
        starts += [*curve.coverage[curve.risk > 0][:1]]
    axes.set(xlabel="coverage (%)", ylabel="selective error rate (%)", ylim=(0, None))
    axes.set_xlim(max(0, min(starts, default=0) - 5), 100.5)
    axes.legend(loc="upper left")
    return figure


def robustness_bars(errors: Mapping[str, Mapping[str, float]]) -> Figure:
    """Error rate under each corruption, one bar per model, sorted by the error rates of the first model."""
    table = 100 * pd.DataFrame(errors).sort_values(next(iter(errors)), kind="stable")
    table = pd.concat([table.loc[["mean_error"]], table.drop("mean_error")])
    figure, axes = chart(4.8, 1.2 + 0.15 * len(table) * (1 + len(errors)))
    groups = axes.grouped_bar(table, group_spacing=0.5, orientation="horizontal", colors=COLOURS)
    for bars in groups.bar_containers:
        axes.bar_label(bars, fmt=lambda value: f"{value:.{0 if value >= 10 else 1}f}", padding=2, fontsize=7)
    axes.set_yticks(range(len(table)), ["mean", *(name.replace("_", " ") for name in table.index[1:])])
    axes.axhline(0.5, color=INK, linewidth=0.5)
    axes.set(xlabel="error rate (%)", xlim=(0, 108), ylim=(len(table) - 0.4, -0.6))
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=1 if max(map(len, errors)) > 12 else len(errors))
    return figure


UNITS = {
    "shift": "shift (pixels)",
    "rotation": "rotation (degrees, either way)",
    "scale": "scale (1: original size)",
    "stroke": "change of stroke width (pixels)",
}


def sensitivity_curve(curves: Curves, change: str) -> Figure:
    """Error rate by the amount of one `change`, a key of UNITS; the dotted line marks the unchanged image."""
    figure, axes = chart(4.4, 3.0)
    for index, (name, rows) in enumerate(curves.items()):
        curve = pd.DataFrame(rows)
        axes.plot(curve.amount, 100 * curve.error, "o-", color=colour(index), markersize=3, label=name)
    axes.axvline(1 if change == "scale" else 0, color=INK, linewidth=1, linestyle=":")
    axes.set(xlabel=UNITS[change], ylabel="error rate (%)", ylim=(0, None))
    axes.legend()
    return figure


def accuracy_against(
    key: str, label: str, models: Mapping[str, Mapping[str, float]], references: Sequence[Mapping[str, Any]]
) -> Figure:
    """Test accuracy with its interval against the cost `key`, on a logarithmic axis; `references` as rings.

    `models`: `accuracy`, `accuracy_low`, `accuracy_high` (0..1) and the cost of each model.
    """
    figure, axes = chart(4.8, 3.6)
    points: list[tuple[str, float, float, str, int]] = []
    for index, (name, model) in enumerate(models.items()):
        accuracy, low, high = (100 * model[part] for part in ("accuracy", "accuracy_low", "accuracy_high"))
        interval = [[accuracy - low], [high - accuracy]]
        axes.errorbar(model[key], accuracy, interval, color=colour(index), fmt="o", capsize=3)
        points.append((name, model[key], accuracy, colour(index), 10))
    for reference in references:
        if reference.get(key):
            x, y = reference[key], 100 * reference["accuracy"]
            axes.plot(x, y, "o", color=INK, fillstyle="none", markersize=5)
            points.append((reference["name"], x, y, INK, 7))
    axes.set(xlabel=label, ylabel="test accuracy (%)", xscale="log")
    axes.margins(x=0.25, y=0.15)
    low, high = axes.get_xlim()
    _label_log_axis(axes.xaxis, (1, 2, 5) if high < 100 * low else (1,))
    _label_points(axes, points)
    return figure


def _label_points(axes: Any, points: Sequence[tuple[str, float, float, str, int]]) -> None:
    """Write names (text, x, y, colour, size) beside their points so that no name covers a point or another name.

    A name without such a position is written to the right of its point. The axis limits must be final.
    """
    alignment = {1: "left", 0: "center", -1: "right"}
    rows = (0, -1, 1, -2, 2, -3, 3)
    around = [(column, row) for row in rows for column in (1, -1, 0) if column or row] + [(1, 0)]
    axes.figure.draw_without_rendering()
    margin = 4 * axes.figure.dpi / 72
    centres = [axes.transData.transform((x, y)) for _, x, y, _, _ in points]
    taken = [Bbox.from_extents(x - margin, y - margin, x + margin, y + margin) for x, y in centres]
    for text, x, y, ink, size in points:
        label = axes.annotate(text, (x, y), (0, 0), textcoords="offset points", color=ink, size=size, in_layout=False)
        for column, row in around:
            label.set(position=(column * (5 + size // 4), row * size * 0.9), ha=alignment[column], va="center")
            box = label.get_window_extent()
            if axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1 and not box.count_overlaps(taken):
                break
        taken.append(box)


def _label_classes(axes: Any, classes: Sequence[str], rotation: float) -> None:
    """Class names on the x axis, rotated if they are long."""
    long = _are_long(classes)
    axes.set_xticks(range(len(classes)), classes, rotation=rotation if long else 0, ha="right" if long else "center")


def _are_long(classes: Sequence[str]) -> bool:
    return max(map(len, classes)) > 2


def _label_log_axis(axis: Any, digits: Sequence[int] = (1, 2, 5)) -> None:
    """Ticks at `digits` times each power of ten, with plain numbers as labels."""
    axis.set_major_locator(LogLocator(subs=digits))
    axis.set_major_formatter(lambda value, _: f"{value / 1e6:g} million" if value >= 1e6 else f"{value:,.10g}")
    axis.set_minor_locator(NullLocator())


def classes_per_split(counts: Mapping[str, NDArray[np.integer[Any]]], classes: Sequence[str]) -> Figure:
    """Number of images of each class in each split."""
    figure, axes = chart(9, 3)
    axes.grouped_bar(counts, group_spacing=0.5, colors=[to_rgba(INK, alpha) for alpha in (1, 0.65, 0.4, 0.2)])
    _label_classes(axes, classes, 30)
    axes.set(ylabel="images", xlim=(-0.6, len(classes) - 0.4))
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(counts))
    return figure


def distributions(reference: pd.DataFrame, current: pd.DataFrame, labels: Mapping[str, str]) -> Figure:
    """Histograms of each column of `labels`: `reference` in grey, `current` as a line."""
    figure = Figure((9, 5))
    all_axes = figure.subplots(2, 3).flat
    for axes, (column, label) in zip(all_axes, labels.items(), strict=True):
        both = np.concatenate([reference[column], current[column]])
        bins = np.linspace(both.min(), max(both.max(), both.min() + 1e-9), 31)
        weights = [np.full(len(frame), 100 / len(frame)) for frame in (reference, current)]
        axes.hist(reference[column], bins, weights=weights[0], color=INK, alpha=0.35, label="training images")
        axes.hist(current[column], bins, weights=weights[1], color=colour(0), histtype="step", label="requests")
        axes.set_xlabel(label, fontsize=8)
    figure.axes[0].set_ylabel("images (%)")
    figure.axes[0].legend(fontsize=7)
    return figure
