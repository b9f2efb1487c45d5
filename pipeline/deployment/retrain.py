"""`make retrain`: what the schedule does, on any machine: feedback, the whole pipeline, gate, hand-over, a summary."""

import os
import subprocess
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import psutil
from filelock import FileLock, Timeout

from pipeline.console import PipelineError, run_main, say
from pipeline.data import fallback
from pipeline.deployment import check
from pipeline.files import read_json, write_json, write_text
from pipeline.monitoring import feedback
from pipeline.params import load_params
from pipeline.paths import MODELS, REPORTS, RETRAINING, RETRAINING_LOCK, ROOT
from pipeline.registry.champion import champion_state
from pipeline.reporting import metrics_diff
from records import promotions

MARK = "DIGITS_RETRAINING"  # in the environment of all that a retraining starts
REGISTERED = REPORTS / "registered.json"


def main() -> None:
    RETRAINING_LOCK.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(RETRAINING_LOCK)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        say("another retraining is running here; waiting for its end")
        lock.acquire()
    with lock:
        end_leftovers()
        os.environ |= {MARK: str(ROOT), "DIGITS_NO_FALLBACK": "1"}
        event, reason = retrain()
        say(f"{event}: {reason}")


def retrain() -> tuple[str, str]:
    """Run everything; what came of it (promoted, refused or unchanged) and why. Raises PipelineError.

    What is compared with at the end is noted in a file until then: a repetition after a kill tells of both.
    """
    if not RETRAINING.exists():
        write_json(RETRAINING, {"row": promotions.last_row(), "registered": written()})
    before = read_json(RETRAINING)
    fallback.main()
    if not all((MODELS / name / "model.tflite").exists() for name in load_params().models):
        repro("compare")  # corrections are held against models
    feedback.main()
    repro()
    try:
        check.main()
    except PipelineError as error:
        say(str(error))
        repro("--single-item", "--force", "register", "package")
    event, reason = outcome(before)
    write_summary(event, reason)
    RETRAINING.unlink()
    return event, reason


def end_leftovers() -> None:
    """End what a killed retraining left running here: it holds DVC's lock and writes into our files."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(MARK) == str(ROOT):
                process.kill()
                process.wait(10)


def repro(*arguments: str) -> None:
    """`dvc repro`, its output shown. Raises PipelineError when a stage fails."""
    if status := subprocess.run(["dvc", "repro", *arguments], cwd=ROOT).returncode:
        raise PipelineError(f"dvc repro ended with status {status} for the reason above; then: make retrain")


def outcome(before: dict[str, Any]) -> tuple[str, str]:
    """What the gate did since `before`: promoted or refused, or unchanged where it had nothing to decide."""
    record = read_json(REGISTERED)
    rows = [row for row in promotions.history(record["model"]) if row["id"] > before["row"]]
    for row in reversed(rows):
        if row["event"] in ("promoted", "refused"):
            return row["event"], f"version {row['version']}: {row['reason']}"
    if written() != before["registered"]:
        return record["outcome"]["event"], record["outcome"]["reason"]
    champion = champion_state(record["model"]).version
    return "unchanged", f"nothing that the models depend on has changed; version {champion} is champion"


def written() -> int:
    """When `register` ran last, in nanoseconds; 0 before it did."""
    return REGISTERED.stat().st_mtime_ns if REGISTERED.exists() else 0


def write_summary(event: str, reason: str) -> None:
    """`reports/retraining.md` for people, `reports/retraining.svg` as a badge."""
    now = datetime.now(UTC)
    comparison = (REPORTS / "comparison.md").read_text(encoding="utf-8")
    parts = [f"# {event}: {reason}", f"Retrained on {now:%Y-%m-%d %H:%M} UTC.", "## Metrics against the commit before"]
    parts += [metrics_diff.against("HEAD"), comparison]
    write_text(REPORTS / "retraining.md", "\n\n".join(parts))
    write_text(REPORTS / "retraining.svg", badge(f"{now:%Y-%m-%d} {event}"))


def badge(words: str) -> str:
    """A small SVG: `last retraining` and the words."""
    left, right = 100, 12 + 7 * len(words)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img" '
        f'aria-label="last retraining: {words}" font-family="Verdana,sans-serif" font-size="11" fill="#fff">'
        f'<rect width="{left}" height="20" fill="#444"/><rect x="{left}" width="{right}" height="20" fill="#2a7a3b"/>'
        f'<text x="8" y="14">last retraining</text><text x="{left + 6}" y="14">{words}</text></svg>\n'
    )


if __name__ == "__main__":
    run_main(main)
