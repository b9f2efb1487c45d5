"""Stage `validate`: check the raw images with Great Expectations; a failed rule stops the pipeline."""

import pandas as pd

from pipeline.console import PipelineError, run_main, say
from pipeline.data.datasets import load_dataset
from pipeline.data.expectations import check, count_classes, describe, describe_failure, expectations
from pipeline.data.idx import RAW_FILES, read_raw, read_source
from pipeline.files import write_json, write_text
from pipeline.paths import REPORTS
from pipeline.reporting.rendering import render


def main() -> None:
    name = read_source()["dataset"]
    dataset = load_dataset(name)
    frame = pd.concat([describe(split, *read_raw(split)) for split in RAW_FILES], ignore_index=True)
    rules = check(frame, expectations(dataset))
    failed = [rule for rule in rules if not rule["success"]]
    report = {"dataset": name, "title": dataset.title, "images": len(frame), "success": not failed, "rules": rules}
    write_json(REPORTS / "validation.json", report)
    html = render("validation.html", report=report, counts=count_classes(frame, dataset))
    write_text(REPORTS / "validation.html", html)
    if failed:
        raise PipelineError("\n".join(map(describe_failure, failed)))
    say(f"{dataset.title}: {len(frame):,} images satisfy all {len(rules)} rules")


if __name__ == "__main__":
    run_main(main)
