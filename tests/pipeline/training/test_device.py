"""The device and its number format: chosen from what TensorFlow reports, and never hidden from it."""

import subprocess
import sys

import pytest

from pipeline.training import device
from tests.conftest import REPOSITORY


@pytest.mark.parametrize(
    ("gpus", "cpu_has_bfloat16", "policy"),
    [
        ([(9, 0)], False, "mixed_bfloat16"),
        ([(8, 0)], False, "mixed_bfloat16"),
        ([(7, 5)], True, "mixed_float16"),
        ([(7, 0)], False, "mixed_float16"),
        ([(6, 1)], True, "float32"),
        ([None], True, "float32"),  # TensorFlow does not know the capability
        ([(6, 1), (9, 0)], True, "float32"),  # TensorFlow computes on the first one
        ([], True, "mixed_bfloat16"),
        ([], False, "float32"),
    ],
)
def test_auto_chooses_the_fastest_format_of_the_device(gpus, cpu_has_bfloat16: bool, policy: str) -> None:
    assert device.choose_policy("auto", gpus, cpu_has_bfloat16) == policy


@pytest.mark.parametrize("gpus", [[], [(7, 5)], [(9, 0)]])
def test_a_given_precision_is_kept(gpus) -> None:
    assert device.choose_policy("float32", gpus, True) == "float32"
    assert device.choose_policy("bfloat16", gpus, False) == "mixed_bfloat16"


def test_the_description_names_the_device_and_the_format(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "gpus", lambda: [])
    assert device.description("float32") == {"device": "CPU", "precision": "float32"}
    monkeypatch.setattr(device, "gpus", lambda: [("NVIDIA A100", (8, 0)), ("NVIDIA T4", (7, 5))])
    assert device.description("auto") == {"device": "NVIDIA A100", "precision": "bfloat16"}


def test_gpus_are_described_as_tensorflow_reports_them(monkeypatch: pytest.MonkeyPatch) -> None:
    details = {"one": {"device_name": "NVIDIA T4", "compute_capability": (7, 5)}, "two": {}}
    config = device.tf.config
    monkeypatch.setattr(config, "list_physical_devices", lambda kind: [*details] if kind == "GPU" else [])
    monkeypatch.setattr(config.experimental, "get_device_details", details.__getitem__)
    assert device.gpus() == [("NVIDIA T4", (7, 5)), ("GPU", None)]


@pytest.mark.parametrize("chosen", ["", "-1"])
def test_only_the_user_hides_gpus(chosen: str) -> None:
    script = "import os, pipeline.console; print(os.environ.get('CUDA_VISIBLE_DEVICES', ''))"
    environment = {"PATH": "", **({"CUDA_VISIBLE_DEVICES": chosen} if chosen else {})}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == chosen
