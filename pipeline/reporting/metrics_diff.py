"""The models' metrics against those of another commit, in Markdown: for pull requests and the retraining's summary."""

import json
import subprocess
import sys

from pipeline.console import PipelineError, run_main
from pipeline.files import write_text
from pipeline.paths import REPORTS, ROOT

HEADLINES = {
    "test.accuracy": "right on the test set",
    "val.accuracy": "right on validation images",
    "test.ece": "expected calibration error, test",
    "robustness.mean_error": "wrong under corruptions, mean",
}


def main(revision: str = "HEAD") -> None:
    """Write `reports/difference.md`."""
    text = f"## Metrics against {revision}\n\n{against(revision)}"
    if (REPORTS / "comparison.md").exists():
        text += "\n\n" + (REPORTS / "comparison.md").read_text(encoding="utf-8")
    write_text(REPORTS / "difference.md", text)


def against(revision: str) -> str:
    """A table of what matters most of each model, then all that changed. Raises PipelineError for unknown commits."""
    found = json.loads(metrics_diff("--json", "--all", revision) or "{}")
    rows = []
    for file in sorted(found):
        for key, words in HEADLINES.items():
            if key in found[file]:
                old, new = (found[file][key].get(side) for side in ("old", "new"))
                change = f"{new - old:+.4f}" if None not in (old, new) else "new" if old is None else "gone"
                rows.append(f"| {file.split('/')[-2]} | {words} | {number(old)} | {number(new)} | {change} |")
    if not rows:
        return f"No metrics here and at {revision}."
    lines = ["| model | | before | now | change |", "|---|---|---:|---:|---:|", *rows]
    if everything := metrics_diff("--md", "--precision", "4", revision):
        lines += ["", "<details><summary>everything that changed</summary>", "", everything, "", "</details>"]
    return "\n".join(lines)


def number(value: float | None) -> str:
    """Four digits after the point; a dash where there is none."""
    return "-" if value is None else f"{value:.4f}"


def metrics_diff(*arguments: str) -> str:
    """What `dvc metrics diff` prints."""
    command = [sys.executable, "-m", "dvc", "metrics", "diff", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1].removeprefix("ERROR: ")
        raise PipelineError(f"the metrics of {arguments[-1]} cannot be read: {reason}")
    return done.stdout.strip()


if __name__ == "__main__":
    run_main(main)
