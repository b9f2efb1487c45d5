"""The evidence for the gate: which validation images count, and the versions of one model file."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sql

from pipeline.console import PipelineError
from pipeline.data.splits import Split, hash_fractions, save_split
from pipeline.files import replacing
from pipeline.registry import assessment, gate, versions
from pipeline.registry.assessment import unseen_images
from recognition.model import Model
from records import database
from tests.pipeline.evaluation.test_model_selection import LARGE, NONE, POLICY, ROBUST, SMALL, Evidence, errors

MODEL = "mnist-classifier"
LENIENT = POLICY.model_copy(update={"tolerance": 0.05})  # for few images


@pytest.fixture
def val() -> Split:
    """Validation images of a share of 0.2."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (2000, 28, 28), dtype=np.uint8)
    images = images[hash_fractions(images) < 0.2]
    return Split("mnist", images, np.zeros(len(images), np.uint8))


def version(**card: Any) -> Model:
    return Model("cnn", "1", Path("model.tflite"), {"name": "cnn", "dataset": "mnist", "digest": "a" * 64, **card})


def trained_with(validation_share: float) -> Model:
    return version(split={"validation_share": validation_share, "tuning_share": 0.05})


def test_images_of_the_training_or_tuning_split_of_either_model_do_not_count(val: Split) -> None:
    fractions = hash_fractions(val.images)
    at_an_image = float(np.sort(fractions)[len(fractions) // 2])  # this image belongs to the tuning split
    limits = [((0.2, 0.2), 0.2), ((0.2, 0.1), 0.1), ((0.1, 0.2), 0.1), ((0.2, at_an_image), at_an_image)]
    for shares, limit in (*limits, ((0.2, 0.05), 0.05)):
        unseen = unseen_images(val, [trained_with(share) for share in shares])
        assert np.array_equal(unseen, fractions < limit)
    assert 0 < unseen.sum() < len(unseen)


def test_an_earlier_version_counts_if_its_validation_images_were_the_same(val: Split) -> None:
    new = trained_with(0.2)
    assert unseen_images(val, [new, version(data_digest={"train": "b", "val": val.digest()})]).all()
    assert not unseen_images(val, [new, version(data_digest={"train": "b", "val": "another"})]).any()


def test_a_champion_trained_on_the_validation_images_refuses_every_challenger(
    workspace: Path, val: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_split("val", val)
    champion = version(data_digest={"train": "b", "val": "another"}, cost={"multiply_adds": 9, "bytes": 9})
    monkeypatch.setattr(versions, "find", lambda model, number: champion)
    monkeypatch.setattr(versions, "by_number", lambda model, number: None)
    challenger = trained_with(0.2)
    evidence: list[int] = []

    def collect(model: Model, val: Split, unseen: np.ndarray) -> Any:
        evidence.append(int(unseen.sum()))
        return Evidence(np.ones(int(unseen.sum()), bool), ROBUST, errors(0, 100, 5000), NONE, SMALL)

    monkeypatch.setattr(assessment, "collect", collect)
    decision = assessment.assess(MODEL, challenger, "1")
    assert evidence == [0, 0] and not decision.promote
    assert decision.reason == (
        "too few images to decide: 0 validation images trained neither model, at least 100 are needed"
    )


@pytest.mark.parametrize(
    ("classes", "change"),
    [
        ([*"0123456789", "A"], "missing: A"),
        ([*"012345678"], "new: 9"),
        ([*"0123456798"], "in another order"),
        ([*"012345678", "nine"], "new: 9; missing: nine"),
    ],
)
def test_a_champion_with_other_classes_is_not_compared(
    workspace: Path, val: Split, monkeypatch: pytest.MonkeyPatch, classes: list[str], change: str
) -> None:
    save_split("val", val)
    champion = version(data_digest={"val": val.digest()}, classes=classes)
    monkeypatch.setattr(versions, "find", lambda model, number: champion)
    monkeypatch.setattr(versions, "by_number", lambda model, number: None)
    decision = assessment.assess("mnist-classifier", version(classes=[*"0123456789"]), "1")
    expected = f"other classes than the champion, version 1: {change}; only a user can decide"
    assert (decision.promote, decision.reason) == (False, expected)


def test_a_challenger_with_other_classes_than_the_validation_images_is_not_evaluated(
    workspace: Path, val: Split
) -> None:
    save_split("val", val)
    with pytest.raises(PipelineError, match="other classes than the validation images: missing: 9"):
        assessment.assess("mnist-classifier", version(classes=[*"012345678"]), None)


def test_models_with_other_classes_than_the_champion_are_not_served(monkeypatch: pytest.MonkeyPatch) -> None:
    models = {"1": version(classes=["a", "b"]), "2": version(classes=["a", "b"]), "3": version(classes=["b", "a"])}
    monkeypatch.setattr(versions, "served_versions", lambda model: ("cnn", {"mlp": "1", "cnn": "2", "wide": "3"}))
    monkeypatch.setattr(versions, "download", lambda model, number: models[number])
    champion, served = versions.served("letters-classifier")
    assert champion == "cnn" and served == {"mlp": models["1"], "cnn": models["2"]}


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], Any]:
    """Stands for the registry: versions by model and number, None where the files are damaged."""
    found: dict[tuple[str, str], Any] = {}
    tags = SimpleNamespace(tags={"digest": "c" * 64})
    monkeypatch.setattr(versions, "by_number", lambda model, number: tags if (model, number) in found else None)
    monkeypatch.setattr(versions, "find", lambda model, number: found[model, number])
    return found


def test_a_version_with_the_champions_file_updates_it(registered: dict[tuple[str, str], Any]) -> None:
    registered[MODEL, "7"] = None
    decision = assessment.assess(MODEL, version(digest="c" * 64), "7")
    assert decision == gate.Decision(True, "it has the model file of version 7", "updated")


def test_the_validation_images_must_be_of_the_models_dataset(workspace: Path, val: Split) -> None:
    save_split("val", val)
    with pytest.raises(PipelineError, match="the validation images are of mnist, the model of fashion"):
        assessment.assess(MODEL, version(dataset="fashion"), None)


@pytest.mark.parametrize(
    ("wrong", "champion", "promote", "reason"),
    [
        (0, "7", True, "not worse than the champion and cheaper"),
        (40, "7", False, "possibly worse than the champion"),
        (0, None, True, "there is no champion to compare with"),
        (0, "8", True, "there is no champion to compare with"),  # its files are damaged
        (80, None, False, "below the quality bar: validation accuracy 79.33%, bar 85.00%"),
    ],
)
def test_challenger_and_champion_answer_the_same_unseen_images(
    workspace: Path,
    val: Split,
    registered: dict[tuple[str, str], Any],
    monkeypatch: pytest.MonkeyPatch,
    wrong: int,
    champion: str | None,
    promote: bool,
    reason: str,
) -> None:
    save_split("val", val)
    challenger, old = trained_with(0.2), version(digest="c" * 64, split={"validation_share": 0.2}, name="old")
    registered |= {(MODEL, "7"): old, (MODEL, "8"): None}
    seen = np.flatnonzero(hash_fractions(val.images) < 0.2)

    def collect(model: Model, given: Split, unseen: np.ndarray) -> Evidence:
        assert given.digest() == val.digest() and np.array_equal(np.flatnonzero(unseen), seen)
        new = model is challenger
        assert new or model is old
        clean = errors(0, wrong if new else 0, len(seen))
        return Evidence(clean, ROBUST, errors(0, 100, 5000), NONE, SMALL if new else LARGE)

    dataset = SimpleNamespace(classes=[*"0123456789"], bar=lambda name: {"cnn": 0.85}[name])
    monkeypatch.setattr(assessment, "collect", collect)
    monkeypatch.setattr(assessment, "load_dataset", lambda name: {"mnist": dataset}[name])
    monkeypatch.setattr(assessment, "load_params", lambda: SimpleNamespace(selection=LENIENT))
    decision = assessment.assess(MODEL, challenger, champion)
    assert decision.promote is promote and decision.reason.startswith(reason)


class FirstPixel:
    """A classifier whose answer is the first pixel, modulo 10."""

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        return np.eye(10)[images[:, 0, 0] % 10]


class Brighter:
    """An out-of-distribution score that rejects what is not 0 by its class and its first pixel."""

    def rejects(self, probabilities: np.ndarray, images: np.ndarray) -> np.ndarray:
        return (probabilities.argmax(axis=1) > 0) & (images[:, 0, 0] > 0)


def images_with(first_pixels: list[int]) -> np.ndarray:
    images = np.zeros((len(first_pixels), 28, 28), np.uint8)
    images[:, 0, 0] = first_pixels
    return images


def test_the_evidence_is_what_a_model_classifies_correctly(workspace: Path) -> None:
    derived, feedback = workspace / "data" / "derived", workspace / "data" / "feedback"
    derived.mkdir(parents=True)
    feedback.mkdir(parents=True)
    val = Split("mnist", images_with([1, 2, 3, 4, 5]), np.array([1, 2, 0, 4, 0], np.uint8))
    unseen = np.array([False, True, True, True, True])
    corrupted = {"blur": images_with([1, 2, 3]), "noise": images_with([0, 2, 0])}
    np.savez(derived / "corrupted_val.npz", **corrupted)
    samples = {"images": images_with([1, 2, 3, 0, 5, 6, 7, 8]), "kinds": np.array(["a", "b"] * 4)}  # fitted: 1, 2, 5, 6
    np.savez(derived / "ood_samples.npz", **samples)
    card = {"dataset": "mnist", "cost": {"bytes": 7}}
    model: Any = SimpleNamespace(classifier=FirstPixel(), ood_score=Brighter(), card=card)

    found = assessment.collect(model, val, unseen)
    assert found.clean.tolist() == [True, False, True, False]
    assert found.corrupted.tolist() == [1.0, 0.5]  # of the second and the third image
    assert found.ood.tolist() == [True, False, True, True]
    assert found.labelled.tolist() == [] and found.labelled.dtype == bool and found.cost == {"bytes": 7}

    labelled = {"images": images_with([3, 4]), "labels": np.array([3, 0], np.uint8)}
    np.savez(feedback / "gate.npz", **labelled, dataset=np.array("fashion"))
    assert assessment.collect(model, val, unseen).labelled.tolist() == []
    np.savez(feedback / "gate.npz", **labelled, dataset=np.array("mnist"))
    assert assessment.collect(model, val, unseen).labelled.tolist() == [True, False]
    np.savez(feedback / "gate.npz", images=labelled["images"], labels=np.array([{}, {}]), dataset=np.array("mnist"))
    with pytest.raises(ValueError, match="allow_pickle=False"):  # nothing is unpickled
        assessment.collect(model, val, unseen)
    (feedback / "gate.npz").unlink()
    without_score: Any = SimpleNamespace(classifier=FirstPixel(), ood_score=None, card=card)
    assert assessment.collect(without_score, val, unseen).ood.tolist() == [False] * 4


def test_the_content_digest_covers_what_decides_answers_and_nothing_else() -> None:
    base = {"classes": ["0", "1"], "threshold": 0.5, "not_a_digit": {"bias": 1.0}}
    first = version(**base, run_id="a", commit="b", metrics={"test": {"accuracy": 0.99}}, cost={"latency_median_us": 5})
    same = version(**base, run_id="c", commit="d", metrics={"test": {"accuracy": 0.98}}, cost={"latency_median_us": 6})
    assert first.content_digest == same.content_digest
    changes: list[dict[str, Any]] = [
        {"classes": ["0", "2"]}, {"threshold": 0.51}, {"not_a_digit": {"bias": 1.1}}, {"digest": "b" * 64},
        {"segment": {"bias": 1.0}}, {"whole_digit": {"bias": 1.0}},
    ]  # fmt: skip
    assert len({version(**{**base, **change}).content_digest for change in changes} | {first.content_digest}) == 7


def test_logged_answers_are_evidence_for_the_gate(workspace: Path, val: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.pipeline.evaluation.test_model_selection import NONE, ROBUST, SMALL, Evidence, errors

    save_split("val", val)
    champion, challenger = trained_with(0.2), replace(trained_with(0.2), version="2")
    monkeypatch.setattr(versions, "find", lambda model, number: champion)
    monkeypatch.setattr(versions, "by_number", lambda model, number: None)
    clean = np.ones(len(val.labels), bool)
    monkeypatch.setattr(assessment, "collect", lambda *_: Evidence(clean, ROBUST, errors(0, 100, 5000), NONE, SMALL))
    decisions = []
    for wrong in (0, 100):  # of 400 logged answers of the challenger; the champion's are right
        answers = np.arange(400) >= wrong, np.ones(400, bool)
        monkeypatch.setattr(assessment, "logged_answers", lambda *_, found=answers: found)
        decisions.append(assessment.assess("mnist-classifier", challenger, "1").reason)
    assert "+0.00 points on 400 labelled images" in decisions[0]
    assert "-25.00 points on 400 labelled images" in decisions[1]


def test_logged_answers_to_pictures_that_were_labelled_later_count(
    workspace: Path, engine: sql.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC)
    images = np.arange(5, dtype=np.uint8)[:, None, None].repeat(28, 1).repeat(28, 2)

    def log(number: int, answers: dict[str, int], labelled: datetime) -> None:
        place = {"request_id": f"r{number}", "position": 0, "time": now}
        pixels = images[number].tobytes()
        row = {**place, "dataset": "mnist", "digest": hashlib.sha256(pixels).hexdigest(), "pixels": pixels}
        shared = {"route": "shadow", "confidence": 0.9, "uncertain": False, "latency_ms": 1.0, "client": "c"}
        with engine.begin() as connection:
            connection.execute(database.pictures.insert().values(row))
            for version, prediction in answers.items():
                answer = {**place, **shared, "model": f"m{version}", "version": version, "prediction": prediction}
                connection.execute(database.predictions.insert().values(answer))
            label = {"request_id": f"r{number}", "position": 0, "time": labelled, "label": 7, "client": "c"}
            connection.execute(database.labels.insert().values(label))

    later = now + timedelta(seconds=5)
    log(0, {"5": 7, "3": 7}, later)
    log(1, {"5": 7, "3": 1}, later)
    log(2, {"5": 2, "3": 7, "1": 7}, later)
    log(3, {"5": 7}, later)  # the champion did not answer it
    log(4, {"5": 7, "3": 1}, now - timedelta(seconds=5))  # a version may have been trained with it
    challenger, champion = (replace(version(), version=number) for number in ("5", "3"))
    assert [len(found) for found in assessment.logged_answers(challenger, champion)] == [0, 0]  # no label is accepted
    with replacing(assessment.FEEDBACK / "labels.npz") as file:
        np.savez(file, images=images, labels=np.full(5, 7, np.uint8), dataset=np.array("mnist"))
    new, old = assessment.logged_answers(challenger, champion)
    assert sorted(zip(new.tolist(), old.tolist(), strict=True)) == [(False, True), (True, False), (True, True)]
