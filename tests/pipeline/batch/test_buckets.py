"""Batch prediction over a bucket: the rows of a folder, whatever is killed, and one line if the bucket is gone."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.batch import storage
from pipeline.batch.sources import PART_SIZE, open_source
from pipeline.console import PipelineError
from tests.conftest import Project, drawn_digits
from tests.pipeline.batch.test_predict import on_paper, parquet, png
from tests.s3 import S3, running_s3


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with running_s3(tmp_path_factory.mktemp("s3"), fresh=True) as running:
        (running.folder / "bucket").mkdir()
        running.environment["AWS_MAX_ATTEMPTS"] = "2"
        yield running


@pytest.fixture
def bucket(store: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the bucket `bucket`; this process can reach it."""
    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)
    storage.bucket.cache_clear()
    yield store.folder / "bucket"
    storage.bucket.cache_clear()


def fill(folder: Path) -> None:
    """Ten digits on paper in two folders, a blank picture, a broken one and a text."""
    (folder / "more").mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(drawn_digits(1)[0]):
        (folder / ("more" if number == 3 else "") / f"{number}.png").write_bytes(on_paper(image))
    (folder / "blank.PNG").write_bytes(png(np.full((50, 50), 255, np.uint8)))
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    (folder / "notes.txt").write_text("not a picture")


def test_a_bucket_gives_the_pictures_of_a_folder(bucket: Path, tmp_path: Path) -> None:
    fill(bucket / "few")
    fill(tmp_path / "few")
    remote, local = open_source("s3://bucket/few/"), open_source(tmp_path / "few")
    (of_bucket,), (of_folder,) = remote.parts(), local.parts()
    assert sorted(zip(of_bucket.names, of_bucket.items(), strict=True)) == sorted(
        zip(of_folder.names, of_folder.items(), strict=True)
    )
    assert remote.count == local.count == 12


def test_a_listing_of_many_pages_is_complete_and_each_picture_comes_once(bucket: Path) -> None:
    (bucket / "many").mkdir()
    for number in range(2100):  # a page has a thousand objects
        (bucket / "many" / f"{number:05}.png").write_bytes(b"a picture")
    names = [name for part in open_source("s3://bucket/many").parts() for name in part.names]
    assert names == [f"{number:05}.png" for number in range(2100)]


def test_the_identity_changes_with_any_picture_and_a_change_during_the_run_is_an_error(bucket: Path) -> None:
    fill(bucket / "changing")
    source = open_source("s3://bucket/changing/")
    assert open_source("s3://bucket/changing/").identity == source.identity
    (bucket / "changing" / "4.png").write_bytes(b"another picture")
    assert open_source("s3://bucket/changing/").identity != source.identity
    with pytest.raises(PipelineError, match="has changed since the prediction began; run again"):
        list(source.parts())


def test_a_file_that_is_too_large_is_not_read(bucket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.batch.sources.MAX_BYTES", 9)
    (bucket / "large").mkdir()
    (bucket / "large" / "a.png").write_bytes(b"ten bytes!")
    (bucket / "large" / "b.png").write_bytes(b"9 bytes..")
    (part,) = open_source("s3://bucket/large").parts()
    too_large, small = part.items()
    assert "it has 10 bytes; expected at most 9" in str(too_large) and small == b"9 bytes.."


def test_a_bucket_without_pictures_or_a_server_is_one_line(bucket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PipelineError, match=r"s3://bucket/nothing/ has no PNG, JPEG"):
        open_source("s3://bucket/nothing/")
    with pytest.raises(PipelineError, match=r"s3://absent/ cannot be used: .*(exist|NoSuchBucket)"):
        open_source("s3://absent/")
    with pytest.raises(PipelineError, match=r"gs://bucket/: expected a path, or a bucket as s3://"):
        open_source("gs://bucket/")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    storage.bucket.cache_clear()
    with pytest.raises(PipelineError, match=r"s3://bucket/few cannot be used: .*127.0.0.1:1"):
        open_source("s3://bucket/few")


@pytest.mark.slow
def test_what_is_killed_over_a_bucket_resumes_and_every_picture_has_one_row(
    project: Project, store: S3, bucket: Path, tmp_path: Path
) -> None:
    """The run is killed with its processes, then the bucket's server is."""
    images = np.random.default_rng(0).integers(0, 256, (40 * PART_SIZE, 784), np.uint8)
    parquet(bucket / "pixels.parquet", pixels=images.tolist())
    model = str(project.folder / "models" / "cnn" / "model.tflite")
    command = ["digits", "predict", "s3://bucket/pixels.parquet", "--model", model, "--output"]
    environment = {**store.environment, "DIGITS_PROCESSES": "2"}
    project.run("digits", "predict", str(bucket / "pixels.parquet"), "--model", model, "--output", str(tmp_path / "w"))
    parts = bucket / "out.parquet.parts"

    def start() -> subprocess.Popen[str]:
        return project.start(*command, "s3://bucket/out.parquet", **environment)

    def wait_for_parts(count: int, process: subprocess.Popen[str]) -> None:
        while len(list(parts.glob("[0-9]*"))) < count:
            assert process.poll() is None, process.stdout and process.stdout.read()
            time.sleep(0.005)

    killed = start()
    wait_for_parts(3, killed)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait(60)
    answered, before = len(list(parts.glob("[0-9]*"))), -1
    while answered != before:  # the server may still store what it has received
        time.sleep(0.5)
        before, answered = answered, len(list(parts.glob("[0-9]*")))
    assert 3 <= answered < 40 and not (bucket / "out.parquet").exists()
    without_bucket = start()
    wait_for_parts(answered + 2, without_bucket)
    store.kill()
    said, _ = without_bucket.communicate(timeout=300)
    assert without_bucket.returncode == 1 and f"{answered} parts are done" in said, said
    assert said.splitlines()[-1].startswith("error: s3://bucket/") and "Traceback" not in said
    store.start()
    said = project.run(*command, "s3://bucket/out.parquet", **environment)
    assert "resuming an interrupted run" in said
    table, whole = pq.read_table(bucket / "out.parquet"), pq.read_table(tmp_path / "w")
    assert table.equals(whole) and table["row"].to_pylist() == list(range(40 * PART_SIZE)) and not any(parts.glob("*"))
    assert table.schema.metadata[b"model"] == b"model"  # the name of the file
