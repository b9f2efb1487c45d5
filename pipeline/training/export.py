"""From a trained Keras model to the files that are kept: `model.keras` for fine-tuning, `model.tflite` for the rest."""

import io
import json
import re
import zipfile
from dataclasses import dataclass
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

EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date a zip archive can hold
AGREEMENT = 1e-3  # greatest difference of a probability between Keras and its float32 export: rounding, not meaning


@dataclass(frozen=True)
class Exported:
    """A LiteRT file, and how it was chosen: format, share of validation decisions changed, accuracy lost."""

    content: bytes
    record: dict[str, Any]


def export(model: keras.Model, val: Split, limits: Export) -> Exported:
    """Dynamic-range int8 within `limits` of the float32 export on validation images, float32 otherwise.

    Raises PipelineError when the float32 export does not answer as Keras does.
    """
    reference = model.predict(val.images.astype(np.float32), batch_size=500, verbose=0)
    plain = convert(model, quantize=False)
    answers = Classifier(plain).probabilities(val.images)
    difference = float(np.abs(answers - reference).max())
    if not difference <= AGREEMENT:
        raise PipelineError(
            f"the exported model disagrees with Keras: a probability differs by {difference:.3g}, "
            f"expected {AGREEMENT} or less"
        )
    quantized = convert(model, quantize=True)
    decisions, expected = Classifier(quantized).probabilities(val.images).argmax(1), reference.argmax(1)
    changed = float((decisions != expected).mean())
    loss = float((expected == val.labels).mean() - (decisions == val.labels).mean())
    small = changed <= limits.changed_decisions and loss <= limits.accuracy_loss
    record = {
        "format": "dynamic_range_int8" if small else "float32",
        "int8_changed_decisions": round(changed, 6),
        "int8_accuracy_loss": round(loss, 6),
        "float32_greatest_difference": round(difference, 8),
    }
    return Exported(quantized if small else plain, record)


def convert(model: keras.Model, quantize: bool) -> bytes:
    """A LiteRT file: weights as int8 with a scale per channel when `quantize`, float32 otherwise."""
    with hide_native_output():
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        if quantize:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        return bytes(converter.convert())


def save_keras(model: keras.Model, path: Path) -> None:
    """Write a `.keras` archive without the date and memory addresses that Keras puts in: equal models, equal bytes."""
    buffer, written = io.BytesIO(), path.with_suffix(".tmp.keras")
    path.parent.mkdir(parents=True, exist_ok=True)
    model.save(written)
    with zipfile.ZipFile(written) as source, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "metadata.json":
                content = json.dumps({**json.loads(content), "date_saved": "1980-01-01@00:00:00"}).encode()
            if name == "config.json":
                content = _number_shared_objects(content.decode()).encode()
            target.writestr(zipfile.ZipInfo(name, EPOCH), content)
    written.unlink()
    write_bytes(path, buffer.getvalue())


def _number_shared_objects(config: str) -> str:
    """Objects that layers share are identified by their memory address; by their order instead."""
    key = '"shared_object_id": '
    order = {address: place for place, address in enumerate(dict.fromkeys(re.findall(rf"{key}(\d+)", config)))}
    return re.sub(rf"{key}(\d+)", lambda match: f"{key}{order[match[1]]}", config)
