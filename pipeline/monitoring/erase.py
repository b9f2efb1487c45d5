"""`python -m pipeline.monitoring.erase ID ...`: deletes pictures, predictions, labels and reviews of requests.

The rows of the database go last, because the other places are found through them: a second call completes an
interrupted one.
"""

import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import sqlalchemy as sql
from filelock import FileLock, Timeout

from pipeline.console import PipelineError, run_main, say
from pipeline.data.datasets import load_dataset
from pipeline.data.idx import RAW_FILES, read_raw
from pipeline.monitoring import copies
from pipeline.monitoring.copies import Pictures
from pipeline.monitoring.feedback import EXPORTS, export
from pipeline.monitoring.logged import database_errors
from pipeline.paths import FEEDBACK, PREPARED, REPORTS, RETRAINING_LOCK, ROOT
from pipeline.tracking import open_database
from records import database

POSTGRESQL = (
    "PostgreSQL's files: deleted rows stay in them until VACUUM FULL rewrites the tables (VACUUM alone marks the space "
    "as free), and in its write-ahead log until that is recycled"
)


def main(request_ids: list[str]) -> None:
    """Delete all stored data of the requests with these ids. The id is the `request_id` of the answer.

    The command lists what it cannot reach. An interrupted call is completed by a second one.
    """
    requests = [request_id.partition("-")[0] for request_id in request_ids]  # ID-3 is a picture of request ID
    engine = open_database()
    RETRAINING_LOCK.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(RETRAINING_LOCK, timeout=0), database_errors():
            pictures, rebuilt, remaining = read_pictures(engine, requests), False, []
            if pictures:
                own = pictures - published_images()
                rebuilt = clean_training_data(pictures, own)
                clean_reports(pictures, own)
                remaining = clean_runs(pictures)
            count = delete_rows(engine, requests)
    except Timeout:
        raise PipelineError("a retraining is running and uses the pictures; run this command after its end") from None
    if not count:
        raise PipelineError(f"no data is stored for {', '.join(request_ids)}")
    say(f"{count} rows deleted")
    if rebuilt:
        say("the training data changed: run dvc repro to build it again without the pictures, and commit data/feedback")
        remaining = [*remaining, "models that were trained on the pictures: train new ones with make retrain"]
        remaining += [f"DVC remote {name}: dvc gc --workspace --cloud --remote {name}" for name in dvc_remotes()]
    if engine.dialect.name != "sqlite":
        remaining.append(POSTGRESQL)
    remaining.append("backups, and copies of the stores that you or a workflow made")
    say("out of reach of this command:")
    for line in remaining:
        say(f"  {line}")


def read_pictures(engine: sql.Engine, requests: Sequence[str]) -> Pictures:
    """Returns the stored pixels of the requests, 784 bytes for each picture."""
    query = sql.select(database.pictures.c.pixels).where(database.pictures.c.request_id.in_(requests))
    with engine.connect() as connection:
        return {bytes(pixels) for pixels in connection.execute(query).scalars()}


def clean_training_data(pictures: Pictures, own: Pictures) -> bool:
    """Delete pictures from exported corrections, prepared images and DVC's cache. Returns whether they were there.

    First the exports, from which the others are built. `own`: the pictures that are not published images; prepared
    images and the cache hold the others anyway.
    """
    found = [remove_corrections(FEEDBACK / name, pictures) for name in EXPORTS]
    cache = Path(dvc("cache", "dir").strip())
    folders = (FEEDBACK, PREPARED, cache, ROOT / ".dvc" / "tmp" / "exps")  # the last: queued experiments of DVC
    deleted = [path for folder in folders for path in copies.delete(folder, own)]
    for path in deleted:
        say(f"deleted: {path.relative_to(ROOT) if path.is_relative_to(ROOT) else path}")
    return any(found) or bool(deleted)


def published_images() -> Pictures:
    """Returns the pixels of the raw training and test images; nothing if they are missing."""
    with suppress(PipelineError):
        return {image.tobytes() for split in RAW_FILES for image in read_raw(split)[0]}
    return set()


def remove_corrections(path: Path, pictures: Pictures) -> bool:
    """Delete pictures from a file that `make feedback` exported. Returns whether it held one."""
    if not path.exists() and (pointer := path.with_name(f"{path.name}.dvc")).exists():
        dvc("checkout", "--quiet", str(pointer))
    if not path.exists():
        return False
    with np.load(path, allow_pickle=False) as content:
        images, labels, dataset = content["images"], content["labels"], str(content["dataset"])
        classes = content["classes"] if "classes" in content else load_dataset(dataset).classes
    kept = np.array([image.tobytes() not in pictures for image in images], bool)
    # Also without a change: a killed call may not have told DVC
    export(path, images[kept], labels[kept], dataset, list(map(str, classes)))
    if not kept.all():
        say(f"{(~kept).sum()} pictures deleted from data/feedback/{path.name}")
    return not kept.all()


def clean_reports(pictures: Pictures, own: Pictures) -> None:
    """Delete reports that show a picture. The next run of the command that wrote one writes it again.

    Only the monitor shows pictures of users. Other reports show published images: they hold no picture of `own`.
    """
    for path in copies.delete(REPORTS, pictures, "monitor.*") + copies.delete(REPORTS, own):
        say(f"deleted: reports/{path.relative_to(REPORTS)}; make monitor writes a new one")


def clean_runs(pictures: Pictures) -> list[str]:
    """Delete reports with a picture from the monitor's MLflow runs. Returns lines about runs out of reach.

    Earlier versions of the monitor logged the report with its gallery.
    """
    unreachable = []
    for run_id, folder in copies.monitor_runs():
        if folder is None:
            unreachable.append(f"MLflow run {run_id}: its monitor.html may show the pictures; delete it on the server")
        else:
            for path in copies.delete(folder, pictures):
                say(f"deleted: {path.name} of MLflow run {run_id}")
    return unreachable


def delete_rows(engine: sql.Engine, requests: Sequence[str]) -> int:
    """Delete all rows of the requests. In SQLite, also what deleted rows leave in the file and its write-ahead log."""
    count = database.delete_requests(engine, requests)
    if engine.dialect.name == "sqlite":
        # VACUUM writes every page anew. `secure_delete` would spare the copies that earlier page splits left behind.
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("vacuum")
            if connection.exec_driver_sql("pragma wal_checkpoint(truncate)").one()[0]:
                raise PipelineError(
                    "another process uses the database, so its log keeps the rows; run this command again"
                )
    return count


def dvc_remotes() -> list[str]:
    """Returns the names of DVC's remotes."""
    return [line.split()[0] for line in dvc("remote", "list").splitlines() if line.strip()]


def dvc(*arguments: str) -> str:
    """Run DVC and return its output. Raises PipelineError."""
    done = subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        reason = " ".join((done.stdout + done.stderr).split())[-300:]
        raise PipelineError(f"dvc {' '.join(arguments)} failed, nothing is deleted from the database: {reason}")
    return done.stdout


if __name__ == "__main__":
    run_main(main)
