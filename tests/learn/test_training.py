"""Training of the NumPy network, and the command `python -m learn.from_scratch`."""

import re

import numpy as np
import pytest

from learn.from_scratch import __main__ as command
from learn.from_scratch.training import evaluate, initial_network, train
from pipeline.console import PipelineError
from pipeline.data import splits
from recognition.image_format import IMAGE_SIZE


def bar_images(n, seed):
    """A split of images with one bright vertical bar at one of ten positions; the label is the position."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 10
    images = rng.integers(0, 60, (n, IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[:, 2 * label + 4] = 255
    return splits.Split("bars", images, labels.astype(np.uint8))


def test_training_learns_reproducibly_in_float32():
    split = bar_images(300, 0)
    x = command.features(split)
    runs = []
    for _ in range(2):
        rng = np.random.default_rng(5)
        networks = list(train(initial_network([784, 16, 10], rng), x, split.labels, 4, 32, 0.01, rng))
        runs.append([evaluate(network, x, split.labels) for network in networks])
    assert runs[0] == runs[1]
    losses = [loss for loss, _ in runs[0]]
    assert losses == sorted(losses, reverse=True)
    assert runs[0][-1][1] == 1
    assert {array.dtype for layer in networks[-1] for array in layer} == {np.dtype(np.float32)}


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    monkeypatch.setattr(splits, "PREPARED", tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    for seed, name in enumerate(("train", "val", "test")):
        splits.save_split(name, bar_images(200, seed))


def test_command_trains_and_tracks_the_run(prepared, capsys):
    import mlflow

    command.main(hidden=[16], epochs=3, batch_size=10, learning_rate=0.01)
    output = capsys.readouterr().out
    assert re.search(r"test accuracy 9\d\.\d\d%|test accuracy 100\.00%", output)
    assert "(200 images)" in output
    (run,) = mlflow.search_runs(experiment_names=["bars"], output_format="list")
    assert run.data.metrics["test/accuracy"] > 0.9
    assert run.data.params["hidden"] == "(16,)"
    assert run.data.tags["model"] == "mlp-from-scratch"
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "val_accuracy")
    assert [metric.step for metric in history] == [0, 1, 2]


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_an_infinite_loss_raises_an_error_with_advice(monkeypatch):
    monkeypatch.setattr("mlflow.log_metrics", lambda *_, **__: None)
    split, rng = bar_images(50, 0), np.random.default_rng(0)
    network = initial_network([784, 4, 10], rng)
    with pytest.raises(PipelineError, match="use a lower --learning-rate"):
        command.fit(network, split, split, 3, 10, 1e38, rng)
