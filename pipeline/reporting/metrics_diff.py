"""Changes of the models' metrics since another commit, in Markdown, for pull requests and retraining reports."""

import json
import subprocess
import sys
from typing import Annotated

import typer

from pipeline.console import PipelineError, run_main
from pipeline.files import write_text
from pipeline.paths import REPORTS, ROOT

KEY_METRICS = {
    "test.accuracy": "test accuracy",
    "val.accuracy": "validation accuracy",
    "test.ece": "expected calibration error (test)",
    "robustness.mean_error": "mean error rate under corruption",
    "forms.accuracy": "accuracy on drawn forms",
}


def main(revision: Annotated[str, typer.Argument()] = "HEAD") -> None:
    """Write reports/difference.md: the metrics of this checkout against those of REVISION, and the comparison."""
    text = f"## Metrics against {revision}\n\n{against(revision)}"
    if (REPORTS / "comparison.md").exists():
        text += "\n\n" + (REPORTS / "comparison.md").read_text(encoding="utf-8")
    write_text(REPORTS / "difference.md", text)


def against(revision: str) -> str:
    """A table of the key metrics, then of all that changed. Raises PipelineError for an unknown revision."""
    rows = []
    for file, changes in sorted(json.loads(dvc_metrics_diff("--json", "--all", revision) or "{}").items()):
        for key in [key for key in KEY_METRICS if key in changes]:
            old, new = changes[key].get("old"), changes[key].get("new")
            change = "new" if old is None else "removed" if new is None else f"{new - old:+.4f}"
            before, now = ("-" if value is None else f"{value:.4f}" for value in (old, new))
            rows.append(f"| {file.split('/')[-2]} | {KEY_METRICS[key]} | {before} | {now} | {change} |")
    if not rows:
        return f"No metrics to compare with {revision}."
    lines = ["| model | metric | before | now | change |", "|---|---|---:|---:|---:|", *rows]
    if changed := dvc_metrics_diff("--md", "--precision", "4", revision):
        lines += ["", "<details><summary>All changes</summary>", "", changed, "", "</details>"]
    return "\n".join(lines)


def dvc_metrics_diff(*arguments: str) -> str:
    """Output of `dvc metrics diff`; the last argument is the revision."""
    command = [sys.executable, "-m", "dvc", "metrics", "diff", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1].removeprefix("ERROR: ")
        raise PipelineError(f"cannot read the metrics of {arguments[-1]}: {reason}")
    return done.stdout.strip()


if __name__ == "__main__":
    run_main(main)
