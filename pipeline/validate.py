"""Stage `validate`: Great Expectations on one row per raw image; any failed rule stops the pipeline with one line."""

import pandas as pd

from pipeline.console import PipelineError, run_main, say
from pipeline.data.datasets import load_dataset
from pipeline.data.expectations import check, count_classes, describe, describe_failure, expectations
from pipeline.data.idx import RAW_FILES, read_raw, read_source
from pipeline.files import write_json, write_text
from pipeline.paths import REPORTS
from pipeline.reporting.rendering import render


def main() -> None:
    source = read_source()
    dataset = load_dataset(source["dataset"])
    frame = pd.concat([describe(split, *read_raw(split)) for split in RAW_FILES], ignore_index=True)
    results = check(frame, expectations(dataset))
    report = {
        "dataset": source["dataset"],
        "title": dataset.title,
        "images": len(frame),
        "success": all(result["success"] for result in results),
        "rules": results,
    }
    write_json(REPORTS / "validation.json", report)
    write_text(
        REPORTS / "validation.html", render("validation.html", report=report, counts=count_classes(frame, dataset))
    )
    failed = [result for result in results if not result["success"]]
    if failed:
        raise PipelineError("\n".join(describe_failure(result) for result in failed))
    say(f"{dataset.title}: {len(frame):,} images, {len(results)} rules, all kept")


if __name__ == "__main__":
    run_main(main)
