"""Training's own decisions: number format, schedule, passes over small data, and stopping when the loss is lost."""

from typing import Any

import numpy as np
import pytest

from pipeline import train
from pipeline.console import PipelineError
from pipeline.data.splits import Split
from pipeline.params import Export, Model, load_params
from pipeline.training import architectures, loop
from pipeline.training.export import export
from recognition.classifier import Classifier
from tests.conftest import drawn_digits


@pytest.fixture
def split() -> Split:
    return Split("mnist", *drawn_digits(8))


def settings(**changes: Any) -> Model:
    small = load_params().models["mlp"].model_dump() | {
        "arguments": {"widths": [16]}, "epochs": 3, "minimum_steps": 0, "batch_size": 16, "threads": 2,
    }  # fmt: skip
    return Model.model_validate(small | changes)


@pytest.fixture(autouse=True)
def threads_as_they_are(monkeypatch) -> None:
    """TensorFlow takes a number of threads only before its first operation, which another test has run."""
    monkeypatch.setattr(train.tf.config.threading, "set_intra_op_parallelism_threads", lambda count: None)


@pytest.fixture(autouse=True)
def no_tracking(monkeypatch) -> list[dict[str, float]]:
    import mlflow

    logged: list[dict[str, float]] = []
    monkeypatch.setattr(mlflow, "log_metrics", lambda metrics, step: logged.append(metrics))
    return logged


def test_it_learns_and_reports_every_epoch(split: Split, no_tracking) -> None:
    network, history = loop.fit("mlp", settings(epochs=12, minimum_steps=300), 10, False, split, split)
    assert list(history.columns) == ["epoch", "accuracy", "loss", "val_accuracy", "val_loss"]
    assert len(history) == len(no_tracking) == 12
    assert history.val_accuracy.iloc[-1] > 0.9
    assert network.dtype_policy.name == "float32"


def test_members_are_trained_apart_and_answer_together(split: Split, no_tracking) -> None:
    network, history = loop.fit("mlp", settings(ensemble_size=2), 10, False, split, split)
    assert history.epoch.tolist() == [0, 1, 2, 3, 4, 5] and len(no_tracking) == 6
    images = split.images.astype(np.float32) / 255
    members = [layer for layer in network.layers if layer.name.startswith("member_")]
    logits = [member.predict(images, verbose=0) for member in members]
    assert len(members) == 2 and np.abs(logits[0] - logits[1]).max() > 0.01
    assert network.predict(images, verbose=0) == pytest.approx(np.mean(logits, axis=0), abs=1e-4)
    alone, _ = loop.fit("mlp", settings(), 10, False, split, split)
    assert np.array_equal(alone.predict(images, verbose=0), logits[0])


def test_the_mean_over_shifts_is_exported_with_the_network(split: Split, no_tracking) -> None:
    network, _ = loop.fit("mlp", settings(ensemble_size=2, tta_shift=1), 10, False, split, split)
    alone, _ = loop.fit("mlp", settings(ensemble_size=2), 10, False, split, split)
    assert architectures.multiply_adds(network) == 9 * architectures.multiply_adds(alone)
    model = architectures.with_probabilities(network, 1.5)
    exported = export(model, split, Export(changed_decisions=1, accuracy_loss=1)).content
    expected = model.predict(split.images.astype(np.float32), verbose=0)
    assert Classifier(exported).probabilities(split.images) == pytest.approx(expected, abs=0.02)


def test_a_small_dataset_is_gone_through_until_enough_batches_were_seen(split: Split) -> None:
    assert sum(1 for _ in loop.batches(split, 10, settings(epochs=2), passes=3)) == 2 * 3 * 5


def test_batches_are_the_same_for_the_same_seed_and_differ_between_passes(split: Split) -> None:
    one, again = ([images.numpy() for images, _ in loop.batches(split, 10, settings())] for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))
    assert not np.array_equal(one[0], one[5])
    other = next(iter(loop.batches(split, 10, settings(seed=9))))[0].numpy()
    assert not np.array_equal(one[0], other)


def test_distortions_are_weaker_at_the_end(split: Split) -> None:
    turned = {"rotation": 40, "final_phase": 0.4, "final_phase_strength": 0}
    chosen = settings(epochs=5, augmentation=turned)
    found = [
        [image.tobytes() in originals for image in (images.numpy() * 255).round().astype(np.uint8)]
        for originals in [{image.tobytes() for image in split.images}]
        for images, _ in loop.batches(split, 10, chosen)
    ]
    assert len(found) == 25 and not np.any(found[:15]) and np.all(found[15:])


def test_a_lost_loss_stops_with_what_to_do(split: Split) -> None:
    wild = {"name": "sgd", "learning_rate": 1e30}
    with pytest.raises(PipelineError, match=r"not finite.*learning_rate"):
        loop.fit("mlp", settings(optimizer=wild, epochs=6), 10, False, split, split)


@pytest.mark.parametrize("name", ["adam", "adamw", "rmsprop", "sgd"])
def test_every_optimizer_that_params_accept_can_be_made(name: str) -> None:
    made = loop.make_optimizer(settings(optimizer={"name": name, "learning_rate": 0.1}), 100)
    assert type(made).__name__.lower() == name


def test_the_cosine_schedule_rises_then_falls_to_nothing() -> None:
    chosen = settings(optimizer={"name": "adam", "learning_rate": 0.1}, schedule={"name": "cosine", "warmup": 0.2})
    rate = loop.make_optimizer(chosen, 100)._learning_rate
    rates = [float(rate(step)) for step in (0, 10, 20, 60, 100)]
    assert rates == pytest.approx([0.0, 0.05, 0.1, 0.05, 0.0], abs=1e-6)


def test_a_constant_rate_with_warm_up_is_refused() -> None:
    with pytest.raises(PipelineError, match="warmup to 0"):
        loop.make_optimizer(settings(schedule={"name": "constant", "warmup": 0.1}), 100)


def test_the_number_format_is_as_told_or_by_the_processor(monkeypatch) -> None:
    assert loop.uses_bfloat16("bfloat16") and not loop.uses_bfloat16("float32")
    monkeypatch.setattr(loop.Path, "exists", lambda self: False)
    assert not loop.uses_bfloat16("auto")


def test_an_unknown_model_lists_the_known() -> None:
    with pytest.raises(PipelineError, match="mlp, cnn"):
        train.main("cnm")
