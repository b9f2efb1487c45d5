"""Registering a trained model: its files, its card and its evaluation become a run and a version of the registry."""

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markdown_it import MarkdownIt
from markupsafe import Markup

from pipeline import tracking
from pipeline.files import read_json, write_json, write_text
from pipeline.paths import EVALUATIONS, MODELS, REPORTS, ROOT
from pipeline.registry import descriptions, versions
from pipeline.reporting.measurements import comparison_page, read_latency, read_run, with_measurements
from pipeline.reporting.rendering import render
from recognition.image_format import IMAGE_SIZE
from recognition.model import CARD_FILE, MODEL_FILE, Model
from recognition.native_output import hide_native_output

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

LOGGED_METRICS = ("test", "val", "robustness", "corrupted", "forms", "out_of_distribution")  # groups of metrics.json


def register(
    model: str, name: str, dataset: str, classes: list[str], comparison: dict[str, Any], quality: str
) -> "ModelVersion":
    """The version with the content of the evaluated model: an existing one whose files are intact, or a new one.

    Describes it and its run in MLflow. `comparison`: the content of reports/comparison.json; `quality`: on which side
    of the quality bar the model is.
    """
    evaluation = comparison["models"][name]
    record, run_id = read_json(MODELS / name / "training.json"), read_run(name).get("run_id", "")
    content = {
        "name": name,
        "dataset": dataset,
        "classes": classes,
        "digest": evaluation["digest"],
        "threshold": evaluation["val"]["threshold"],
        "not_a_digit": read_json(EVALUATIONS / name / "ood_score.json"),
        "segment": read_json(EVALUATIONS / name / "whole_digit_score.json"),
    }
    client = tracking.connect()
    version = versions.by_content(model, Model(name, None, MODELS / name / MODEL_FILE, content).content_digest)
    if version is None or versions.find(model, version.version) is None:
        if not tracking.run_exists(run_id):
            run_id = recreate_run(name, dataset, record, run_id)
        run = client.get_run(run_id)
        card = {
            **content,
            "run_id": run_id,
            "commit": run.data.tags["git_commit"],
            "data_digest": record["data_digest"],
            "metrics": {split: evaluation[split] for split in ("test", "val")},
            "cost": evaluation["cost"],
            "split": record["split"],
        }
        log_reports(run_id, name)
        version = create_version(model, card, metrics_of(name, evaluation))
        client.set_terminated(run_id, end_time=run.info.end_time)  # the duration in the UI is that of the training
    experiment = tracking.experiment_id(dataset)
    for trained in filter(tracking.run_exists, {run_id, version.run_id}):  # two runs may train the same model
        note = descriptions.describe_run(name, evaluation, comparison["title"], version, experiment)
        client.set_tag(trained, tracking.NOTE, note)
    card_in_short = descriptions.describe_version(name, evaluation, quality, experiment, version.run_id)
    client.update_model_version(model, version.version, card_in_short)
    return version


def recreate_run(name: str, dataset: str, record: dict[str, Any], run_id: str) -> str:
    """A new run with the files of `models/NAME`, whose own run `run_id` is in another store, deleted, or unknown ("").

    It is unknown after DVC restored the model from its cache.
    """
    import mlflow

    tags = {
        "model": name,
        "dataset": dataset,
        "data_digest": record["data_digest"]["train"],
        "recreated_from": run_id or "DVC's cache",
    }
    with tracking.run(dataset, name, tags, f"Training of `{name}`, recreated from its files.") as run:
        for file in sorted((MODELS / name).iterdir()):
            if file.name != "run.json":  # of the missing run
                mlflow.log_artifact(str(file), "model_files")
        return str(run.info.run_id)


def metrics_of(name: str, evaluation: dict[str, Any]) -> dict[str, float]:
    """All metrics and costs of an evaluation, by group. MLflow's UI charts them in this order."""
    metrics: dict[str, float] = {}
    for group in LOGGED_METRICS:
        metrics |= tracking.grouped(group, evaluation.get(group, {}))  # "forms": for digits only
    costs = {key: value for key, value in evaluation["cost"].items() if isinstance(value, int | float)}
    return metrics | tracking.grouped("cost", costs | read_latency(name))


def log_reports(run_id: str, name: str) -> None:
    """Log the files of an evaluation to the model's run."""
    import mlflow

    latency = read_latency(name)
    with mlflow.start_run(run_id=run_id):
        for file in sorted((EVALUATIONS / name).iterdir()):
            if latency or file.name != "latency.json":  # of another model
                mlflow.log_artifact(str(file), "evaluation")
        mlflow.log_artifacts(str(REPORTS / name), "report")
        mlflow.log_artifacts(str(REPORTS / "comparison.charts"), "report/charts")
        mlflow.log_artifact(str(REPORTS / "comparison.md"), "report")
        mlflow.log_text(comparison_page(), "report/comparison.html")
        mlflow.log_text(with_measurements(card_page(name), [name]), "report/model_card.html")


def create_version(model: str, card: dict[str, Any], metrics: dict[str, float]) -> "ModelVersion":
    """Log `models/NAME` as a pyfunc to its run, with `card` as its model.json, and create a version of `model`.

    The metrics are those of the logged model, which MLflow's UI charts and compares, and of its run.
    """
    import ai_edge_litert
    import mlflow
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    name, run_id = card["name"], card["run_id"]
    content_digest = Model(name, None, MODELS / name / MODEL_FILE, card).content_digest
    tags = {"name": name, "digest": card["digest"], "content_digest": content_digest}
    with tempfile.TemporaryDirectory() as staging:
        served, code = Path(staging, "served"), Path(staging, "recognition")
        served.mkdir()
        shutil.copy(MODELS / name / MODEL_FILE, served)
        shutil.copy(EVALUATIONS / name / "known_digits.npz", served)
        shutil.copy(EVALUATIONS / name / "reference.npz", served)
        write_json(served / CARD_FILE, card)
        write_text(served / "model_card.html", card_page(name))
        # The pyfunc imports this package, so it travels with the version
        shutil.copytree(ROOT / "recognition", code, ignore=shutil.ignore_patterns("__pycache__"))
        with mlflow.start_run(run_id=run_id), hide_native_output():  # hides warnings and the progress of MLflow
            logged = mlflow.pyfunc.log_model(
                name=name,
                step=tracking.NO_STEP,
                python_model=str(ROOT / "pipeline" / "registry" / "pyfunc.py"),
                artifacts={"model": str(served)},
                code_paths=[str(code)],
                pip_requirements=[
                    f"mlflow=={mlflow.__version__}",
                    f"ai-edge-litert=={ai_edge_litert.__version__}",
                    f"numpy=={np.__version__}",
                ],
                signature=ModelSignature(
                    inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, IMAGE_SIZE, IMAGE_SIZE))]),
                    outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, len(card["classes"])))]),
                ),
            )
            mlflow.log_metrics(metrics, model_id=logged.model_id)
            return mlflow.register_model(logged.model_uri, model, tags=tags)


def card_page(name: str) -> str:
    """The model card as an HTML page, without measured times: the same model gives the same page everywhere."""
    text = (REPORTS / name / "model_card.md").read_text(encoding="utf-8")
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    return render("model_card.html", title=f"{name}: model card", body=Markup(body))
