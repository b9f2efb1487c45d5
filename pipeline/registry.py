"""MLflow's model registry: versions, aliases, and the folder that each version carries to whoever serves it."""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import tracking
from pipeline.files import read_json, write_json, write_text
from pipeline.paths import EVALUATIONS, MODELS, ROOT
from pipeline.silence import quiet
from pipeline.terminal import PipelineError

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

CHAMPION, PREVIOUS = "champion", "previous"
REPAIR = "register anew: dvc repro --single-item --force register package"
# What a version's folder holds
CARRIED = ("model.tflite", "model.json", "known_digits.npz", "model_card.html")
SHIPPED_CODE = ("__init__.py", "inference.py", "silence.py")  # what the pyfunc needs of this package


@dataclass(frozen=True)
class Registered:
    """One version with its folder on this machine; `card` is its model.json."""

    version: str
    folder: Path
    card: dict[str, Any]

    @property
    def name(self) -> str:
        """The entry of `models:` that it was trained as."""
        return str(self.card["name"])


def registered_model(dataset: str) -> str:
    """The name under which all models of a dataset are registered."""
    return f"{dataset}-classifier"


def version_of(model: str, digest: str) -> "ModelVersion | None":
    """The newest version with exactly this file (sha256), if it was registered before."""
    found = tracking.connect().search_model_versions(f"name='{model}' and tags.`digest`='{digest}'")
    return max(found, key=lambda version: int(version.version), default=None)


def by_alias(model: str, alias: str) -> "ModelVersion | None":
    """The version behind an alias, None where the alias or the model does not exist."""
    from mlflow.exceptions import MlflowException

    try:
        return tracking.connect().get_model_version_by_alias(model, alias)
    except MlflowException as error:
        if error.error_code in ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"):
            return None
        raise


def download(model: str, version: str) -> Registered:
    """Bring a version's folder to this machine. Raises PipelineError when its files are gone, with the repair."""
    import mlflow
    from mlflow.exceptions import MlflowException

    tracking.connect()
    try:
        folder = Path(mlflow.artifacts.download_artifacts(f"models:/{model}/{version}")) / "artifacts" / "served"
        return Registered(str(version), folder, read_json(folder / "model.json"))
    except (MlflowException, OSError) as error:
        reason = str(error).splitlines()[0][:200]
        raise PipelineError(
            f"{model} version {version} is registered but its files cannot be read ({reason}); move the store back to "
            f"where it was, or {REPAIR}"
        ) from None


def find(model: str, version: str) -> Registered | None:
    """As `download`, but None where the files are gone."""
    try:
        return download(model, version)
    except PipelineError:
        return None


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
        served, code = Path(staging, "served"), Path(staging, "code", "pipeline")
        served.mkdir()
        code.mkdir(parents=True)
        for file in SHIPPED_CODE:
            shutil.copy(ROOT / "pipeline" / file, code)
        shutil.copy(MODELS / name / "model.tflite", served)
        shutil.copy(EVALUATIONS / name / "known_digits.npz", served)
        write_json(served / "model.json", card)
        write_text(served / "model_card.html", page)
        with mlflow.start_run(run_id=run_id), quiet():  # MLflow insists on warnings about type hints and examples
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
