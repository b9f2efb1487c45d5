"""Import of a folder of pictures: the dataset's files, its entry in datasets.yaml, and what is refused."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw

from pipeline.console import PipelineError
from pipeline.data import image_folder
from pipeline.data.datasets import load_datasets
from pipeline.data.expectations import check, describe, expectations
from pipeline.data.idx import RAW_FILES, read_idx
from pipeline.data.image_folder import import_folder
from pipeline.paths import DATASETS
from recognition.decoding import decode_image
from recognition.preprocessing import to_digit

COUNT = 30  # pictures of each class


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Colour pictures of 48x32 pixels, each with another colour, in the folders `bar` and `ring`."""
    for name in ("ring", "bar"):
        folder = tmp_path / "pictures" / name
        folder.mkdir(parents=True)
        for number in range(COUNT):
            picture = Image.new("RGB", (48, 32), (255, 250 - number, 230))
            pen, box = ImageDraw.Draw(picture), (4, 6, 14 + number, 26)  # another shape for each
            pen.ellipse(box, outline=(number, 0, 90), width=3) if name == "ring" else pen.line(box, (90, 0, 0), 4)
            picture.save(folder / f"{number:02}.png")
    return tmp_path / "pictures"


@pytest.fixture
def datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of datasets.yaml; imported files go to a folder beside it."""
    monkeypatch.setattr(image_folder, "IMPORTED", tmp_path / "data" / "imported")
    path = tmp_path / "datasets.yaml"
    path.write_bytes(DATASETS.read_bytes())
    return path


def read(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    images, labels = RAW_FILES[split]
    imported = folder / "data" / "imported" / "forms"
    return read_idx(imported / images), read_idx(imported / labels)


def test_the_images_are_those_that_the_service_would_see(pictures: Path, datasets: Path, tmp_path: Path) -> None:
    import_folder(pictures, "forms", 0.3, 0.9, datasets)
    expected = {
        (to_digit(decode_image(path.read_bytes())).pixels.tobytes(), label)
        for label, name in enumerate(("bar", "ring"))
        for path in (pictures / name).iterdir()
    }
    (train, train_labels), (test, test_labels) = read(tmp_path, "train"), read(tmp_path, "test")
    labels = [*train_labels.tolist(), *test_labels.tolist()]
    assert {(image.tobytes(), label) for image, label in zip([*train, *test], labels, strict=True)} == expected
    assert len(labels) == 2 * COUNT and 8 <= len(test) <= 28  # 18 expected
    assert {image.tobytes() for image in train}.isdisjoint({image.tobytes() for image in test})


def test_the_entry_is_valid_and_its_rules_hold(pictures: Path, datasets: Path, tmp_path: Path) -> None:
    before = datasets.read_text()
    import_folder(pictures, "forms", 0.3, 0.8, datasets)
    assert datasets.read_text().startswith(before)
    entry = load_datasets(datasets)["forms"]
    assert entry.classes == ["bar", "ring"] and entry.mirrors == ["data/imported/forms/"] and entry.bar("any") == 0.8
    frame = pd.concat([describe(split, *read(tmp_path, split)) for split in RAW_FILES])
    assert [summary["rule"] for summary in check(frame, expectations(entry)) if not summary["success"]] == []


def test_a_second_import_replaces_the_first(pictures: Path, datasets: Path) -> None:
    import_folder(pictures, "forms", 0.3, 0.9, datasets)
    text = datasets.read_text().replace("forms:", "other-forms:")  # a dataset after it stays
    datasets.write_text(f"{datasets.read_text()}\n{text[text.index('other-forms:') :]}")
    (pictures / "ring").rename(pictures / "circle")
    import_folder(pictures, "forms", 0.3, 0.9, datasets)
    entries = load_datasets(datasets)
    assert entries["forms"].classes == ["bar", "circle"] and entries["other-forms"].classes == ["bar", "ring"]
    assert datasets.read_text().startswith(DATASETS.read_text())


def test_a_published_dataset_is_never_replaced(pictures: Path, datasets: Path) -> None:
    with pytest.raises(PipelineError, match="another dataset named mnist; choose another name"):
        import_folder(pictures, "mnist", 0.3, 0.9, datasets)
    assert datasets.read_bytes() == DATASETS.read_bytes()


def test_every_unusable_picture_is_named_and_nothing_is_written(pictures: Path, datasets: Path, tmp_path: Path) -> None:
    (pictures / "bar" / "notes.txt").write_text("no picture")
    Image.new("RGB", (40, 40), "white").save(pictures / "ring" / "blank.png")
    with pytest.raises(PipelineError) as error:
        import_folder(pictures, "forms", 0.3, 0.9, datasets)
    lines = str(error.value).splitlines()
    assert "notes.txt: the file is not a supported image" in lines[0] and "blank.png: no ink was found" in lines[1]
    assert "2 of 62 files cannot be used" in lines[2] and "nothing was imported" in lines[2]
    assert datasets.read_bytes() == DATASETS.read_bytes() and not (tmp_path / "data").exists()


def test_more_classes_than_a_byte_can_count_are_an_error(datasets: Path, tmp_path: Path) -> None:
    for number in range(257):
        (tmp_path / "many" / f"class{number}").mkdir(parents=True)
    with pytest.raises(PipelineError, match="has 257 subfolders; expected at most 256, one per class"):
        import_folder(tmp_path / "many", "many", 0.3, 0.9, datasets)


@pytest.mark.parametrize(
    ("folder", "name", "share", "message"),
    [
        ("pictures/none", "forms", 0.3, "is not a folder"),
        ("pictures/bar", "forms", 0.3, "has no subfolders; expected one for each class"),
        ("pictures", "My forms", 0.3, "'My forms' is not a dataset name"),
        ("pictures", "forms", 0.0001, "no test picture of class bar"),
    ],
)
def test_wrong_arguments_are_explained(
    pictures: Path, datasets: Path, tmp_path: Path, folder: str, name: str, share: float, message: str
) -> None:
    with pytest.raises(PipelineError, match=message):
        import_folder(tmp_path / folder, name, share, 0.9, datasets)
    assert datasets.read_bytes() == DATASETS.read_bytes() and not (tmp_path / "data").exists()
