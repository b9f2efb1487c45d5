"""Stage `train@NAME`: train one entry of `models:`, track the run in MLflow, calibrate, export to LiteRT."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline import tracking
from pipeline.console import PipelineError, run_main, say
from pipeline.data.datasets import load_dataset
from pipeline.data.splits import Split, load_split
from pipeline.files import write_bytes, write_json
from pipeline.params import Params, flatten, load_params
from pipeline.paths import MODELS
from recognition.native_output import hide_native_output

with hide_native_output():
    import keras
    import tensorflow as tf

from pipeline.evaluation.statistics import fit_temperature
from pipeline.reporting.charts import figure_to_png, learning_curves
from pipeline.training.architectures import multiply_adds, with_probabilities
from pipeline.training.export import export, save_keras
from pipeline.training.loop import cpu_seconds, fit, uses_bfloat16


def main(name: str) -> None:
    params = load_params()
    settings = params.models.get(name)
    if settings is None:
        raise PipelineError(f"models.{name} is not in params.yaml; it has {', '.join(params.models)}")
    train, val = load_split("train"), load_split("val")
    classes = len(load_dataset(train.dataset).classes)
    digest = {split: data.digest() for split, data in (("train", train), ("val", val))}
    tags = {"model": name, "dataset": train.dataset, "data_digest": digest["train"]}
    with tracking.run(train.dataset, name, tags) as run:
        bfloat16 = uses_bfloat16(settings.precision)
        network, history = fit(name, settings, classes, bfloat16, train, val)
        logits = network.predict(val.images.astype(np.float32) / 255, batch_size=500, verbose=0)
        temperature = fit_temperature(logits, val.labels)
        model = with_probabilities(network, temperature)
        folder = MODELS / name
        save_keras(model, folder / "model.keras")
        exported = export(model, val, params.export)
        write_bytes(folder / "model.tflite", exported.content)
        history.to_csv(folder / "history.csv", index=False, float_format="%.6g")
        record = {
            "run_id": run.info.run_id,
            "parameters": network.count_params(),
            "multiply_adds": multiply_adds(network),
            "precision": "bfloat16" if bfloat16 else "float32",
            "cpu_seconds": round(cpu_seconds()),
            "temperature": temperature,
            "export": exported.record,
            "data_digest": digest,
        }
        write_json(folder / "run.json", record)
        log_to_mlflow(name, params, model, history, record, train, folder)
    last = history.iloc[-1]
    say(
        f"{name}: {last.val_accuracy:.2%} of {len(val.labels):,} validation images right after {len(history)} epochs, "
        f"{record['parameters']:,} parameters, exported as {exported.record['format']}"
    )


def log_to_mlflow(
    name: str,
    params: Params,
    model: keras.Model,
    history: pd.DataFrame,
    record: dict[str, Any],
    train: Split,
    folder: Path,
) -> None:
    """Everything about the run beyond the metrics per epoch."""
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    mlflow.log_params(flatten(params.models[name], f"models.{name}") | {"data.dataset": train.dataset})
    mlflow.log_params(
        {key: record[key] for key in ("parameters", "multiply_adds", "precision", "cpu_seconds", "temperature")}
    )
    mlflow.log_dict(record, "run.json")
    data = mlflow.data.from_numpy(train.images, targets=train.labels, name=train.dataset, digest=train.digest()[:32])
    mlflow.log_input(data, context="training")
    summary = io.StringIO()
    model.summary(print_fn=lambda line: summary.write(line + "\n"), expand_nested=True, line_length=100)
    mlflow.log_text(summary.getvalue(), "model_summary.txt")
    mlflow.log_image(figure_to_png(learning_curves({name: history})), "learning_curves.png")
    for file in ("model.keras", "model.tflite", "history.csv"):
        mlflow.log_artifact(str(folder / file), "model_files")
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.float32), (-1, 28, 28))]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, model.output_shape[-1]))]),
    )
    requirements = [f"tensorflow=={tf.__version__}", f"keras=={keras.__version__}"]
    mlflow.keras.log_model(model, name="keras", signature=signature, pip_requirements=requirements)


if __name__ == "__main__":
    run_main(main)
