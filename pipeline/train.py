"""Stage `train@NAME`: train one entry of `models:`, calibrate it, export it to LiteRT and track the run in MLflow."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline import tracking
from pipeline.console import PipelineError, run_main, say
from pipeline.data.datasets import load_dataset
from pipeline.data.splits import Split, load_split
from pipeline.files import sha256, write_bytes, write_json
from pipeline.params import load_params
from pipeline.paths import DERIVED, MODELS
from recognition.image_format import IMAGE_SIZE
from recognition.native_output import hide_native_output

with hide_native_output():
    import keras
    import tensorflow as tf

from pipeline.evaluation.calibration import fit_temperature
from pipeline.reporting.charts import learning_curves
from pipeline.training import device
from pipeline.training.architectures import multiply_adds, with_probabilities
from pipeline.training.export import export, save_keras
from pipeline.training.loop import fit, measured_seconds


def main(name: str) -> None:
    params = load_params()
    settings = params.models.get(name)
    if settings is None:
        raise PipelineError(f"models.{name} is not in params.yaml; known models: {', '.join(params.models)}")
    train, tune, calibration = load_split("train"), load_split("tune"), load_split("calibration", DERIVED)
    classes = len(load_dataset(train.dataset).classes)
    digests = {"train": train.digest(), "tune": tune.digest(), "calibration": calibration.digest()}
    tags = {"model": name, "dataset": train.dataset, "data_digest": digests["train"]}
    note = f"Training of `{name}`. The stage `register` adds its evaluation."
    with tracking.run(train.dataset, name, tags, note) as run:
        with measured_seconds() as seconds:
            network, history = fit(name, settings, classes, train, tune)
        logits = network.predict(calibration.images.astype(np.float32) / 255, batch_size=500, verbose=0)
        temperature = fit_temperature(logits, calibration.labels)
        model = with_probabilities(network, temperature)
        litert, export_record = export(model, tune, params.export)
        record = {
            "parameters": network.count_params(),
            "multiply_adds": multiply_adds(network),
            **device.description(settings.precision),
            "temperature": temperature,
            "export": export_record,
            "data_digest": digests,
            "split": {"validation_share": params.data.validation_share, "tuning_share": params.data.tuning_share},
        }
        folder = MODELS / name
        save_keras(model, folder / "model.keras")
        write_bytes(folder / "model.tflite", litert)
        history.to_csv(folder / "history.csv", index=False, float_format="%.6g")
        write_json(folder / "training.json", record)
        # Not a DVC output, because it differs between two runs; the digest names the model that it belongs to
        measured = {"digest": sha256(folder / "model.tflite"), "run_id": run.info.run_id, **seconds}
        write_json(folder / "run.json", measured)
        log_to_mlflow(name, tracking.flatten(settings.model_dump()), model, history, record, seconds, train, folder)
    say(
        f"{name}: {history.val_accuracy.iloc[-1]:.2%} of {len(tune.labels):,} tuning images correct after "
        f"{len(history)} epochs, {record['parameters']:,} parameters, exported as {export_record['format']}"
    )


def log_to_mlflow(
    name: str,
    parameters: dict[str, Any],
    model: keras.Model,
    history: pd.DataFrame,
    record: dict[str, Any],
    seconds: dict[str, int],
    train: Split,
    folder: Path,
) -> None:
    """Log parameters, training data, model and files to the active run, which has the metrics of each epoch."""
    import mlflow

    logged = ("parameters", "multiply_adds", "device", "precision", "temperature")
    figures = {key: record[key] for key in logged}
    mlflow.log_params({**parameters, "data.dataset": train.dataset, **figures})  # the precision that "auto" selected
    mlflow.log_metrics(tracking.grouped("cost", seconds))
    mlflow.log_dict(record, "training.json")
    data = mlflow.data.from_numpy(train.images, targets=train.labels, name=train.dataset, digest=train.digest()[:32])
    mlflow.log_input(data, context="training")
    summary = io.StringIO()
    model.summary(print_fn=lambda line: summary.write(line + "\n"), expand_nested=True, line_length=100)
    mlflow.log_text(summary.getvalue(), "model_summary.txt")
    mlflow.log_figure(learning_curves({name: history}), "learning_curves.png")
    mlflow.log_artifacts(str(folder), "model_files")
    image = np.zeros((1, IMAGE_SIZE, IMAGE_SIZE), np.float32)
    signature = mlflow.models.infer_signature(image, model.predict(image, verbose=0))
    requirements = [f"tensorflow=={tf.__version__}", f"keras=={keras.__version__}"]
    mlflow.keras.log_model(
        model, name=f"{name}-keras", step=tracking.NO_STEP, signature=signature, pip_requirements=requirements
    )


if __name__ == "__main__":
    run_main(main)
