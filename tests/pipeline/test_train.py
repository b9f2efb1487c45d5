"""The training loop: precision, ensembles, schedules, passes over small datasets, augmentation and a diverging loss."""

import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from pipeline import tracking, train
from pipeline.console import PipelineError
from pipeline.data.splits import Split, save_split
from pipeline.files import read_json, sha256
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
        "precision": "float32", "augmentation": {"shift": 1.0},
    }  # fmt: skip
    return Model.model_validate(small | changes)


@pytest.fixture(autouse=True)
def any_number_of_threads(monkeypatch) -> None:
    """TensorFlow sets the number of threads only before its first operation, and other tests ran some before."""
    monkeypatch.setattr(loop.tf.config.threading, "set_intra_op_parallelism_threads", lambda count: None)


@pytest.fixture(autouse=True)
def no_tracking(monkeypatch) -> list[dict[str, float]]:
    import mlflow

    logged: list[dict[str, float]] = []
    monkeypatch.setattr(mlflow, "log_metrics", lambda metrics, step, run_id: logged.append(metrics))
    return logged


def test_training_improves_and_logs_every_epoch(split: Split, no_tracking) -> None:
    network, history = loop.fit("mlp", settings(epochs=12, minimum_steps=300), 10, split, split)
    assert list(history.columns) == ["epoch", "accuracy", "loss", "val_accuracy", "val_loss"]
    assert len(history) == len(no_tracking) == 12
    assert history.val_accuracy.iloc[-1] > 0.9
    assert network.dtype_policy.name == "float32"


def test_ensemble_members_differ_and_their_logits_are_averaged(split: Split, no_tracking) -> None:
    network, history = loop.fit("mlp", settings(ensemble_size=2), 10, split, split)
    assert history.epoch.tolist() == [0, 1, 2, 3, 4, 5] and len(no_tracking) == 6
    images = split.images.astype(np.float32) / 255
    members = [layer for layer in network.layers if layer.name.startswith("member_")]
    logits = [member.predict(images, verbose=0) for member in members]
    assert len(members) == 2 and np.abs(logits[0] - logits[1]).max() > 0.01
    assert network.predict(images, verbose=0) == pytest.approx(np.mean(logits, axis=0), abs=1e-4)
    single, _ = loop.fit("mlp", settings(), 10, split, split)
    assert np.array_equal(single.predict(images, verbose=0), logits[0])


def test_test_time_augmentation_is_part_of_the_exported_model(split: Split, no_tracking) -> None:
    network, _ = loop.fit("mlp", settings(ensemble_size=2, tta_shift=1), 10, split, split)
    single = architectures.build("mlp", 10, settings().arguments)
    assert architectures.multiply_adds(network) == 9 * 2 * architectures.multiply_adds(single)
    model = architectures.with_probabilities(network, 1.5)
    exported = export(model, split, Export(changed_decisions=1, accuracy_loss=1))[0]
    expected = model.predict(split.images.astype(np.float32), verbose=0)
    assert Classifier(exported).probabilities(split.images) == pytest.approx(expected, abs=0.02)


def test_an_epoch_has_the_given_number_of_passes(split: Split) -> None:
    assert sum(1 for _ in loop.batches(split, 10, settings(epochs=2), passes=3)) == 2 * 3 * 5


def test_batches_depend_on_the_seed_and_differ_between_epochs(split: Split) -> None:
    one, again = ([images.numpy() for images, _ in loop.batches(split, 10, settings())] for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))
    assert not np.array_equal(one[0], one[5])
    other = next(iter(loop.batches(split, 10, settings(seed=9))))[0].numpy()
    assert not np.array_equal(one[0], other)


def test_augmentation_is_weaker_in_the_final_phase(split: Split) -> None:
    augmentation = {"rotation": 40, "final_phase": 0.4, "final_phase_strength": 0}
    chosen = settings(epochs=5, augmentation=augmentation)
    found = [
        [image.tobytes() in originals for image in (images.numpy() * 255).round().astype(np.uint8)]
        for originals in [{image.tobytes() for image in split.images}]
        for images, _ in loop.batches(split, 10, chosen)
    ]
    assert len(found) == 25 and not np.any(found[:15]) and np.all(found[15:])


def test_a_final_phase_is_optional(split: Split) -> None:
    images, _ = next(iter(loop.batches(split, 10, settings(augmentation={"rotation": 40}))))
    originals = {image.tobytes() for image in split.images}
    assert not any(image.tobytes() in originals for image in (images.numpy() * 255).round().astype(np.uint8))


def test_a_diverging_loss_is_an_error(split: Split) -> None:
    optimizer = {"name": "sgd", "learning_rate": 1e30}
    with pytest.raises(PipelineError, match=r"not finite.*learning_rate"):
        loop.fit("mlp", settings(optimizer=optimizer, epochs=6), 10, split, split)


@pytest.mark.parametrize("name", ["adam", "adamw", "rmsprop", "sgd"])
def test_every_accepted_optimizer_can_be_built(name: str) -> None:
    made = loop.make_optimizer(settings(optimizer={"name": name, "learning_rate": 0.1, "beta_2": 0.9}), 100)
    assert type(made).__name__.lower() == name


def test_the_cosine_schedule_warms_up_and_decays_to_zero() -> None:
    optimizer = {"name": "adam", "learning_rate": 0.1, "beta_2": 0.999}
    chosen = settings(optimizer=optimizer, schedule={"name": "cosine", "warmup": 0.2})
    rate = loop.make_optimizer(chosen, 100)._learning_rate
    rates = [float(rate(step)) for step in (0, 10, 20, 60, 100)]
    assert rates == pytest.approx([0.0, 0.05, 0.1, 0.05, 0.0], abs=1e-6)


def test_a_constant_rate_with_warm_up_is_an_error() -> None:
    with pytest.raises(PipelineError, match="warmup to 0"):
        loop.make_optimizer(settings(schedule={"name": "constant", "warmup": 0.1}), 100)


def test_the_device_is_reported_before_the_training(split: Split, monkeypatch, capsys) -> None:
    monkeypatch.setattr(loop.device, "gpus", lambda: [])
    loop.fit("mlp", settings(epochs=1), 10, split, split)
    assert capsys.readouterr().out.splitlines() == ["mlp: training on CPU in float32"]
    monkeypatch.setattr(loop.device, "gpus", lambda: [("NVIDIA T4", (7, 5))])
    loop.fit("mlp", settings(epochs=1), 10, split, split)
    assert capsys.readouterr().out.splitlines() == ["mlp: training on NVIDIA T4 in float32"]


def test_a_network_in_mixed_float16_has_a_scaled_loss_and_is_exported_in_float32(split: Split, monkeypatch) -> None:
    optimizers = []

    class Observe(keras.callbacks.Callback):
        def on_train_begin(self, logs: Any = None) -> None:
            optimizers.append(type(self.model.optimizer).__name__)
            assert self.model.dtype_policy.name == "mixed_float16"

    monkeypatch.setattr(loop.device, "gpus", lambda: [("NVIDIA T4", (7, 5))])
    chosen = settings(precision="auto", epochs=12, minimum_steps=300)
    network, history = loop.fit("mlp", chosen, 10, split, split, [Observe()])
    assert optimizers == ["LossScaleOptimizer"]
    assert network.dtype_policy.name == "float32" and history.val_accuracy.iloc[-1] > 0.9


def test_an_unknown_model_is_an_error_with_the_known_names() -> None:
    with pytest.raises(PipelineError, match="mlp, cnn"):
        train.main("cnm")


def test_the_seconds_of_a_training_are_those_of_the_fit(workspace, split: Split, monkeypatch) -> None:
    monkeypatch.setattr(tracking, "checkout", lambda: workspace)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name in ("train", "tune"):
        save_split(name, split)
    save_split("calibration", split, workspace / "data" / "derived")
    params = load_params()
    small = params.model_copy(update={"models": {"mlp": settings()}})
    monkeypatch.setattr(train, "load_params", lambda: small)
    monkeypatch.setattr(train, "log_to_mlflow", lambda *arguments: None)
    clock = [1000.0]  # CPU seconds that the process used before
    monkeypatch.setattr(time, "process_time", lambda: clock[0])

    def spending(seconds: float, function: Callable[..., Any]) -> Callable[..., Any]:
        def spend(*arguments: Any) -> Any:
            clock[0] += seconds
            return function(*arguments)

        return spend

    monkeypatch.setattr(train, "fit", spending(5, train.fit))
    monkeypatch.setattr(train, "export", spending(100, train.export))
    train.main("mlp")
    folder = workspace / "models" / "mlp"
    run = read_json(folder / "run.json")
    assert run["cpu_seconds"] == 5 and run["digest"] == sha256(folder / "model.tflite")
    assert run.keys() == {"digest", "run_id", "cpu_seconds", "wall_seconds"}
    assert read_json(folder / "training.json").keys() == {
        "parameters", "multiply_adds", "device", "precision", "temperature", "export", "data_digest", "split",
    }  # fmt: skip
