"""Deletion of requests: every local store is searched for the pictures; an interrupted deletion is completed."""

import base64
import io
import re
import sqlite3
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sql
from filelock import FileLock
from PIL import Image

from pipeline import tracking
from pipeline.console import PipelineError
from pipeline.data.idx import RAW_FILES, write_idx
from pipeline.data.splits import Split, save_split
from pipeline.files import write_text
from pipeline.monitoring import copies, erase, feedback
from pipeline.reporting.rendering import image_element
from records import database
from tests.conftest import Project, drawn_digits

# Logs 40 pictures in the project's database, with answers of the registered versions as labels
LOG = """
import hashlib, sys
from datetime import UTC, datetime
import numpy as np
from pipeline.registry import versions
from pipeline.tracking import open_database
from records import database
images, now = np.load(sys.argv[1])["images"], datetime.now(UTC)
model = versions.served("optdigits-classifier")[1]["cnn"]
with open_database().begin() as connection:
    for number, (image, answer) in enumerate(zip(images, model.answer(images))):
        place = {"request_id": f"{number:032x}", "position": 0, "time": now}
        pixels = image.tobytes()
        stored = {"dataset": "optdigits", "digest": hashlib.sha256(pixels).hexdigest(), "pixels": pixels}
        named = {key: answer[key] for key in ("model", "version", "prediction", "confidence", "uncertain", "reason")}
        rest = {"route": "/predict", "latency_ms": 1.0, "client": f"c{number}"}
        connection.execute(database.pictures.insert().values(place | stored))
        connection.execute(database.predictions.insert().values(place | named | rest))
        connection.execute(database.labels.insert().values(
            place | {"label": answer["prediction"], "client": f"c{number}"}))
"""
# Logs the monitor's report, as earlier versions of the monitor did, to a run that is kept and to one that is deleted
LOG_REPORT = """
import mlflow
from pipeline import tracking
for deleted in (False, True):
    with tracking.run("optdigits-monitor", "monitor", {}, "") as run:
        mlflow.log_artifact("reports/monitor.html")
    if deleted:
        tracking.connect().delete_run(run.info.run_id)
"""


def contents(path: Path) -> Iterator[bytes]:
    """Yields the content of a file, of the members of a zip file, and the pixels of images embedded in a text."""
    data = path.read_bytes()
    yield data
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            yield from (archive.read(name) for name in archive.namelist())
    for embedded in re.findall(rb"data:image/png;base64,([A-Za-z0-9+/=]{60,})", data):
        yield np.asarray(Image.open(io.BytesIO(base64.b64decode(embedded)))).tobytes()


def places(pictures: list[bytes], *folders: Path) -> set[str]:
    """Returns the names of all files below the folders that hold one of the pictures."""
    files = {path for folder in folders for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}
    found = {path for path in files if any(one in content for content in contents(path) for one in pictures)}
    return {path.name if ".dvc/cache" not in path.as_posix() else "cache" for path in found}


@pytest.mark.slow
def test_no_local_store_holds_a_picture_after_its_deletion(project: Project, tmp_path: Path) -> None:
    folder = project.folder
    url = f"sqlite:///{tmp_path / 'digits.db'}"
    with np.load(folder / "data" / "prepared" / "test.npz") as content:
        images = content["images"][:40, :, ::-1]  # realistic, but no published images
    np.savez(tmp_path / "given.npz", images=images)
    prepare = ("dvc", "repro", "--single-item", "prepare")
    trained, original = (folder / "data" / "prepared" / "train.npz").read_bytes(), (folder / "params.yaml").read_text()

    def run(*command: str, status: int = 0) -> str:
        return project.run("python", *command, status=status, DIGITS_DATABASE_URL=url)

    def settings(params: dict) -> None:
        params["feedback"] |= {"client_share": 1.0, "class_share": 1.0}

    project.change(settings)
    try:
        run("-c", LOG, str(tmp_path / "given.npz"))
        (tmp_path / "given.npz").unlink()
        run("-m", "pipeline.monitoring.monitor", status=11)
        run("-c", LOG_REPORT)
        run("-m", "pipeline.monitoring.feedback")
        project.run(*prepare)
        run("-m", "pipeline.monitoring.review", "--list")
        erased, kept = ([image.tobytes() for image in part] for part in (images[:30], images[30:]))
        before = places(erased, folder, tmp_path)
        assert {"monitor.html", "labels.npz", "gate.npz", "train.npz", "cache"} <= before
        with closing(sqlite3.connect(tmp_path / "digits.db")) as service:  # holds the write-ahead log open
            service.execute("select 1").fetchone()
            service.execute("select count(*) from pictures").fetchone()
            assert before & {"digits.db", "digits.db-wal"}
            ids = [f"{number:032x}" for number in range(30)]
            output = run("-m", "pipeline.monitoring.erase", f"{ids[0]}-0", *ids[1:])
            assert places(erased, folder, tmp_path) == set()
        assert "90 rows deleted" in output and "run dvc repro to build it again" in output
        assert "deleted: data/prepared/train.npz" in output and "of MLflow run" in output
        assert "models that were trained on the pictures" in output and "backups" in output
        assert "VACUUM FULL" not in output
        engine = database.connect(database.parse_url(url))
        with engine.connect() as connection:
            left = connection.execute(sql.select(sql.func.count()).select_from(database.pictures)).scalar()
        assert left == 10
        project.run(*prepare)
        assert places(erased, folder, tmp_path) == set()
        assert {"labels.npz", "train.npz"} <= places(kept, folder)  # nobody asked to delete these
        assert "no data is stored" in run("-m", "pipeline.monitoring.erase", *ids, status=1)
    finally:
        (folder / "params.yaml").write_text(original)
        for path in (folder / "data" / "feedback").glob("*.npz*"):
            path.unlink()
        project.run(*prepare)
    assert (folder / "data" / "prepared" / "train.npz").read_bytes() == trained


@pytest.fixture
def stores(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace in which every local store holds the pictures of the requests "r0" and "r1", also DVC's cache."""
    monkeypatch.setenv("DIGITS_DATABASE_URL", f"sqlite:///{workspace / 'digits.db'}")
    images, labels = drawn_digits(1)
    now, runs, cache = datetime.now(UTC), workspace / "runs", workspace / "cache"
    with tracking.open_database().begin() as connection:
        for number, image in enumerate(images[:2]):
            row = {"request_id": f"r{number}", "position": 0, "time": now, "dataset": "mnist", "digest": "0" * 64}
            connection.execute(database.pictures.insert().values({**row, "pixels": image.tobytes()}))
    page = f"<!doctype html><html>data:image/png;base64,QUJD {image_element(images[0], 'logged picture')}</html>"
    write_text(workspace / "reports" / "monitor.html", page)
    write_text(runs / "monitor.html", page)
    save_split("train", Split("mnist", images, labels))
    cache.mkdir()

    def track(path: Path) -> None:
        """What `dvc add` does: a copy in the cache, and a pointer to it."""
        copied = cache / f"object{len([*cache.iterdir()])}"
        copied.write_bytes(path.read_bytes())
        path.with_name(f"{path.name}.dvc").write_text(copied.name)

    def dvc(*arguments: str) -> str:
        if arguments[0] == "checkout":
            pointer = Path(arguments[-1])
            pointer.with_suffix("").write_bytes((cache / pointer.read_text()).read_bytes())
        return str(cache) if arguments[0] == "cache" else ""

    monkeypatch.setattr(feedback, "track", track)
    monkeypatch.setattr(erase, "dvc", dvc)
    monkeypatch.setattr(erase, "ROOT", workspace)
    monkeypatch.setattr(copies, "monitor_runs", lambda: iter([("run 1", runs), ("run 2", None)]))
    (workspace / "data" / "feedback").mkdir(parents=True, exist_ok=True)
    feedback.export(workspace / "data" / "feedback" / "labels.npz", images[:5], labels[:5], "mnist", CLASSES)
    feedback.export(workspace / "data" / "feedback" / "gate.npz", images[1:2], labels[1:2], "mnist", CLASSES)
    return workspace


def call(*request_ids: str) -> None:
    erase.main([*request_ids])


CLASSES = [str(digit) for digit in range(10)]
PICTURES = [image.tobytes() for image in drawn_digits(1)[0][:2]]


def test_the_command_names_what_it_deleted_and_what_it_cannot_reach(
    stores: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = places(PICTURES, stores)
    assert {"labels.npz", "gate.npz", "train.npz", "object0", "object1", "monitor.html"} <= found
    call("r0", "r1")
    output = capsys.readouterr().out
    assert places(PICTURES, stores) == set()
    with np.load(stores / "data" / "feedback" / "labels.npz") as content:
        assert content["labels"].tolist() == [2, 3, 4]
    assert [path.name for path in (stores / "data" / "feedback").glob("gate*")] == []  # it held nothing else
    for line in (
        "2 rows deleted",
        "2 pictures deleted from data/feedback/labels.npz",
        "deleted: data/prepared/train.npz",
        "deleted: reports/monitor.html",
        "deleted: monitor.html of MLflow run run 1",
        "MLflow run run 2: its monitor.html may show the pictures; delete it on the server",
        "models that were trained on the pictures",
    ):
        assert line in output, line


STEPS = ["remove_corrections", "clean_training_data", "clean_reports", "clean_runs", "delete_rows"]


@pytest.mark.parametrize("step", [*STEPS, "export", "delete", "delete_requests"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_second_call_completes_an_interrupted_one(stores: Path, step: str, moment: str, monkeypatch) -> None:
    module = {"delete": copies, "delete_requests": database}.get(step, erase)
    interrupt_once(monkeypatch, module, step, moment)
    with pytest.raises(KeyboardInterrupt):
        call("r0", "r1")
    try:
        call("r0", "r1")
    except PipelineError as error:  # the rows were deleted, but the file was not cleaned
        assert "no data is stored" in str(error) and (step, moment) in {
            ("delete_rows", "after"),
            ("delete_requests", "after"),
        }
    assert places(PICTURES, stores) == set()
    pointer = stores / "data" / "feedback" / "labels.npz.dvc"
    assert (stores / "cache" / pointer.read_text()).read_bytes() == pointer.with_suffix("").read_bytes()


def interrupt_once(monkeypatch: pytest.MonkeyPatch, module: object, step: str, moment: str) -> None:
    """The first call of the function is interrupted before or after its work."""
    original: Callable[..., object] = getattr(module, step)

    def interrupted(*arguments: object) -> object:
        monkeypatch.setattr(module, step, original)
        if moment == "after":
            original(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, step, interrupted)


def test_free_pages_and_the_log_of_sqlite_keep_no_deleted_row(stores: Path) -> None:
    with closing(sqlite3.connect(stores / "digits.db")) as service:  # stays open, and with it the write-ahead log
        service.execute(
            "pragma secure_delete = off"
        )  # Debian's SQLite overwrites deleted rows by default, others do not
        service.execute("create table former (pixels blob)")
        service.executemany("insert into former values (?)", [(PICTURES[0],)] * 50)
        service.commit()
        service.execute("delete from former")
        service.commit()
        service.execute("pragma wal_checkpoint(truncate)").fetchall()
        assert (stores / "digits.db").read_bytes().count(PICTURES[0]) > 10
        call("r0", "r1")
        files = [*stores.glob("digits.db*")]
        assert not any(picture in path.read_bytes() for path in files for picture in PICTURES)


def test_an_export_that_is_not_checked_out_is_cleaned_too(stores: Path) -> None:
    (stores / "data" / "feedback" / "labels.npz").unlink()
    call("r0", "r1")
    assert places(PICTURES, stores) == set()
    assert (stores / "data" / "feedback" / "labels.npz").exists()


def test_files_with_published_images_are_kept(stores: Path) -> None:
    images, labels = drawn_digits(1)  # a user sent a published image
    for split in RAW_FILES:
        for name, content in zip(RAW_FILES[split], (images[:1], labels[:1]), strict=True):
            write_idx(stores / "data" / "raw" / name, content)
    save_split("test", Split("mnist", images[:1], labels[:1]))
    page = (stores / "reports" / "monitor.html").read_text()
    write_text(stores / "reports" / "comparison.html", page)  # shows the published image, as galleries do
    call("r0", "r1")
    assert places(PICTURES[:1], stores / "data" / "prepared") == {"test.npz"}
    assert places(PICTURES[:1], stores / "reports") == {"comparison.html"}
    assert places(PICTURES[1:], stores) == set()  # train.npz also held the other picture


def test_rests_of_killed_writes_are_deleted(stores: Path) -> None:
    whole = (stores / "data" / "prepared" / "train.npz").read_bytes()
    names = ("data/prepared/.train.npz.1", "data/feedback/.labels.npz.2", "reports/.monitor.html.3")
    rests = [stores / name for name in names]
    for path in rests:
        path.write_bytes(whole[:-30])  # the directory of the zip file is incomplete
    call("r0", "r1")
    assert not any(path.exists() for path in rests)


def test_nothing_is_deleted_during_a_retraining_or_without_dvc(stores: Path, monkeypatch) -> None:
    before = places(PICTURES, stores)
    with FileLock(erase.RETRAINING_LOCK), pytest.raises(PipelineError, match="a retraining is running"):
        call("r0", "r1")
    assert places(PICTURES, stores) == before

    def broken(*arguments: str) -> str:
        raise PipelineError("dvc failed")

    monkeypatch.setattr(feedback, "track", broken)
    with pytest.raises(PipelineError, match="dvc failed"):
        call("r0", "r1")
    assert {"train.npz", "monitor.html"} <= places(PICTURES, stores)
    with pytest.raises(PipelineError, match="no data is stored for r7"):
        call("r7")
    with tracking.open_database().connect() as connection:
        assert connection.execute(sql.select(sql.func.count()).select_from(database.pictures)).scalar() == 2
