"""IDX files and prepared splits: round trips and damaged files."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from pipeline.console import PipelineError
from pipeline.data.idx import read_idx, read_raw, write_idx
from pipeline.data.splits import Split, load_split, save_split


@pytest.fixture
def images_file(tmp_path: Path, digits) -> Path:
    path = tmp_path / "train-images-idx3-ubyte.gz"
    write_idx(path, digits[0])
    return path


def test_images_and_labels_round_trip(tmp_path: Path, images_file: Path, digits) -> None:
    images, labels = digits
    write_idx(tmp_path / "train-labels-idx1-ubyte.gz", labels)
    assert np.array_equal(read_idx(images_file), images)
    assert np.array_equal(read_idx(tmp_path / "train-labels-idx1-ubyte.gz"), labels)


def test_equal_images_give_equal_bytes(tmp_path: Path, images_file: Path, digits) -> None:
    again = tmp_path / "again-images.gz"
    write_idx(again, digits[0])
    assert again.read_bytes() == images_file.read_bytes()


def recompressed(path: Path, change) -> None:
    path.write_bytes(gzip.compress(change(gzip.decompress(path.read_bytes()))))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-40]), "damaged"),
        (lambda path: path.write_bytes(b"<html>not found</html>"), "damaged"),
        (lambda path: path.write_bytes(path.read_bytes()[:30] + b"\xff" * 30 + path.read_bytes()[60:]), "damaged"),
        (lambda path: path.unlink(), "dvc repro fetch"),
        (lambda path: recompressed(path, lambda b: struct.pack(">I", 2049) + b[4:]), "magic number 2051, found 2049"),
        (lambda path: recompressed(path, lambda b: b[:-1]), "expected 31376 bytes for shape .*, found 31375"),
        (lambda path: recompressed(path, lambda b: b + b"x"), "expected 31376 bytes for shape .*, found 31377"),
        (lambda path: recompressed(path, lambda b: b[:10]), "header of 16 bytes, found 10"),
        (lambda path: recompressed(path, lambda b: b[:4] + b"\xff" * 12 + b[16:]), "expected .* bytes for shape"),
    ],
)
def test_a_damaged_file_is_an_error_with_its_name(images_file: Path, damage, message: str) -> None:
    damage(images_file)
    with pytest.raises(PipelineError, match=message) as raised:
        read_idx(images_file)
    assert images_file.name in str(raised.value)


def test_a_missing_label_is_an_error(workspace: Path, digits) -> None:
    raw = workspace / "data" / "raw"
    write_idx(raw / "train-images-idx3-ubyte.gz", digits[0])
    write_idx(raw / "train-labels-idx1-ubyte.gz", digits[1][:-1])
    with pytest.raises(PipelineError, match="one label for each of 40 images, found 39"):
        read_raw("train")


def test_a_split_round_trips(workspace: Path, digits) -> None:
    save_split("val", Split("mnist", *digits))
    loaded = load_split("val")
    assert loaded.dataset == "mnist"
    assert loaded.digest() == Split("mnist", *digits).digest()
    with pytest.raises(PipelineError, match="dvc repro prepare"):
        load_split("train")


def test_the_digest_depends_on_the_labels(digits) -> None:
    images, labels = digits
    other = labels.copy()
    other[0] ^= 1
    assert Split("mnist", images, labels).digest() != Split("mnist", images, other).digest()


def test_extended_appends_images(digits) -> None:
    split = Split("mnist", *digits).extended(digits[0][:2], digits[1][:2])
    assert np.array_equal(split.images[40:], digits[0][:2]) and np.array_equal(split.labels[40:], digits[1][:2])
    assert np.array_equal(split.images[:40], digits[0]) and split.dataset == "mnist"
