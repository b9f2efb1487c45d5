"""The device that trains, CPU or GPU, and the number format in which it computes."""

from collections.abc import Sequence
from pathlib import Path

from recognition.native_output import hide_native_output

with hide_native_output():
    import tensorflow as tf

BFLOAT16_CAPABILITY, FLOAT16_CAPABILITY = (8, 0), (7, 0)  # compute capability from which tensor cores have the format
Capability = tuple[int, int] | None  # of an NVIDIA GPU; None: unknown


def choose_policy(precision: str, gpus: Sequence[Capability], cpu_has_bfloat16: bool) -> str:
    """Returns Keras' dtype policy for `precision` ("auto", "float32" or "bfloat16") on the first of `gpus`, or the CPU.

    "auto" means 16 bits where the device computes faster with them: https://www.tensorflow.org/guide/mixed_precision.
    Keras scales the loss itself under "mixed_float16".
    """
    if precision != "auto":
        return "mixed_bfloat16" if precision == "bfloat16" else precision
    if not gpus:
        return "mixed_bfloat16" if cpu_has_bfloat16 else "float32"
    capability = gpus[0] or (0, 0)
    if capability >= BFLOAT16_CAPABILITY:
        return "mixed_bfloat16"
    return "mixed_float16" if capability >= FLOAT16_CAPABILITY else "float32"


def policy(precision: str) -> str:
    """Keras' dtype policy on this machine; see `choose_policy`."""
    cpuinfo = Path("/proc/cpuinfo")
    cpu_has_bfloat16 = cpuinfo.exists() and "avx512_bf16" in cpuinfo.read_text()
    return choose_policy(precision, [capability for _, capability in gpus()], cpu_has_bfloat16)


def gpus() -> list[tuple[str, Capability]]:
    """Names and compute capabilities of the GPUs that TensorFlow sees. CUDA_VISIBLE_DEVICES=-1 hides them."""
    with hide_native_output():
        details = map(tf.config.experimental.get_device_details, tf.config.list_physical_devices("GPU"))
        return [(found.get("device_name", "GPU"), found.get("compute_capability")) for found in details]


def description(precision: str) -> dict[str, str]:
    """Returns the `device` ("CPU", or the GPU's name) and the `precision` ("float32", "bfloat16", "float16")."""
    names = [name for name, _ in gpus()] or ["CPU"]
    return {"device": names[0], "precision": policy(precision).removeprefix("mixed_")}
