"""Validation rules of a dataset for Great Expectations, and a summary of their results."""

import hashlib
import warnings
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.data.datasets import Dataset
from pipeline.data.idx import RAW_FILES
from recognition.image_format import IMAGE_SIZE

NAMED_IMAGES = 10  # images that the summary of a failed rule names


def describe(split: str, images: NDArray[np.uint8], labels: NDArray[np.integer[Any]]) -> pd.DataFrame:
    """Properties of images (n, rows, columns), one row each: size, intensities, centre of mass, sha256."""
    count, height, width = images.shape
    flat = images.reshape(count, -1)
    mass = np.maximum(flat.sum(axis=1, dtype=np.float64), 1e-9)  # the centre of a blank image is 0, outside any range
    return pd.DataFrame(
        {
            "split": split,
            "index": np.arange(count),
            "label": labels.astype(np.int64),
            "height": height,
            "width": width,
            "minimum": flat.min(axis=1).astype(np.int64),
            "maximum": flat.max(axis=1).astype(np.int64),
            "mean_intensity": flat.mean(axis=1),
            "ink_fraction": (flat > 0).mean(axis=1),
            "centre_row": (images.sum(axis=2, dtype=np.float64) @ np.arange(height)) / mass,
            "centre_column": (images.sum(axis=1, dtype=np.float64) @ np.arange(width)) / mass,
            "sha256": [hashlib.sha256(image.tobytes()).hexdigest() for image in images],
        }
    )


def count_classes(frame: pd.DataFrame, dataset: Dataset) -> list[dict[str, Any]]:
    """Number of images by class and split, one record per class."""

    def count(label: int, split: str) -> int:
        return int(((frame["label"] == label) & (frame["split"] == split)).sum())

    return [
        {"class": name, **{split: count(label, split) for split in RAW_FILES}}
        for label, name in enumerate(dataset.classes)
    ]


def rule(expectation: str, words: str, **arguments: Any) -> Any:
    """Returns an instance of a Great Expectations class; `words` describe it in reports."""
    import great_expectations.expectations as gxe

    return getattr(gxe, expectation)(meta={"rule": words}, **arguments)


def label_rule(dataset: Dataset) -> Any:
    """Returns the rule that every label is a class."""
    last = len(dataset.classes) - 1
    labels = list(range(last + 1))
    return rule("ExpectColumnValuesToBeInSet", f"labels are 0 to {last}", column="label", value_set=labels)


def image_rules(dataset: Dataset, mostly: float = 1.0, slack: float = 0.0) -> list[Any]:
    """Returns the rules for single images, which at least a share of `mostly` of the images must satisfy.

    `slack`: pixels added to both ends of the range of the centre of mass; this project's preprocessing centres images
    half a pixel away from MNIST's.
    """
    low, high = dataset.expected.ink_fraction
    top, bottom = dataset.expected.centre_of_mass[0] - slack, dataset.expected.centre_of_mass[1] + slack
    ranges = [
        ("height", f"height is {IMAGE_SIZE} pixels", IMAGE_SIZE, IMAGE_SIZE),
        ("width", f"width is {IMAGE_SIZE} pixels", IMAGE_SIZE, IMAGE_SIZE),
        ("maximum", "no image is blank", 1, 255),
        ("minimum", "no image is saturated", 0, 254),
        ("ink_fraction", f"{low:.0%} to {high:.0%} of an image is ink", low, high),
        ("centre_row", f"centre of mass, row, from {top:g} to {bottom:g}", top, bottom),
        ("centre_column", f"centre of mass, column, from {top:g} to {bottom:g}", top, bottom),
    ]
    between = "ExpectColumnValuesToBeBetween"
    return [
        rule(between, words, column=column, min_value=minimum, max_value=maximum, mostly=mostly)
        for column, words, minimum, maximum in ranges
    ]


def expectations(dataset: Dataset) -> list[Any]:
    """Returns all rules for the published files of a dataset."""
    from great_expectations.expectations.row_conditions import Column

    expected = dataset.expected
    repeated = f"at most {expected.duplicates:.1%} of the images occur twice"
    unique = repeated if expected.duplicates else "no image occurs twice, within or across splits"
    suite = [
        label_rule(dataset),
        *image_rules(dataset),
        rule("ExpectColumnValuesToBeUnique", unique, column="sha256", mostly=1 - expected.duplicates),
    ]
    for split in RAW_FILES:
        in_split = Column("split") == split
        for label, (name, count) in enumerate(zip(dataset.classes, getattr(dataset.counts, split), strict=True)):
            words = f"{split}: {count:,} images of class {name}"
            in_class = in_split & (Column("label") == label)
            suite.append(rule("ExpectTableRowCountToEqual", words, value=count, row_condition=in_class))
        intensity: dict[str, Any] = {"column": "mean_intensity", "row_condition": in_split}
        mean = getattr(expected.mean_intensity, split)
        tolerance = mean * expected.mean_intensity.tolerance
        words = f"{split}: mean intensity is {mean:g} within {tolerance:.2g}"
        bounds = {"min_value": mean - tolerance, "max_value": mean + tolerance}
        suite.append(rule("ExpectColumnMeanToBeBetween", words, **bounds, **intensity))
        if (quantiles := expected.intensity_quantiles) is not None:
            words = f"{split}: mean intensity is distributed as published"
            weights = np.diff([0.0, *quantiles.shares, 1.0]).tolist()
            partition = {"bins": [0.0, *getattr(quantiles, split), 255.0], "weights": weights}
            limits = {"partition_object": partition, "threshold": 0.005}
            suite.append(rule("ExpectColumnKLDivergenceToBeLessThan", words, **limits, **intensity))
    return suite


def check(frame: pd.DataFrame, suite: list[Any]) -> list[dict[str, Any]]:
    """Validate the rows of `describe`; returns one summary per rule, in the order of `suite`."""
    return [summarize(result, frame) for result in run(frame, suite)]


def run(frame: pd.DataFrame, suite: list[Any]) -> list[Any]:
    """Validate the rows of `describe`; returns Great Expectations' results in the order of `suite`."""
    warnings.filterwarnings("ignore", module="great_expectations")
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    batch = (
        context.data_sources.add_pandas("raw").add_dataframe_asset("images").add_batch_definition_whole_dataframe("all")
    )
    rules = context.suites.add(gx.ExpectationSuite("raw", expectations=suite))
    definition = context.validation_definitions.add(gx.ValidationDefinition(name="raw", data=batch, suite=rules))
    outcome = definition.run(batch_parameters={"dataframe": frame}, result_format={"result_format": "COMPLETE"})
    order = [expectation.meta["rule"] for expectation in suite]
    return sorted(outcome.results, key=lambda result: order.index(result.expectation_config.meta["rule"]))


def offenders(result: Any) -> list[int]:
    """Returns the numbers of the rows that violate a rule."""
    found = result.result.get("unexpected_index_list") or []
    return [entry if isinstance(entry, int) else entry["index"] for entry in found]


def summarize(result: Any, frame: pd.DataFrame) -> dict[str, Any]:
    """Summary of one Great Expectations result for reports, with the first images that violate the rule."""
    configuration, details = result.expectation_config, result.result
    rows = offenders(result)
    images = frame.iloc[rows[:NAMED_IMAGES]]
    found = details.get("observed_value")
    if found is None and "unexpected_count" in details:
        found = f"{details['unexpected_count']:,} of {details['element_count']:,} images otherwise"
        if values := details.get("partial_unexpected_list"):
            found += f", the first {values[0]:.64}" if isinstance(values[0], str) else f", the first {values[0]:g}"
    if "kl_divergence" in configuration.type:
        found = f"divergence of {float(found):.5f} nats"
    return {
        "rule": configuration.meta["rule"],
        "expectation": configuration.type,
        "column": configuration.kwargs.get("column", "split, label"),
        "success": bool(result.success),
        "found": round(found, 6) if isinstance(found, float) else found,
        "images": [f"{split} {index}" for split, index in zip(images["split"], images["index"], strict=True)],
        "offenders": len(rows),
    }


def describe_failure(summary: dict[str, Any]) -> str:
    """One line for a failed rule: column, rule, found value, first images and Great Expectations' name."""
    images = f"; first: {', '.join(summary['images'])}" if summary["images"] else ""
    failure = f"{summary['column']}: expected: {summary['rule']}; found: {summary['found']}"
    return f"{failure}{images} [{summary['expectation']}]"
