"""`make retrain`: exports corrections, runs the pipeline with the promotion gate, and hands the models over."""

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
from pipeline.paths import PREPARED, REPORTS, RETRAINING, RETRAINING_LOCK, ROOT, SOURCE
from pipeline.registry.champion import champion_state
from pipeline.reporting import metrics_diff
from pipeline.reporting.rendering import render
from pipeline.tracking import open_database
from records import promotions

MARK = "DIGITS_RETRAINING"  # environment variable that marks all processes of a retraining
REGISTERED = REPORTS / "registered.json"


def main() -> None:
    RETRAINING_LOCK.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(RETRAINING_LOCK)  # held until this process exits
    try:
        lock.acquire(blocking=False)
    except Timeout:
        say("another retraining is running; waiting for its end")
        lock.acquire()
    kill_leftovers()
    os.environ |= {MARK: str(ROOT), "DIGITS_NO_FALLBACK": "1"}
    if not RETRAINING.exists():  # it exists after an interrupted retraining, whose result is then reported too
        write_json(RETRAINING, {"row": promotions.last_row(open_database()), "registered": registration_time()})
    fallback.main()
    if not all(path.exists() for path in (SOURCE, PREPARED / "val.npz", PREPARED / "test.npz")):
        repro("prepare")  # the check of corrections needs the published images
    feedback.main()
    repro()
    try:
        check.main()
    except PipelineError as error:
        say(str(error))
        repro("--single-item", "--force", "register", "package")
    event, reason = outcome(read_json(RETRAINING))
    write_summary(event, reason)
    RETRAINING.unlink()
    say(f"{event}: {reason}")


def kill_leftovers() -> None:
    """Kill the processes that an interrupted retraining of this checkout left: they hold DVC's lock and write files."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            killed = process.status() == psutil.STATUS_ZOMBIE  # DVC's lock counts it until the system removes it
            if killed or process.environ().get(MARK) == str(ROOT):
                process.kill()
                found.append(process)
    psutil.wait_procs(found, timeout=10)


def repro(*arguments: str) -> None:
    """Run `dvc repro` and show its output. Raises PipelineError when a stage fails."""
    if status := subprocess.run(["dvc", "repro", *arguments], cwd=ROOT).returncode:
        raise PipelineError(f"dvc repro failed with status {status}, see above; then run: make retrain")


def outcome(before: dict[str, Any]) -> tuple[str, str]:
    """Returns the event (promoted, updated, refused or unchanged) since the state `before`, and its reason."""
    record, engine = read_json(REGISTERED), open_database()
    events = ("refused", "updated", "promoted")  # the most important one is the last
    new = [row for row in promotions.history(engine, record["model"]) if row["id"] > before["row"]]
    if rows := [row for row in new if row["event"] in events]:
        row = max(rows, key=lambda row: (events.index(row["event"]), row["id"]))
        return row["event"], f"version {row['version']}: {row['reason']}"
    if registration_time() != before["registered"]:
        last = read_json(REPORTS / "outcome.json")
        return last["event"], last["reason"]
    champion = champion_state(engine, record["model"]).version
    return "unchanged", f"code, data and parameters of the models have not changed; version {champion} is the champion"


def registration_time() -> int:
    """Returns the time of the last run of the stage `register` in nanoseconds, 0 before the first."""
    return REGISTERED.stat().st_mtime_ns if REGISTERED.exists() else 0


def write_summary(event: str, reason: str) -> None:
    """Write `reports/retraining.md` and the badge `reports/retraining.svg`."""
    now = datetime.now(UTC)
    comparison = (REPORTS / "comparison.md").read_text(encoding="utf-8")
    parts = [f"# {event}: {reason}", f"Retrained on {now:%Y-%m-%d %H:%M} UTC.", "## Metrics against the last commit"]
    parts += [metrics_diff.against("HEAD"), comparison]
    write_text(REPORTS / "retraining.md", "\n\n".join(parts))
    write_text(REPORTS / "retraining.svg", render("retraining.svg", text=f"{now:%Y-%m-%d} {event}"))


if __name__ == "__main__":
    run_main(main)
