"""The evidence for the gate: which validation images count, and the versions of one model file."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.console import PipelineError
from pipeline.data.splits import Split, hash_fractions, save_split
from pipeline.registry import assessment, versions
from pipeline.registry.assessment import unseen_images
from recognition.model import Model


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
    for shares, limit in (((0.2, 0.2), 0.2), ((0.2, 0.1), 0.1), ((0.1, 0.2), 0.1), ((0.2, 0.05), 0.05)):
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
        from tests.pipeline.evaluation.test_model_selection import NONE, ROBUST, SMALL, Evidence, errors

        return Evidence(np.ones(int(unseen.sum()), bool), ROBUST, errors(0, 100, 5000), NONE, SMALL)

    monkeypatch.setattr(assessment, "collect", collect)
    decision = assessment.assess("mnist-classifier", challenger, "1")
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
    expected = f"other classes than the champion, version 1: {change}; their answers cannot be compared"
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


def test_the_content_digest_covers_what_decides_answers_and_nothing_else() -> None:
    base = {"classes": ["0", "1"], "threshold": 0.5, "not_a_digit": {"bias": 1.0}}
    first = version(**base, run_id="a", commit="b", metrics={"test": {"accuracy": 0.99}}, cost={"latency_median_us": 5})
    same = version(**base, run_id="c", commit="d", metrics={"test": {"accuracy": 0.98}}, cost={"latency_median_us": 6})
    assert first.content_digest == same.content_digest
    changes: list[dict[str, Any]] = [
        {"classes": ["0", "2"]}, {"threshold": 0.51}, {"not_a_digit": {"bias": 1.1}}, {"digest": "b" * 64}
    ]  # fmt: skip
    assert len({version(**{**base, **change}).content_digest for change in changes} | {first.content_digest}) == 5
