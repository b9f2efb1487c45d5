"""Registering a trained model: its run, its files and its card become a version of the registered model."""

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markdown_it import MarkdownIt
from markupsafe import Markup

from pipeline import tracking
from pipeline.files import read_json, write_json, write_text
from pipeline.paths import EVALUATIONS, MODELS, REPORTS, ROOT
from pipeline.registry import versions
from pipeline.reporting.rendering import render
from recognition.native_output import hide_native_output

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion


def register(model: str, name: str, dataset: str, classes: list[str], comparison: dict[str, Any]) -> "ModelVersion":
    """The version that holds `models/NAME/model.tflite`; the same file is registered once, unless it was lost."""
    figures = comparison["models"][name]
    known = versions.version_of(model, figures["digest"])
    if known is not None and versions.find(model, known.version) is not None:
        return known
    record = read_json(MODELS / name / "run.json")
    run_id = record["run_id"] if tracking.run_exists(record["run_id"]) else recreate_run(name, dataset, record)
    run = tracking.connect().get_run(run_id)
    card = {
        "name": name,
        "dataset": dataset,
        "classes": classes,
        "digest": figures["digest"],
        "run_id": run_id,
        "commit": run.data.tags["git_commit"],
        "data_digest": record["data_digest"],
        "metrics": {split: figures[split] for split in ("test", "val")},
        "cost": figures["cost"],
        "threshold": figures["val"]["threshold"],
        "not_a_digit": read_json(EVALUATIONS / name / "ood_score.json"),
    }
    tags = {
        "name": name,
        "digest": figures["digest"],
        "run_id": run_id,
        "git_commit": card["commit"],
        "data_digest": record["data_digest"]["train"],
        **{f"{split}.{key}": str(value) for split in ("test", "val") for key, value in figures[split].items()},
        **{f"cost.{key}": str(figures["cost"][key]) for key in ("multiply_adds", "bytes")},
    }
    log_evaluation(run_id, name, figures)
    return log_version(model, name, run_id, card, card_page(name), tags)


def card_page(name: str) -> str:
    """The model card as an HTML page."""
    text = (REPORTS / name / "model_card.md").read_text(encoding="utf-8")
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    return render("model_card.html", title=f"{name}: model card", body=Markup(body))


def recreate_run(name: str, dataset: str, record: dict[str, Any]) -> str:
    """A new run with the files of `models/NAME`, for a recorded one that is gone (another store, DVC's run-cache)."""
    import mlflow

    tags = {
        "model": name,
        "dataset": dataset,
        "data_digest": record["data_digest"]["train"],
        "recreated_from": record["run_id"],
    }
    with tracking.run(dataset, name, tags) as run:
        mlflow.log_artifacts(str(MODELS / name), "model_files")
        return str(run.info.run_id)


def log_evaluation(run_id: str, name: str, figures: dict[str, Any]) -> None:
    """The evaluation's figures and files into the model's run."""
    import mlflow

    with mlflow.start_run(run_id=run_id):
        groups = ("test", "val", "robustness", "not_a_digit")
        mlflow.log_metrics({f"{group}.{key}": value for group in groups for key, value in figures[group].items()})
        mlflow.log_metrics({key: value for key, value in figures["cost"].items() if isinstance(value, int | float)})
        mlflow.log_artifacts(str(EVALUATIONS / name), "evaluation")
        mlflow.log_artifacts(str(REPORTS / name), "report")
        mlflow.log_artifacts(str(REPORTS / "comparison.charts"), "report/charts")
        for file in ("comparison.html", "comparison.md"):
            mlflow.log_artifact(str(REPORTS / file), "report")


def log_version(
    model: str, name: str, run_id: str, card: dict[str, Any], page: str, tags: dict[str, str]
) -> "ModelVersion":
    """Log `models/NAME` as a pyfunc into its run and make it a version of `model`.

    `card` becomes its model.json, `page` its model_card.html.
    """
    import ai_edge_litert
    import mlflow
    import numpy as np
    from mlflow.exceptions import MlflowException
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    client = tracking.connect()
    with tempfile.TemporaryDirectory() as staging:
        served = Path(staging, "served")
        served.mkdir()
        code = shutil.copytree(
            ROOT / "recognition", Path(staging, "recognition"), ignore=shutil.ignore_patterns("__pycache__")
        )
        shutil.copy(MODELS / name / "model.tflite", served)
        shutil.copy(EVALUATIONS / name / "known_digits.npz", served)
        write_json(served / "model.json", card)
        write_text(served / "model_card.html", page)
        with (
            mlflow.start_run(run_id=run_id),
            hide_native_output(),
        ):  # MLflow insists on warnings about type hints and examples
            logged = mlflow.pyfunc.log_model(
                name="served",
                python_model=str(ROOT / "pipeline" / "pyfunc.py"),
                artifacts={"model": str(served)},
                code_paths=[str(code)],
                pip_requirements=[
                    f"mlflow=={mlflow.__version__}",
                    f"ai-edge-litert=={ai_edge_litert.__version__}",
                    f"numpy=={np.__version__}",
                ],
                signature=ModelSignature(
                    inputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, 28, 28))]),
                    outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, len(card["classes"])))]),
                ),
            )
    try:
        client.create_registered_model(model)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    return client.create_model_version(model, logged.model_uri, run_id=run_id, model_id=logged.model_id, tags=tags)
