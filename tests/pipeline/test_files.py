"""Atomic writes."""

import json
from pathlib import Path

import pytest

from pipeline.files import read_json, replacing, sha256, write_json


def test_a_write_replaces_the_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.json"
    write_json(path, {"a": 1})
    write_json(path, {"a": "ä"})
    assert read_json(path) == {"a": "ä"}
    assert [item.name for item in path.parent.iterdir()] == ["file.json"]


def test_a_failed_write_keeps_the_old_file_and_leaves_no_other(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as file:
        file.write(b"half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["file"]


def test_values_that_json_does_not_support_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        write_json(tmp_path / "file", float("nan"))
    assert not list(tmp_path.iterdir())


def test_sha256_of_a_file(tmp_path: Path) -> None:
    write_json(tmp_path / "file", 1)
    assert json.loads((tmp_path / "file").read_text()) == 1
    assert sha256(tmp_path / "file") == "4355a46b19d348dc2f57c046f8ef63d4538ebb936000f3c9ee954a27460dd865"
