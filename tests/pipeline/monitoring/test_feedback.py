"""Outcomes of corrections: accepted, needs a review, or excluded. tests/test_feedback_loop.py tests the whole loop."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from pipeline import prepare, tracking
from pipeline.data.datasets import load_dataset
from pipeline.data.idx import RAW_FILES, write_idx
from pipeline.data.splits import Split, load_split, save_split, split_masks
from pipeline.files import read_json, write_json
from pipeline.monitoring import feedback, logged, review
from pipeline.monitoring.feedback import ACCEPTED, DISPUTED, DOUBTED, HELD_OUT, UNJUDGED
from pipeline.params import Feedback, load_params
from records import database
from tests.conftest import drawn_digits

SETTINGS = Feedback(agreement=0.75, rejected_below=0.01, class_share=0.1, client_share=0.1)


def digit(number: int) -> NDArray[np.uint8]:
    """Returns one of twenty pictures, centred and with as much ink as a digit."""
    image = np.zeros((28, 28), np.uint8)
    image[6:22, 10:18] = drawn_digits(2, seed=3)[0][number][:16, 8:16] // 2 + 100 + number
    return image


def outcomes_of(rows: list[tuple[int, int, str]], held_out: set[int] = frozenset(), **changes: object) -> list[str]:
    """Returns the outcomes of labels (picture, label, client), with 100 training images per class."""
    images = np.stack([digit(picture) for picture, _, _ in rows])
    frame = pd.DataFrame(rows, columns=["picture", "label", "client"])
    frame["digest"] = [hashlib.sha256(image.tobytes()).hexdigest() for image in images]
    frame["review"] = changes.pop("review", [None] * len(rows))
    digests = {hashlib.sha256(digit(picture).tobytes()).hexdigest() for picture in held_out}
    given = np.array([changes.pop("given", 1 / 9)] * len(rows))
    settings, train = SETTINGS.model_copy(update=changes), np.full(256, 100)
    return feedback.decide_outcomes(frame, images, load_dataset("mnist"), digests, given, train, settings)


def test_a_plausible_label_is_accepted_once() -> None:
    assert outcomes_of([(0, 3, "a"), (1, 4, "a"), (0, 3, "b")]) == [ACCEPTED, ACCEPTED, "duplicate of another label"]


def test_a_label_that_all_versions_reject_or_that_cannot_be_judged_needs_a_review() -> None:
    assert outcomes_of([(0, 9, "a")], given=0.001) == [DOUBTED]
    assert outcomes_of([(0, 9, "a")], given=np.nan) == [UNJUDGED]
    for given in (0.001, np.nan):
        assert outcomes_of([(0, 9, "a")], review=[True], given=given) == [ACCEPTED]
    assert outcomes_of([(0, 9, "a"), (1, 3, "a")], review=[False, False]) == ["rejected in a review"] * 2


def test_users_must_agree_and_each_has_one_vote() -> None:
    assert outcomes_of([(0, 3, "a"), (0, 5, "b")]) == [DISPUTED] * 2
    assert outcomes_of([(0, 3, "a"), (0, 3, "a"), (0, 3, "a"), (0, 5, "b")]) == [DISPUTED] * 4
    outvoted = outcomes_of([(0, 5, "z"), *((0, 3, client) for client in "abc")])
    assert outvoted == ["outvoted by other users", ACCEPTED, "duplicate of another label", "duplicate of another label"]
    assert outcomes_of([(0, 3, "a"), (0, 5, "b")], review=[None, True]) == ["outvoted by other users", ACCEPTED]


def test_validation_and_test_images_are_excluded() -> None:
    outcomes = outcomes_of([(0, 3, "a"), (1, 3, "a")], held_out={0}, review=[True, None])
    assert outcomes == [HELD_OUT, ACCEPTED]


def test_corrections_must_satisfy_the_validation_rules() -> None:
    images = np.stack([digit(0), np.zeros((28, 28), np.uint8), np.roll(digit(1), 8, axis=1), digit(2)])
    frame = pd.DataFrame({"label": [3, 3, 3, 12], "client": "a", "digest": [c * 64 for c in "abcd"], "review": None})
    train = np.full(256, 100)
    outcomes = feedback.decide_outcomes(frame, images, load_dataset("mnist"), set(), np.ones(4), train, SETTINGS)
    assert outcomes[0] == ACCEPTED
    assert outcomes[1] == "violates the rule: no image is blank"
    assert "centre of mass, column" in outcomes[2]
    assert outcomes[3] == "violates the rule: labels are 0 to 9"


def test_the_shares_of_a_client_and_of_a_class_are_limited() -> None:
    alone = outcomes_of([(picture, 3, "a") for picture in range(8)], client_share=0.05)
    assert alone.count(ACCEPTED) == 5 and alone.count("exceeds the client's share of a class") == 3
    many = outcomes_of([(picture, 3, f"{picture}") for picture in range(8)], class_share=0.06)
    assert many.count(ACCEPTED) == 6 and many.count("exceeds the share of a class") == 2
    mixed = outcomes_of([(picture, picture % 2, "a") for picture in range(8)], client_share=0.04)
    assert mixed == [ACCEPTED] * 8


def test_the_gate_set_holds_one_picture_in_five_independently_of_the_validation_split() -> None:
    digests = [hashlib.sha256(bytes([n % 256, n // 256])).hexdigest() for n in range(4000)]
    chosen = np.array([feedback.in_gate_set(digest) for digest in digests])
    assert chosen.mean() == pytest.approx(0.2, abs=0.02)
    validates = np.array([int(digest[:16], 16) < 0.1 * 2**64 for digest in digests])
    assert chosen[validates].mean() == pytest.approx(0.2, abs=0.06)


class FixedModel:
    """A model of the registry that gives one class the probability 0.91 and the others 0.01."""

    def __init__(self, name: str, favourite: int) -> None:
        self.name, self.classes, self.classifier = name, 10, self
        self.card = {"classes": [str(digit) for digit in range(10)]}
        self.row = np.where(np.arange(10) == favourite, 0.91, 0.01).astype(np.float32)

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.tile(self.row, (len(images), 1))


@pytest.fixture
def deployed(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with published and prepared images, a database, and a registry with cnn v1 and mlp v2."""
    for split, seed in (("train", 0), ("test", 1)):
        for name, content in zip(RAW_FILES[split], drawn_digits(300 if split == "train" else 5, seed), strict=True):
            write_idx(workspace / "data" / "raw" / name, content)
    write_json(workspace / "data" / "raw" / "source.json", {"dataset": "mnist"})
    monkeypatch.setenv("DIGITS_DATABASE_URL", f"sqlite:///{workspace / 'digits.db'}")
    registry = {"1": FixedModel("cnn", 3), "2": FixedModel("mlp", 4)}
    monkeypatch.setattr(logged.tracking, "connect", lambda: None)
    monkeypatch.setattr(logged.versions, "find", lambda registered, number: registry.get(number))
    monkeypatch.setattr(feedback, "track", lambda path: None)
    prepare.main()
    return workspace


def log(picture: int, label: int, *answers: tuple[str, str, int]) -> None:
    """Logs a picture, the answers (model, version, prediction) to it, and a label by a client of its own."""
    pixels = digit(picture).tobytes()
    place = {"request_id": f"r{picture}", "position": 0, "time": datetime.now(UTC)}
    shared = {"route": "/compare", "confidence": 0.8, "uncertain": False, "latency_ms": 1.0, "client": f"c{picture}"}
    with tracking.open_database().begin() as connection:
        stored = {"dataset": "mnist", "digest": hashlib.sha256(pixels).hexdigest(), "pixels": pixels}
        connection.execute(database.pictures.insert().values(place | stored))
        for model, version, prediction in answers:
            row = place | shared | {"model": model, "version": version, "prediction": prediction}
            connection.execute(database.predictions.insert().values(row))
        connection.execute(database.labels.insert().values(place | {"label": label, "client": f"c{picture}"}))


def limit(monkeypatch: pytest.MonkeyPatch, **changes: float) -> None:
    """Changes settings of `feedback` in params.yaml."""
    params = load_params()
    changed = params.model_copy(update={"feedback": params.feedback.model_copy(update=changes)})
    monkeypatch.setattr(feedback, "load_params", lambda: changed)


def test_a_label_is_judged_by_the_versions_that_answered(
    deployed: Path, monkeypatch, capsys: pytest.CaptureFixture[str]
) -> None:
    limit(monkeypatch, rejected_below=0.05, class_share=1.0, client_share=1.0)
    log(0, 3, ("cnn", "1", 3))
    log(1, 4, ("cnn", "1", 3))  # cnn v1 rejects 4; mlp v2 would accept it, but did not answer
    log(2, 4, ("cnn", "1", 3), ("mlp", "2", 4))
    log(3, 3, ("cnn", "1", 3), ("mlp", "7", 4))  # version 7 is not in the registry
    log(4, 3, ("mlp", "1", 3))  # the registry's version 1 is another model
    log(5, 3)
    labels, _, _ = feedback.labelled_pictures()
    assert labels["outcome"].tolist() == [ACCEPTED, DOUBTED, ACCEPTED, UNJUDGED, UNJUDGED, UNJUDGED]
    review.main(list_only=True)
    output = capsys.readouterr().out
    assert "label 4, cnn v1 predicted 3 (80%): all versions that answered reject the label" in output
    assert "label 3, cnn v1 predicted 3 (80%) and mlp v7 predicted 4 (80%): a version that answered" in output
    assert "labels that need a review: 4" in output


def test_labels_of_versions_with_other_classes_are_ignored(
    deployed: Path, monkeypatch, capsys: pytest.CaptureFixture[str]
) -> None:
    limit(monkeypatch, rejected_below=0.05, class_share=1.0, client_share=1.0)
    changed = FixedModel("cnn", 3)
    changed.card = {"classes": [str(digit) for digit in range(1, 11)]}
    registry = {"1": FixedModel("cnn", 3), "9": changed}
    monkeypatch.setattr(logged.versions, "find", lambda registered, number: registry.get(number))
    log(0, 3, ("cnn", "9", 3))  # class 4 of that version
    log(1, 3, ("cnn", "1", 3))
    labels, images, _ = feedback.labelled_pictures()
    assert labels["outcome"].tolist() == [ACCEPTED] and np.array_equal(images, digit(1)[None])
    assert "1 labels of versions with other classes than mnist has now: ignored" in capsys.readouterr().out


def test_corrections_for_earlier_classes_are_not_trained_on(
    deployed: Path, monkeypatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before, earlier = len(load_split("train").labels), [*"abcdefghij"]
    images = np.stack([digit(0), digit(1)])
    feedback.export(deployed / "data" / "feedback" / "labels.npz", images, np.array([3, 3], np.uint8), "mnist", earlier)
    prepare.main()
    assert len(load_split("train").labels) == before
    assert "labels.npz is for earlier classes of mnist: ignored; run: make feedback" in capsys.readouterr().out


@pytest.mark.parametrize("label", [3, 4])  # to the images of class 4, `prepare` adds pen strokes
def test_limits_count_published_images_and_a_second_export_changes_no_byte(
    deployed: Path, monkeypatch, label: int
) -> None:
    images, labels = drawn_digits(300)
    data = load_params().data
    training = split_masks(images, data.validation_share, data.tuning_share)["train"]
    published = int(((labels == label) & training).sum())
    limit(monkeypatch, class_share=9.99 / published, client_share=1.0)  # one more training image would allow a tenth
    for picture in range(20):
        log(picture, label, ("cnn", "1", 3), ("mlp", "2", 4))
    feedback.main()
    before = {path.name: path.read_bytes() for path in (deployed / "data" / "feedback").iterdir()}
    summary = read_json(deployed / "reports" / "feedback.json")
    assert (summary["learnt"] + summary["gate"], summary["outcomes"][ACCEPTED]) == (9, 9)
    prepare.main()
    assert len(load_split("train").labels) > published + summary["learnt"]
    feedback.main()
    assert {path.name: path.read_bytes() for path in (deployed / "data" / "feedback").iterdir()} == before
    assert read_json(deployed / "reports" / "feedback.json") == summary


def test_images_of_every_split_but_train_are_excluded(deployed: Path) -> None:
    images = np.stack([digit(picture) for picture in range(3)])
    for picture in range(4):
        log(picture, 3, ("cnn", "1", 3))
    for index, name in enumerate(("val", "test", "tune")):
        save_split(name, Split("mnist", images[index : index + 1], np.array([3], np.uint8)))
    outcomes = feedback.labelled_pictures()[0]["outcome"].tolist()
    assert outcomes == [HELD_OUT, HELD_OUT, HELD_OUT, ACCEPTED]
    (deployed / "data" / "prepared" / "tune.npz").unlink()  # projects without a tuning split
    assert feedback.labelled_pictures()[0]["outcome"].tolist()[2] == ACCEPTED


def test_a_picture_is_drawn_with_characters() -> None:
    image = np.zeros((28, 28), np.uint8)
    image[:, 20:] = 255
    assert set(review.draw(image).splitlines()) == {" " * 20 + "█" * 8}
