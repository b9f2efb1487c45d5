"""Measured times and run ids, which differ between two runs and are therefore no DVC outputs.

The stages `train` and `evaluate` write them beside their outputs, to `models/NAME/run.json` and
`evaluations/NAME/latency.json`. Copies of reports that leave DVC get a table with them. `digits report`
(`python -m pipeline.reporting.measurements`) writes such a copy to `reports/report.html` and opens it.
"""

import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from pipeline.console import PipelineError, run_main, say
from pipeline.files import read_json, sha256, write_text
from pipeline.paths import EVALUATIONS, MODELS, REPORTS
from pipeline.reporting.rendering import render

PLACEHOLDER: Final = "<!-- measurements -->"  # in the templates of the pages
ROWS: Final = {
    "cpu_seconds": ("Training (CPU-seconds)", "{:,}"),
    "wall_seconds": ("Training (seconds of wall time)", "{:,}"),
    "latency_median_us": ("Latency of one image (median, µs)", "{:,.0f}"),
    "latency_p99_us": ("Latency of one image (99th percentile, µs)", "{:,.0f}"),
}


def read_run(name: str) -> dict[str, Any]:
    """`run_id`, `cpu_seconds` and `wall_seconds` of the training of `models/NAME/model.tflite`; empty if unknown."""
    return _of_present_model(name, MODELS / name / "run.json")


def read_latency(name: str) -> dict[str, Any]:
    """`latency_median_us` and `latency_p99_us` of `models/NAME/model.tflite`; empty if unknown."""
    return _of_present_model(name, EVALUATIONS / name / "latency.json")


def _of_present_model(name: str, file: Path) -> dict[str, Any]:
    """The content of `file` without its digest; empty if it is missing or belongs to another model.

    A model that DVC restored from its cache has no measurements, or those of the model that was there before.
    """
    try:
        content: dict[str, Any] = read_json(file)
        return content if content.pop("digest", None) == sha256(MODELS / name / "model.tflite") else {}
    except FileNotFoundError:
        return {}


def with_measurements(page: str, names: Sequence[str]) -> str:
    """The HTML page with a table of the measured times of the models; without the table if there are none."""
    models = {name: read_run(name) | read_latency(name) for name in names}
    if not any(models.values()):
        return page.replace(PLACEHOLDER, "")
    complete = all(ROWS.keys() <= times.keys() for times in models.values())
    return page.replace(PLACEHOLDER, render("measurements.html", models=models, rows=ROWS, complete=complete))


def comparison_page() -> str:
    """The comparison report with the measured times of its models."""
    names = read_json(REPORTS / "comparison.json")["models"]
    return with_measurements((REPORTS / "comparison.html").read_text(encoding="utf-8"), list(names))


def main() -> None:
    if not (REPORTS / "comparison.html").exists():
        raise PipelineError("there is no report yet; run: dvc repro compare")
    report = REPORTS / "report.html"
    write_text(report, comparison_page())
    say(f"report: {report}")
    webbrowser.open(report.as_uri())


if __name__ == "__main__":
    run_main(main)
