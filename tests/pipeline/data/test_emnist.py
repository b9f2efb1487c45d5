"""EMNIST Balanced from synthetic files: packed or unpacked, upright after `fetch`, 47 classes in rules and splits."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from pipeline import fetch, prepare, validate
from pipeline.console import PipelineError
from pipeline.data import fallback, mirrors
from pipeline.data.datasets import Counts, Dataset, MeanIntensity, load_dataset
from pipeline.data.idx import RAW_FILES, read_raw, read_source, write_idx
from pipeline.data.splits import load_split
from pipeline.files import read_json, sha256, write_json
from pipeline.params import load_params
from tests.emnist import CLASSES, NAME, draw_characters, write_files

PER_CLASS = {"train": 30, "test": 4}


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    """A folder with the unpacked files in a subfolder that has the name of the dataset."""
    write_files(tmp_path / "mirror" / NAME, PER_CLASS)
    return tmp_path / "mirror"


@pytest.fixture
def dataset(monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """The entry of EMNIST Balanced, chosen as dataset, with the numbers and the mean intensity of the small files."""
    entry = load_dataset(NAME)
    means = {split: draw_characters(count, seed)[0].mean() for seed, (split, count) in enumerate(PER_CLASS.items())}
    measured = entry.expected.model_copy(update={"mean_intensity": MeanIntensity(**means, tolerance=0.01)})
    counts = Counts(**{split: [count] * len(CLASSES) for split, count in PER_CLASS.items()})
    entry = entry.model_copy(update={"counts": counts, "expected": measured})
    params = load_params()
    data = params.data.model_copy(update={"dataset": NAME, "validation_share": 0.3, "tuning_share": 0.3})
    for module in (fetch, prepare, fallback):
        monkeypatch.setattr(module, "load_params", lambda: params.model_copy(update={"data": data}))
    for module in (fetch, validate, prepare, fallback):
        monkeypatch.setattr(module, "load_dataset", lambda name: entry)
    return entry


def with_archive(dataset: Dataset, archive: Path) -> Dataset:
    """The entry with the checksum of an archive."""
    published = dataset.files["gzip.zip"].model_copy(update={"checksum": f"sha256:{sha256(archive)}"})
    return dataset.model_copy(update={"files": {"gzip.zip": published}})


def pack(folder: Path, target: Path) -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, f"gzip/{path.name}")
    return target


def test_the_entry_is_as_published() -> None:
    entry = load_dataset(NAME)
    assert "".join(entry.classes) == "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt"
    assert len(entry.counts.train) == len(entry.counts.test) == 47
    assert (sum(entry.counts.train), sum(entry.counts.test)) == (112_800, 18_800)


def test_each_class_has_a_name_of_its_own() -> None:
    content = load_dataset(NAME).model_dump() | {"classes": [*CLASSES[:-1], "0"]}
    with pytest.raises(ValidationError, match="'0' occurs more than once"):
        Dataset.model_validate(content)


def test_small_files_pass_through_fetch_validate_and_prepare(
    workspace: Path, mirror: Path, dataset: Dataset, monkeypatch, capsys
) -> None:
    monkeypatch.setenv("DATA_MIRROR", str(mirror))
    fetch.main()
    assert "unpacked files have no checksums" in capsys.readouterr().out
    assert read_source()["dataset"] == NAME and set(read_source()["files"]) == {*sum(RAW_FILES.values(), ())}
    for seed, split in enumerate(RAW_FILES):
        images, labels = draw_characters(PER_CLASS[split], seed)
        assert np.array_equal(read_raw(split)[0], images) and np.array_equal(read_raw(split)[1], labels)  # upright

    validate.main()
    report = read_json(workspace / "reports" / "validation.json")
    rules = [rule["rule"] for rule in report["rules"]]
    assert report["success"] and "labels are 0 to 46" in rules and "train: 30 images of class q" in rules
    assert sum("images of class" in rule for rule in rules) == 2 * 47

    prepare.main()
    assert "train includes 0 images of pen strokes" in capsys.readouterr().out
    for split in ("train", "tune", "val", "test"):
        assert set(load_split(split).labels) == set(range(47))


def test_an_archive_is_verified_and_unpacked(workspace: Path, mirror: Path, dataset: Dataset, monkeypatch) -> None:
    packed = workspace / "packed"
    packed.mkdir()
    archive = pack(mirror / NAME, packed / "gzip.zip")
    monkeypatch.delenv("DATA_MIRROR", raising=False)
    published = with_archive(dataset, archive).model_copy(update={"mirrors": [f"{packed}/"]})
    assert mirrors.fetch_from_mirrors(NAME, published)
    assert np.array_equal(read_raw("test")[0], draw_characters(PER_CLASS["test"], 1)[0])
    assert {path.name for path in (workspace / "data" / "raw").iterdir()} == {*read_source()["files"], "source.json"}

    with archive.open("ab") as file:
        file.write(b"changed")
    with pytest.raises(PipelineError, match=rf"gzip.zip: expected {published.files['gzip.zip'].checksum}"):
        mirrors.fetch_from_mirrors(NAME, published)


def test_unpacked_files_are_accepted_from_the_users_own_mirror_only(
    workspace: Path, mirror: Path, dataset: Dataset, monkeypatch
) -> None:
    monkeypatch.delenv("DATA_MIRROR", raising=False)
    monkeypatch.setattr(mirrors, "RETRIES", 0)
    elsewhere = dataset.model_copy(update={"mirrors": [f"{mirror / NAME}/"]})
    assert not mirrors.fetch_from_mirrors(NAME, elsewhere)
    assert not mirrors.is_reachable(f"{mirror / NAME}/", elsewhere)
    assert mirrors.is_reachable(f"{mirror / NAME}/", dataset)


def test_a_damaged_unpacked_file_is_an_error_and_replaces_nothing(
    workspace: Path, mirror: Path, dataset: Dataset, monkeypatch
) -> None:
    monkeypatch.setenv("DATA_MIRROR", str(mirror))
    (mirror / NAME / "emnist-balanced-test-labels-idx1-ubyte.gz").write_bytes(b"no gzip")
    with pytest.raises(PipelineError, match=r"emnist-balanced-test-labels.*expected a complete gzip file"):
        fetch.main()
    assert not list((workspace / "data" / "raw").iterdir())


def test_a_label_beyond_the_classes_stops_validation(
    workspace: Path, mirror: Path, dataset: Dataset, monkeypatch
) -> None:
    labels = draw_characters(PER_CLASS["test"], 1)[1].copy()
    labels[5] = 47
    write_idx(mirror / NAME / "emnist-balanced-test-labels-idx1-ubyte.gz", labels)
    monkeypatch.setenv("DATA_MIRROR", str(mirror))
    fetch.main()
    with pytest.raises(PipelineError, match=r"labels are 0 to 46.*test 5"):
        validate.main()


def test_the_fallback_is_dropped_when_the_unpacked_files_are_there(
    workspace: Path, mirror: Path, dataset: Dataset, monkeypatch
) -> None:
    monkeypatch.setattr(fallback, "mirrors", lambda name, dataset: [f"{mirror / NAME}/"])
    write_json(fallback.SOURCE, {"dataset": "optdigits", "mirror": "scikit-learn", "fallback": True, "files": {}})
    fallback.main()
    assert not fallback.SOURCE.exists()
