"""The validation rules of a dataset as Great Expectations, and their results in words."""

import hashlib
import warnings
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.data.datasets import Dataset
from pipeline.data.idx import RAW_FILES

SIDE = 28  # pixels; every dataset of the format has images of 28 x 28


OFFENDERS = 10  # images named with a failed rule


def describe(split: str, images: NDArray[np.uint8], labels: NDArray[np.integer[Any]]) -> pd.DataFrame:
    """One row per image of uint8 (n, rows, columns): shape, intensities, centre of mass, sha256 of its bytes."""
    count, height, width = images.shape
    flat = images.reshape(count, -1)
    mass = np.maximum(flat.sum(axis=1, dtype=np.float64), 1e-9)  # a blank image's centre lies at 0, outside any range
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
    """Images per class and split, as the report shows them."""
    counts = frame.groupby(["label", "split"]).size().unstack(fill_value=0)
    return [
        {"class": name, **{split: int(counts.get(split, pd.Series()).get(label, 0)) for split in RAW_FILES}}
        for label, name in enumerate(dataset.classes)
    ]


def label_rule(dataset: Dataset) -> Any:
    """That labels are classes."""
    import great_expectations.expectations as gxe

    last = len(dataset.classes) - 1
    return gxe.ExpectColumnValuesToBeInSet(
        meta={"rule": f"labels are 0 to {last}"}, column="label", value_set=list(range(last + 1))
    )


def image_rules(dataset: Dataset, mostly: float = 1.0, slack: float = 0.0) -> list[Any]:
    """What holds of every image, or of a share of `mostly`: of files, logged pictures and corrections alike.

    `slack`: pixels by which a centre of mass may lie farther out; our preprocessing puts it half a pixel from MNIST's.
    """
    import great_expectations.expectations as gxe

    low, high = dataset.expected.ink_fraction
    top, bottom = dataset.expected.centre_of_mass[0] - slack, dataset.expected.centre_of_mass[1] + slack
    rules = [
        *((f"{column} is {SIDE} pixels", column, SIDE, SIDE) for column in ("height", "width")),
        ("no image is blank", "maximum", 1, 255),
        ("no image is saturated", "minimum", 0, 254),
        (f"{low:.0%} to {high:.0%} of an image is ink", "ink_fraction", low, high),
        *(
            (f"{column.replace('_', ' of mass, ')}, from {top:g} to {bottom:g}", column, top, bottom)
            for column in ("centre_row", "centre_column")
        ),
    ]
    return [
        gxe.ExpectColumnValuesToBeBetween(
            meta={"rule": words}, column=column, min_value=least, max_value=most, mostly=mostly
        )
        for words, column, least, most in rules
    ]


def expectations(dataset: Dataset) -> list[Any]:
    """The suite that follows from a dataset's entry; `meta.rule` says each in words."""
    import great_expectations.expectations as gxe
    from great_expectations.expectations.row_conditions import Column

    suite: list[Any] = []

    def rule(kind: type[Any], words: str, **arguments: Any) -> None:
        suite.append(kind(meta={"rule": words}, **arguments))

    labels = list(range(len(dataset.classes)))
    total = sum(dataset.counts.train) + sum(dataset.counts.test)
    rule(gxe.ExpectTableRowCountToEqual, f"{total:,} images in all", value=total)
    suite += [label_rule(dataset), *image_rules(dataset)]
    rule(
        gxe.ExpectColumnValuesToBeUnique,
        "no image occurs twice, within or across splits"
        if not dataset.expected.duplicates
        else f"at most {dataset.expected.duplicates:.1%} of the images occur twice",
        column="sha256",
        mostly=1 - dataset.expected.duplicates,
    )
    for split in RAW_FILES:
        here = Column("split") == split
        counts = getattr(dataset.counts, split)
        for label, (name, count) in enumerate(zip(dataset.classes, counts, strict=True)):
            rule(
                gxe.ExpectTableRowCountToEqual,
                f"{split}: {count:,} images of class {name}",
                value=count,
                row_condition=here & (Column("label") == label),
            )
        mean = getattr(dataset.expected.mean_intensity, split)
        tolerance = mean * dataset.expected.mean_intensity.tolerance
        rule(
            gxe.ExpectColumnMeanToBeBetween,
            f"{split}: mean intensity is {mean:g} within {tolerance:.2g}",
            column="mean_intensity",
            min_value=mean - tolerance,
            max_value=mean + tolerance,
            row_condition=here,
        )
        if (known := dataset.expected.intensity_quantiles) is not None:
            shares = np.diff([0.0, *known.shares, 1.0]).tolist()
            rule(
                gxe.ExpectColumnKLDivergenceToBeLessThan,
                f"{split}: mean intensity is distributed as published",
                column="mean_intensity",
                partition_object={"bins": [0.0, *getattr(known, split), 255.0], "weights": shares},
                threshold=0.005,
                row_condition=here,
            )
        rule(
            gxe.ExpectColumnKLDivergenceToBeLessThan,
            f"{split}: the labels are distributed as published",
            column="label",
            partition_object={"values": labels, "weights": [count / sum(counts) for count in counts]},
            threshold=0.001,
            row_condition=here,
        )
    return suite


def check(frame: pd.DataFrame, suite: list[Any]) -> list[dict[str, Any]]:
    """Run the suite; one result per rule, in the suite's order: success, expected, found, first offending images."""
    return [summarize(result, frame) for result in run(frame, suite)]


def run(frame: pd.DataFrame, suite: list[Any]) -> list[Any]:
    """Great Expectations' own results, in the suite's order."""
    warnings.filterwarnings("ignore", module="great_expectations")
    import great_expectations as gx

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    source = context.data_sources.add_pandas("raw").add_dataframe_asset("images")
    batch = source.add_batch_definition_whole_dataframe("all")
    definition = context.validation_definitions.add(
        gx.ValidationDefinition(
            name="raw", data=batch, suite=context.suites.add(gx.ExpectationSuite("raw", expectations=suite))
        )
    )
    outcome = definition.run(batch_parameters={"dataframe": frame}, result_format={"result_format": "COMPLETE"})
    order = [expectation.meta["rule"] for expectation in suite]
    return sorted(outcome.results, key=lambda result: order.index(result.expectation_config.meta["rule"]))


def offenders(result: Any) -> list[int]:
    """Numbers of the rows that break a rule."""
    found = result.result.get("unexpected_index_list") or []
    return [entry if isinstance(entry, int) else entry["index"] for entry in found]


def summarize(result: Any, frame: pd.DataFrame) -> dict[str, Any]:
    """The few facts of one Great Expectations result that a person needs."""
    configuration, details = result.expectation_config, result.result
    arguments = configuration.kwargs
    broken = offenders(result)
    rows = frame.iloc[broken[:OFFENDERS]]
    found = details.get("observed_value")
    if found is None and "unexpected_count" in details:
        found = f"{details['unexpected_count']:,} of {details['element_count']:,} images otherwise"
        if values := details.get("partial_unexpected_list"):
            found += f", the first {values[0]:.64}" if isinstance(values[0], str) else f", the first {values[0]:g}"
    if "kl_divergence" in configuration.type:
        found = "values that were not published" if found is None else f"divergence of {float(found):.5f} nats"
    return {
        "rule": configuration.meta["rule"],
        "expectation": configuration.type,
        "column": arguments.get("column", "split, label" if "row_condition" in arguments else "(rows)"),
        "success": bool(result.success),
        "found": round(float(found), 6) if isinstance(found, float) else found,
        "images": [f"{row.split} {row.index_}" for row in rows.rename(columns={"index": "index_"}).itertuples()],
        "offenders": len(broken),
    }


def describe_failure(result: dict[str, Any]) -> str:
    """One line for a failed rule: rule, column, expected, found, first offending images."""
    line = f"{result['column']}: expected: {result['rule']}; found: {result['found']}"
    if result["images"]:
        line += f"; first: {', '.join(result['images'])}"
    return f"{line} [{result['expectation']}]"
