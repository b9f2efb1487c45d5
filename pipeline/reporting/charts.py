"""Charts, drawn with matplotlib: one function each, taking figures and giving a matplotlib Figure."""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from matplotlib.transforms import Bbox
from numpy.typing import NDArray
from PIL import Image

from pipeline.reporting.palette import INK, colour


def figure_to_png(figure: Figure) -> Image.Image:
    """The chart on white, as an image."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, facecolor="white")
    return Image.open(buffer)


def figure_to_svg(figure: Figure, alt: str) -> Markup:
    """The chart as an SVG element that takes the text colour of the page around it; the same bytes every time."""
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": alt, "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = re.sub(INK, "currentColor", svg[svg.index("<svg") :], flags=re.IGNORECASE)
    svg = re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', "", svg, count=1)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # Markers and clip paths are named alike in every chart of a page: keep them apart
    prefix = re.sub(r"[^a-z]", "", alt.lower())[:24]
    svg = re.sub(r'id="([^"]+)"', rf'id="{prefix}-\1"', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\1{prefix}-", svg)
    return Markup(svg.replace("<svg ", f'<svg role="img" aria-label="{Markup.escape(alt)}" ', 1))


def _chart(width: float = 6.4, height: float = 3.6, columns: int = 1) -> tuple[Figure, Any]:
    figure = Figure((width, height), layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False)[0]
    for axis in axes:
        _quiet_axes(axis)
    return figure, axes


def _quiet_axes(axis: Any) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(INK)
    axis.tick_params(colors=INK)
    for text in (axis.xaxis.label, axis.yaxis.label, axis.title):
        text.set_color(INK)


def _legend(axis: Any, **place: Any) -> None:
    axis.legend(frameon=False, labelcolor=INK, **place)


def _plain_numbers(axis: Any) -> None:
    """Ticks of a logarithmic axis at 1, 2 and 5 of each decade, written as people write numbers."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_locator(NullLocator())


def learning_curves(histories: Mapping[str, pd.DataFrame]) -> Figure:
    """Loss and mistakes by epoch, on training (dashed) and validation images (solid)."""
    figure, (loss, error) = _chart(9, 3.4, 2)
    for index, (name, rows) in enumerate(histories.items()):
        epochs = rows["epoch"] + 1
        for axis, train, val in (
            (loss, rows["loss"], rows["val_loss"]),
            (error, 100 * (1 - rows["accuracy"]), 100 * (1 - rows["val_accuracy"])),
        ):
            axis.plot(epochs, train, color=colour(index), linestyle="--", linewidth=1, label=f"{name}, training")
            axis.plot(epochs, val, color=colour(index), label=f"{name}, validation")
    loss.set(xlabel="epoch", ylabel="cross-entropy (nats)", yscale="log")
    error.set(xlabel="epoch", ylabel="images wrong (%)", yscale="log")
    for axis in (loss, error):
        _plain_numbers(axis.yaxis)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(error)
    return figure


def confusion(matrix: NDArray[np.integer[Any]], classes: Sequence[str], index: int) -> Figure:
    """Counts of predicted (columns) against given labels (rows); only mistakes are shaded, the diagonal is too full."""
    long = max(map(len, classes)) > 2
    figure, (axis,) = _chart(5.2 if long else 4.4, 5.0 if long else 4.2)
    mistakes = matrix * (1 - np.eye(len(matrix), dtype=int))
    share = mistakes / max(mistakes.max(), 1)
    rgb = [int(colour(index)[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    axis.imshow(np.dstack([np.full(matrix.shape, channel) for channel in rgb] + [share * 0.85]))
    for row, column in np.ndindex(*matrix.shape):
        if matrix[row, column]:
            strong = share[row, column] > 0.6
            axis.text(
                column,
                row,
                str(matrix[row, column]),
                ha="center",
                va="center",
                fontsize=7,
                color="white" if strong else INK,
            )
    ticks = range(len(classes))
    axis.set_xticks(ticks, classes, rotation=60 if long else 0, ha="right" if long else "center")
    axis.set_yticks(ticks, classes)
    axis.set(xlabel="predicted", ylabel="label")
    return figure


def reliability_diagram(
    models: Mapping[str, Sequence[Mapping[str, float]]], before: Mapping[str, Sequence[Mapping[str, float]]]
) -> Figure:
    """Accuracy against confidence, dashed as it was `before` the temperature; on the diagonal it means what it says."""
    figure, (axis,) = _chart(4.4, 4.0)
    axis.plot([0, 1], [0, 1], color=INK, linewidth=1, linestyle=":")
    for index, (name, rows) in enumerate(models.items()):
        for group, style, words in ((before[name], "--", ", before"), (rows, "-", "")):
            x, y = [row["confidence"] for row in group], [row["accuracy"] for row in group]
            faint = {"alpha": 0.55, "linewidth": 1} if words else {"marker": "o", "markersize": 4}
            axis.plot(x, y, color=colour(index), linestyle=style, label=name + words, **faint)
    axis.set(xlabel="confidence", ylabel="share of images right", xlim=(0, 1.02), ylim=(0, 1.02))
    _legend(axis, loc="upper left", fontsize=8)
    return figure


def risk_coverage(curves: Mapping[str, Sequence[Mapping[str, float]]], thresholds: Mapping[str, float]) -> Figure:
    """Wrong answers among the surest, by the share of images that are answered; a ring at each model's threshold."""
    figure, (axis,) = _chart(4.4, 4.0)
    for index, (name, rows) in enumerate(curves.items()):
        x, y = [100 * row["coverage"] for row in rows], [100 * row["risk"] for row in rows]
        axis.plot(x, y, color=colour(index), label=name)
        kept = [place for place, row in enumerate(rows) if row["confidence"] >= thresholds[name]]
        if kept:
            axis.plot(x[kept[-1]], y[kept[-1]], "o", color=colour(index), fillstyle="none", markersize=8)
    first_mistakes = [row["coverage"] for rows in curves.values() for row in rows if row["risk"] > 0]
    left = max(0, 100 * min(first_mistakes, default=0) - 5)  # before that all are right
    axis.set(xlabel="images answered, the surest first (%)", ylabel="of these wrong (%)", ylim=(0, None))
    axis.set_xlim(left, 100.5)
    _legend(axis, loc="upper left")
    return figure


def robustness_bars(errors: Mapping[str, Mapping[str, float]]) -> Figure:
    """Wrong answers under each corruption, one bar per model; corruptions by the first model's error."""
    first = next(iter(errors.values()))
    order = sorted((name for name in first if name != "mean_error"), key=lambda name: first[name])
    order = ["mean_error", *order]
    figure, (axis,) = _chart(4.8, 1.2 + 0.15 * len(order) * (1 + len(errors)))
    height = 0.8 / len(errors)
    for index, (name, shares) in enumerate(errors.items()):
        places = np.arange(len(order)) - (index - (len(errors) - 1) / 2) * height
        values = [100 * shares[corruption] for corruption in order]
        axis.barh(places, values, height, color=colour(index), label=name)
        for place, value in zip(places, values, strict=True):
            axis.text(
                value + 1, place, f"{value:.0f}" if value >= 10 else f"{value:.1f}", va="center", color=INK, fontsize=7
            )
    axis.set_yticks(
        range(len(order)), ["mean of all" if name == "mean_error" else name.replace("_", " ") for name in order]
    )
    axis.axhline(0.5, color=INK, linewidth=0.5)
    axis.set(xlabel="images wrong (%)", xlim=(0, 108), ylim=(-0.6, len(order) - 0.4))
    columns = 1 if max(map(len, errors)) > 12 else len(errors)
    _legend(axis, loc="lower left", bbox_to_anchor=(0, 1), ncols=columns)
    return figure


UNITS = {
    "shift": "shift (pixels)",
    "rotation": "rotation (degrees, either way)",
    "scale": "size (share of the original)",
    "stroke": "change of stroke width (pixels)",
}


def sensitivity_curve(curves: Mapping[str, Sequence[Mapping[str, float]]], change: str) -> Figure:
    """Wrong answers by the amount of one `change`, a key of UNITS; the dotted line is the image as it was."""
    figure, (axis,) = _chart(4.4, 3.0)
    for index, (name, rows) in enumerate(curves.items()):
        x, y = [row["amount"] for row in rows], [100 * row["error"] for row in rows]
        axis.plot(x, y, color=colour(index), marker="o", markersize=3, label=name)
    axis.axvline(1 if change == "scale" else 0, color=INK, linewidth=1, linestyle=":")
    axis.set(xlabel=UNITS[change], ylabel="images wrong (%)", ylim=(0, None))
    _legend(axis)
    return figure


def accuracy_against(
    key: str, label: str, models: Mapping[str, Mapping[str, float]], references: Sequence[Mapping[str, Any]]
) -> Figure:
    """Accuracy with its interval against a cost, on a logarithmic scale; `references` are other people's, in grey.

    `models`: name to `accuracy`, `accuracy_low`, `accuracy_high` (shares) and the cost `key`.
    """
    figure, (axis,) = _chart(4.8, 3.6)
    names: list[tuple[str, float, float, str, int]] = []
    for index, (name, model) in enumerate(models.items()):
        accuracy, low, high = (100 * model[part] for part in ("accuracy", "accuracy_low", "accuracy_high"))
        axis.errorbar(
            model[key], accuracy, [[accuracy - low], [high - accuracy]], color=colour(index), fmt="o", capsize=3
        )
        names.append((name, model[key], accuracy, colour(index), 10))
    for reference in references:
        if reference.get(key):
            x, y = reference[key], 100 * reference["accuracy"]
            axis.plot(x, y, "o", color=INK, fillstyle="none", markersize=5)
            names.append((reference["name"], x, y, INK, 7))
    axis.set(xlabel=label, ylabel="test images right (%)", xscale="log")
    axis.margins(x=0.25, y=0.15)
    low, high = axis.get_xlim()
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
    axis.xaxis.set_major_formatter(FuncFormatter(_short_number))
    axis.xaxis.set_minor_locator(NullLocator())
    _name_points(axis, names)
    return figure


def _name_points(axis: Any, names: Sequence[tuple[str, float, float, str, int]]) -> None:
    """Names (text, x, y, colour, size) beside their points, each where it covers no point and no name before it.

    Where there is no such place, to the right. The axis has its limits already.
    """
    sides = {1: "left", 0: "center", -1: "right"}  # which side of the text is at the place
    rows = (0, -1, 1, -2, 2, -3, 3)
    around = [(column, row) for row in rows for column in (1, -1, 0) if column or row] + [(1, 0)]
    axis.figure.draw_without_rendering()
    pixel = axis.figure.dpi / 72
    places = [axis.transData.transform((x, y)) for _, x, y, _, _ in names]
    taken = [Bbox.from_extents(x - 4 * pixel, y - 4 * pixel, x + 4 * pixel, y + 4 * pixel) for x, y in places]
    for text, x, y, ink, size in names:
        label = axis.annotate(text, (x, y), (0, 0), textcoords="offset points", color=ink, size=size, in_layout=False)
        for column, row in around:
            label.set(position=(column * (5 + size // 4), row * size * 0.9), ha=sides[column], va="center")
            box = label.get_window_extent()
            if axis.bbox.x0 <= box.x0 and box.x1 <= axis.bbox.x1 and not box.count_overlaps(taken):
                break
        taken.append(box)


def search_history(trials: Sequence[tuple[Mapping[str, Any], float]], keys: Sequence[str]) -> Figure:
    """Validation accuracy of each trial: in their order, with the best so far, and against each parameter of `keys`."""
    figure, axes = _chart(3 * (1 + len(keys)), 3.2, 1 + len(keys))
    scores = [100 * score for _, score in trials]
    order = range(1, len(trials) + 1)
    axes[0].step(order, np.maximum.accumulate(scores), color=INK, linewidth=1, where="post")
    axes[0].set(xlabel="trial", ylabel="validation images right (%)")
    axes[0].xaxis.set_major_locator(MaxNLocator(integer=True))
    for axis, places, label in zip(
        axes, [order, *([values.get(key) for values, _ in trials] for key in keys)], ["trial", *keys], strict=True
    ):
        axis.plot(
            [str(x) if isinstance(x, str | bool) else x for x in places], scores, "o", color=colour(0), markersize=4
        )
        axis.set_xlabel(label)
        axis.tick_params("x", labelsize=8)
    return figure


def _short_number(value: float, _: Any) -> str:
    return f"{value / 1e6:g} million" if value >= 1e6 else f"{value:,.10g}"


def classes_per_split(counts: Mapping[str, Sequence[int]], classes: Sequence[str]) -> Figure:
    """Images of each class in each split."""
    figure, (axis,) = _chart(9, 3)
    width = 0.8 / len(counts)
    for index, (split, values) in enumerate(counts.items()):
        places = np.arange(len(classes)) + (index - (len(counts) - 1) / 2) * width
        axis.bar(places, values, width, label=split, color=INK, alpha=(1.0, 0.65, 0.35)[index % 3])
    long = max(map(len, classes)) > 4
    axis.set_xticks(range(len(classes)), classes, rotation=30 if long else 0, ha="right" if long else "center")
    axis.set(ylabel="images", yscale="log")
    _plain_numbers(axis.yaxis)
    _legend(axis, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(counts))
    return figure


def distributions(reference: pd.DataFrame, found: pd.DataFrame, names: Mapping[str, str]) -> Figure:
    """One histogram for each of `names` (column: label): grey the reference, the line what was found."""
    figure = Figure((9, 5), layout="constrained")
    for axis, (column, label) in zip(figure.subplots(2, 3).flat, names.items(), strict=True):
        both = np.concatenate([reference[column], found[column]])
        bins = np.linspace(both.min(), max(both.max(), both.min() + 1e-9), 31)
        shares = [np.full(len(frame), 100 / len(frame)) for frame in (reference, found)]
        axis.hist(reference[column], bins, weights=shares[0], color=INK, alpha=0.35, label="training images")
        axis.hist(found[column], bins, weights=shares[1], color=colour(0), histtype="step", label="these requests")
        _quiet_axes(axis)
        axis.set_xlabel(label, fontsize=8)
    axis.get_figure().axes[0].set_ylabel("pictures (%)")
    _legend(axis.get_figure().axes[0], fontsize=7)
    return figure
