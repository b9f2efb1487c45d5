"""Batch answers: what a source gives, that answers are the service's, and that a killed run goes on where it was."""

import io
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests
from PIL import Image

from pipeline.batch.sources import PART_SIZE, open_source, read_digit
from pipeline.console import PipelineError
from pipeline.files import read_json, sha256
from recognition.decoding import ImageError
from tests.conftest import Project, drawn_digits


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def on_paper(pixels: np.ndarray) -> bytes:
    """An image as a larger picture, dark on white."""
    return png(255 - np.kron(pixels, np.ones((5, 5), np.uint8)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten digits on paper, a blank one, a broken one and a text; one digit in a folder of its own."""
    pictures = tmp_path / "pictures"
    (pictures / "more").mkdir(parents=True)
    for number, image in enumerate(drawn_digits(1)[0]):
        (pictures / ("more" if number == 3 else "") / f"{number}.png").write_bytes(on_paper(image))
    (pictures / "blank.PNG").write_bytes(png(np.full((50, 50), 255, np.uint8)))
    (pictures / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    (pictures / "notes.txt").write_text("not a picture")
    return pictures


def parquet(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def test_a_folder_gives_its_pictures_in_order_and_nothing_else(folder: Path) -> None:
    source = open_source(folder)
    (part,) = source.parts()
    names = part.names
    assert source.count == len(names) == 12 and source.key.name == "file"
    assert names == sorted(names) and {"more/3.png", "blank.PNG", "broken.jpg"} < set(names)


def test_the_identity_changes_with_any_picture(folder: Path) -> None:
    before = open_source(folder).identity
    assert open_source(folder).identity == before
    (folder / "4.png").write_bytes((folder / "4.png").read_bytes() + b"\0")
    assert open_source(folder).identity != before


def test_a_parquet_file_gives_all_rows_whatever_its_row_groups(tmp_path: Path) -> None:
    table = pa.table({"image": [str(number).encode() for number in range(1000)]})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=300)
    source = open_source(tmp_path / "t.parquet")
    parts = list(source.parts())
    assert [name for part in parts for name in part.names] == list(range(1000))
    assert [item for part in parts for item in part.items()] == [str(number).encode() for number in range(1000)]
    assert max(map(len, parts)) <= PART_SIZE and parts == list(source.parts()) and source.key.name == "row"


def test_the_column_is_found_or_named(tmp_path: Path) -> None:
    pixels = [[7] * 784, [8] * 784]
    path = parquet(tmp_path / "t.parquet", pixels=pixels, other=pixels, label=[1, 2])
    assert [*next(open_source(path).parts()).items()] == pixels
    assert open_source(path, "other").identity != open_source(path).identity
    with pytest.raises(PipelineError, match=r"column label .* is int64; expected a picture's bytes"):
        open_source(path, "label")
    with pytest.raises(PipelineError, match="no column img, but pixels, other, label"):
        open_source(path, "img")


def test_without_pictures_there_is_an_error_that_says_what_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="has no PNG, JPEG"):
        open_source(tmp_path)
    with pytest.raises(PipelineError, match="does not exist"):
        open_source(tmp_path / "nothing")
    (tmp_path / "text").write_text("text")
    with pytest.raises(PipelineError, match="is no Parquet file"):
        open_source(tmp_path / "text")


def test_pixels_pass_as_they_are_and_pictures_through_preprocessing() -> None:
    pixels = drawn_digits(1)[0][4]
    assert (read_digit(pixels.ravel().tolist()) == pixels).all()
    seen = read_digit(on_paper(pixels))
    assert seen.shape == (28, 28) and seen.max() > 200 and seen[0].max() == 0


@pytest.mark.parametrize("item", [None, [0] * 783, [256] + [0] * 783, [-1] + [0] * 783, [None] * 784, [], b"text", b""])
def test_what_is_no_image_says_so(item: Any) -> None:
    with pytest.raises(ImageError, match=r"expected|send"):
        read_digit(item)


@pytest.fixture
def registered(project: Project) -> Path:
    """The model file of a registered version, with all that travels with it."""
    tag = read_json(project.folder / "reports" / "bento.json")["models"]["cnn"]["tag"]
    return project.folder / ".bentoml" / "models" / Path(tag.replace(":", "/")) / "model.tflite"


@pytest.mark.slow
def test_answers_are_the_services_and_errors_are_rows(project: Project, service: str, folder: Path) -> None:
    output = folder.parent / "out.parquet"
    said = project.run("python", "-m", "pipeline.batch.predict", str(folder), "--output", str(output))
    rows = pq.read_table(output).to_pylist()
    champion = read_json(project.folder / "reports" / "bento.json")["champion"]
    assert f"12 predictions by {champion} " in said and "1 unreadable pictures" in said
    assert [row["file"] for row in rows] == [name for part in open_source(folder).parts() for name in part.names]
    for row in rows:
        name, error = row.pop("file"), row.pop("error")
        answer = requests.post(f"{service}/predict", data=(folder / name).read_bytes(), timeout=30)
        if name == "broken.jpg":
            assert answer.json()["error"] == error and set(row.values()) == {None}
            continue
        expected = answer.json()
        del expected["request_id"]
        assert row.pop("label") == str(expected["prediction"])  # optdigits' names of the classes
        assert row == expected and error is None
    assert {row["reason"] for row in rows} >= {"blank"}


@pytest.mark.slow
def test_parquet_in_parquet_out(project: Project, registered: Path, tmp_path: Path) -> None:
    images = drawn_digits(1)[0]
    pixels = [image.ravel().tolist() for image in images]
    source = parquet(tmp_path / "pixels.parquet", pixels=[*pixels, None, [1, 2]])
    command = ("python", "-m", "pipeline.batch.predict", str(source), "--model", str(registered), "--output")
    project.run(*command, str(tmp_path / "out.parquet"))
    table = pq.read_table(tmp_path / "out.parquet")
    assert table["row"].to_pylist() == list(range(12))
    assert table.schema.metadata[b"model_digest"].decode() == sha256(registered)
    assert table["prediction"].null_count == 2 and set(table["model"].to_pylist()[:10]) == {"cnn"}
    assert [text is None for text in table["error"].to_pylist()] == [True] * 10 + [False] * 2
    bytes_of = parquet(tmp_path / "bytes.parquet", image=[png(image) for image in images])
    project.run(*command[:3], str(bytes_of), *command[4:], str(tmp_path / "other.parquet"))
    assert pq.read_table(tmp_path / "other.parquet").num_rows == 10


@pytest.mark.slow
def test_a_bare_model_file_answers_and_says_what_it_cannot(project: Project, folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.parquet"
    command = ("python", "-m", "pipeline.batch.predict", str(folder), "--output", str(output), "--model")
    said = project.run(*command, "models/cnn/model.tflite")
    assert "has no model.json beside it" in said
    assert set(pq.read_table(output)["reason"].to_pylist()) == {None, "blank"}
    assert "is no file; expected a model.tflite" in project.run(*command, "models/vit/model.tflite", status=1)
    assert "cannot be used as a model" in project.run(*command, "params.yaml", status=1)


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was(project: Project, registered: Path, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (20 * PART_SIZE, 784), np.uint8)
    source = parquet(tmp_path / "pixels.parquet", pixels=images.tolist())
    parts = tmp_path / "out.parquet.parts"
    command = ["python", "-m", "pipeline.batch.predict", str(source), "--model", str(registered), "--output"]
    project.run(*command, str(tmp_path / "whole.parquet"))
    process = subprocess.Popen([*command, str(tmp_path / "out.parquet")], cwd=project.folder, env=project.environment())
    while not all((parts / f"00000{number}.parquet").exists() for number in range(3)):
        assert process.poll() is None
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "out.parquet").exists()
    answered = len(list(parts.glob("[0-9]*")))
    assert 3 <= answered < 20
    first = pq.read_table(parts / "000000.parquet")  # marked, so that its use can be seen
    marks = pa.array(["predicted before"] * PART_SIZE)
    pq.write_table(first.set_column(first.column_names.index("version"), "version", marks), parts / "000000.parquet")
    said = project.run(*command, str(tmp_path / "out.parquet"))
    assert f"resuming an interrupted run: {answered} parts are done" in said
    table, whole = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("out", "whole"))
    assert table["version"].to_pylist() == ["predicted before"] * PART_SIZE + [None] * 19 * PART_SIZE
    assert table.drop_columns("version").equals(whole.drop_columns("version")) and not parts.exists()


@pytest.mark.slow
def test_parts_of_another_plan_are_not_used(project: Project, registered: Path, folder: Path, tmp_path: Path) -> None:
    parts = tmp_path / "out.parquet.parts"
    parts.mkdir()
    (parts / "plan.json").write_text('{"input": "another"}')
    (parts / "000000.parquet").write_text("answers to other pictures")
    command = ["python", "-m", "pipeline.batch.predict", str(folder), "--model", str(registered), "--output"]
    assert "starting again" in project.run(*command, str(tmp_path / "out.parquet"))
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 12


class Fours:
    """A model that answers 4 to every picture."""

    digest, name, version = "0" * 64, "fours", "3"
    card: ClassVar = {"classes": ["o", "I", "z", "B", "A", "s", "b", "T", "8", "g"]}

    def answer(self, images: Any) -> list[dict[str, Any]]:
        row = {"prediction": 4, "confidence": 0.9, "probabilities": [0.1] * 10, "model": self.name, "version": "3"}
        return [{**row, "uncertain": True, "reason": "blank"} for _ in images]


def test_scripts_get_a_summary_as_json(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.batch import predict

    output = tmp_path / "predictions.parquet"
    (tmp_path / "predictions.parquet.parts").mkdir()  # makes the command say that it starts again
    monkeypatch.setattr(predict, "load_champion", Fours)
    predict.main(folder, output, as_json=True)
    rows = pq.read_table(output).to_pylist()
    errors = sum(row["error"] is not None for row in rows)
    assert {(row["prediction"], row["label"]) for row in rows if row["error"] is None} == {(4, "A")}
    summary = {"output": str(output), "pictures": len(rows), "uncertain": len(rows) - errors, "errors": errors}
    assert json.loads(capsys.readouterr().out) == {**summary, "model": "fours", "version": "3"}


def test_a_name_that_is_not_utf8_becomes_readable(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.batch import predict

    (folder / "0.png").rename(Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.png")))
    monkeypatch.setattr(predict, "load_champion", Fours)
    predict.main(folder, tmp_path / "predictions.parquet")
    rows = {row["file"]: row for row in pq.read_table(tmp_path / "predictions.parquet").to_pylist()}
    assert rows[r"caf\xe9.png"]["error"] is None and rows[r"caf\xe9.png"]["prediction"] == 4
