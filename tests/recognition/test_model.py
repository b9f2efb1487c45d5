"""A model with its files: answers have the documented fields, damaged files are refused by name and digest."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.files import read_json, sha256
from recognition.answers import Answer
from recognition.model import DamagedModel, Model, load_model, read_model
from recognition.segmentation import find_digits
from recognition.shapes import NO_CUT, NO_GAP, SHAPES, Shape, penalty
from serving.inference.served_models import load_models
from tests.conftest import Project, drawn_digits


class FakeClassifier:
    """Confident of class 3 for bright images, undecided for others."""

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        rows = np.full((len(images), 10), 0.1, np.float32)
        rows[images.mean(axis=(1, 2)) > 20] = np.eye(10, dtype=np.float32)[3]
        return rows


def test_answers_have_exactly_the_documented_fields_and_the_reason() -> None:
    model = Model("cnn", "4", Path("model.tflite"), {"digest": "", "threshold": 0.9})
    vars(model)["classifier"] = FakeClassifier()
    blank, faint, bright = (np.full((28, 28), value, np.uint8) for value in (0, 1, 200))
    answers = model.answer(np.stack([blank, faint, bright]))
    assert [answer["reason"] for answer in answers] == ["blank", "low_confidence", None]
    assert [answer["uncertain"] for answer in answers] == [True, True, False]
    assert (answers[2]["prediction"], answers[2]["confidence"]) == (3, 1.0)
    for answer in answers:
        assert list(answer) == list(Answer.model_fields)
        assert Answer.model_validate(answer).model == "cnn" and answer["version"] == "4"


@pytest.fixture
def folder(project: Project, tmp_path: Path) -> Path:
    """A copy of the folder of a registered model."""
    tag = read_json(project.folder / "reports" / "bento.json")["models"]["cnn"]["tag"]
    shutil.copytree(project.folder / ".bentoml" / "models" / Path(tag.replace(":", "/")), tmp_path / "cnn")
    return tmp_path / "cnn"


@pytest.mark.slow
def test_a_complete_model_loads_and_answers_after_its_folder_is_deleted(folder: Path) -> None:
    models = load_models({"cnn": folder}, "cnn", {"cnn": "2"})
    shutil.rmtree(folder)
    assert models.dataset == "optdigits" and len(models.classes) == 10
    assert models.match_known_digits() and "<html" in (models.by_name["cnn"].card_page or "")
    assert len(models.by_name["cnn"].answer(drawn_digits(1)[0])) == 10


@pytest.mark.slow
def test_a_changed_file_is_refused_with_both_digests(folder: Path) -> None:
    file = folder / "model.tflite"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    expected = json.loads((folder / "model.json").read_text())["digest"]
    with pytest.raises(DamagedModel) as raised:
        load_model(folder, "2")
    assert all(part in str(raised.value) for part in (str(file), expected, sha256(file)))


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["model.tflite", "model.json", "known_digits.npz"])
def test_a_missing_file_is_named(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(DamagedModel, match=missing):
        load_model(folder, "2")


@pytest.mark.slow
def test_a_different_answer_to_a_known_digit_is_refused(folder: Path) -> None:
    with np.load(folder / "known_digits.npz") as known:
        content = dict(known)
    content["probabilities"] = np.roll(content["probabilities"], 1, axis=1)
    np.savez(folder / "known_digits.npz", **content)
    with pytest.raises(DamagedModel, match="known digit"):
        load_model(folder, "2")


@pytest.mark.slow
def test_a_model_from_before_ood_scores_and_cards_is_served_without_them(folder: Path) -> None:
    card = json.loads((folder / "model.json").read_text())
    del card["not_a_digit"], card["segment"]
    (folder / "model.json").write_text(json.dumps(card))
    (folder / "model_card.html").unlink()
    model = load_model(folder, "2")
    assert model.ood_score is None and model.card_page is None
    noise = np.random.default_rng(0).integers(0, 256, (5, 28, 28)).astype(np.uint8)
    confidence = model.classifier.probabilities(noise).max(axis=1)
    shapes = np.ones((5, SHAPES), np.float32)
    assert np.allclose(model.digit_score(noise, shapes), np.log(confidence) - penalty(shapes), atol=1e-4)
    assert {answer["reason"] for answer in model.answer(noise)} <= {"low_confidence", None}
    assert read_model(folder, None, "other").name == "other"


@pytest.mark.slow
def test_the_confidence_in_one_whole_digit_falls_for_two_digits_in_one_image(folder: Path) -> None:
    model = load_model(folder, "2")
    digits = model.known_digits[0]
    both = np.concatenate([digits[:, :, 7:21], digits[::-1, :, 7:21]], axis=2)  # the middle columns of two digits
    shapes = np.zeros((10, SHAPES), np.float32)  # those of a digit without neighbours
    shapes[:, [Shape.WIDTH, Shape.HEIGHT, Shape.ASPECT, Shape.INK, Shape.LENGTH]] = 0.7, 1, 0.7, 0.2, 2
    shapes[:, [Shape.INNER_CUT, Shape.GAP, Shape.SHARE]] = NO_CUT, NO_GAP, 1
    single, pair = model.digit_score(digits, shapes), model.digit_score(both, shapes)
    assert single.shape == (10,) and np.median(single) > np.median(pair) + 1


@pytest.mark.slow
def test_an_earlier_version_whose_score_knows_no_shapes_reads_numbers_with_penalties(folder: Path) -> None:
    card = json.loads((folder / "model.json").read_text())
    card["whole_digit"] = card.pop("segment")
    card["whole_digit"]["hidden"] = card["whole_digit"]["hidden"][:-SHAPES]  # the last inputs are the shapes
    (folder / "model.json").write_text(json.dumps(card))
    model = load_model(folder, "2")
    digits = model.known_digits[0]
    shapes = np.zeros((10, SHAPES), np.float32)
    shapes[:, Shape.SHARE] = 1
    costly = shapes.copy()
    costly[:, Shape.LEFT_CUT] = 2
    scores = model.digit_score(digits, shapes)
    assert scores.max() <= 0 and np.allclose(model.digit_score(digits, costly), scores - 2)
    page = Image.fromarray(np.pad(np.hstack(list(digits)), 20))
    assert sum(map(len, find_digits(page, model.digit_score))) >= 5
