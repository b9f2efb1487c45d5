"""Export of a trained Keras model: `model.keras` for fine-tuning, `model.tflite` (LiteRT) for everything else."""

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipeline.console import PipelineError
from pipeline.data.splits import Split
from pipeline.files import write_bytes
from pipeline.params import Export
from recognition.classifier import Classifier
from recognition.native_output import hide_native_output

ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest date of the zip format
MAX_ROUNDING_ERROR = 1e-3  # of a probability, between Keras and its float32 export


def export(model: keras.Model, tune: Split, limits: Export) -> tuple[bytes, dict[str, Any]]:
    """Export as dynamic-range int8 if it stays within `limits` on the tuning images, otherwise as float32.

    Returns the LiteRT file and a record of its format, changed decisions, lost accuracy and rounding error.
    Raises PipelineError if the float32 export and Keras give different probabilities.
    """
    expected = model.predict(tune.images.astype(np.float32), batch_size=500, verbose=0)
    float32 = convert(model, quantize=False)
    difference = float(np.abs(Classifier(float32).probabilities(tune.images) - expected).max())
    if not difference <= MAX_ROUNDING_ERROR:
        raise PipelineError(
            f"the exported model disagrees with Keras: a probability differs by {difference:.3g}, "
            f"expected {MAX_ROUNDING_ERROR} or less"
        )
    int8 = convert(model, quantize=True)
    decisions, expected_decisions = Classifier(int8).probabilities(tune.images).argmax(1), expected.argmax(1)
    changed = float((decisions != expected_decisions).mean())
    loss = float((expected_decisions == tune.labels).mean() - (decisions == tune.labels).mean())
    use_int8 = changed <= limits.changed_decisions and loss <= limits.accuracy_loss
    record = {
        "format": "dynamic_range_int8" if use_int8 else "float32",
        "int8_changed_decisions": round(changed, 6),
        "int8_accuracy_loss": round(loss, 6),
        "float32_greatest_difference": round(difference, 8),
    }
    return int8 if use_int8 else float32, record


def convert(model: keras.Model, quantize: bool) -> bytes:
    """Convert to a LiteRT file: int8 weights with one scale per channel if `quantize`, otherwise float32."""
    with hide_native_output():
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        if quantize:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        return bytes(converter.convert())


def save_keras(model: keras.Model, path: Path) -> None:
    """Write a `.keras` archive without dates and memory addresses, so that equal models give equal bytes."""
    buffer, temporary = io.BytesIO(), path.with_suffix(".tmp.keras")
    path.parent.mkdir(parents=True, exist_ok=True)
    model.save(temporary)
    with zipfile.ZipFile(temporary) as source, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "metadata.json":
                content = json.dumps({**json.loads(content), "date_saved": "1980-01-01@00:00:00"}).encode()
            if name == "config.json":
                content = _renumber_shared_objects(content.decode()).encode()
            target.writestr(zipfile.ZipInfo(name, ZIP_DATE), content)
    temporary.unlink()
    write_bytes(path, buffer.getvalue())


def _renumber_shared_objects(config: str) -> str:
    """Replace the memory addresses that identify shared objects by their order in the file."""
    key = '"shared_object_id": '
    order = {address: index for index, address in enumerate(dict.fromkeys(re.findall(rf"{key}(\d+)", config)))}
    return re.sub(rf"{key}(\d+)", lambda match: f"{key}{order[match[1]]}", config)
