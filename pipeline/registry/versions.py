"""The versions in MLflow's model registry: by number, by alias, by content, and which of them are served."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pipeline import tracking
from pipeline.console import PipelineError
from pipeline.files import read_json
from pipeline.params import load_params
from pipeline.paths import REPORTS
from recognition.model import DamagedModel, Model, load_model

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

CHAMPION: Final = "champion"
PREVIOUS: Final = "previous"
CHALLENGER: Final = "challenger"  # also the name under which services serve it
REPAIR: Final = "register again: dvc repro --single-item --force register package"


def registered_model(dataset: str) -> str:
    """The name under which all models of a dataset are registered."""
    return f"{dataset}-classifier"


def current_model() -> str:
    """The registered model of the last run, or of the dataset in `params.yaml`."""
    try:
        return str(read_json(REPORTS / "registered.json")["model"])
    except FileNotFoundError:
        return registered_model(load_params().data.dataset)


def by_content(model: str, content_digest: str) -> "ModelVersion | None":
    """The newest version with this content (`Model.content_digest`), None if there is none."""
    found = tracking.connect().search_model_versions(f"name='{model}' and tags.content_digest='{content_digest}'")
    return max(found, key=lambda version: int(version.version), default=None)


def identity(version: "ModelVersion") -> str | None:
    """The digest that identifies a version in the promotion history: of its content; in early versions, of its file."""
    digest: str | None = version.tags.get("content_digest", version.tags.get("digest"))
    return digest


def registered(model: str) -> "RegisteredModel | None":
    """The registered model, None if it has no version yet."""
    return _or_none("get_registered_model", model)


def by_alias(model: str, alias: str) -> "ModelVersion | None":
    """The version behind an alias, None if the alias or the model does not exist."""
    return _or_none("get_model_version_by_alias", model, alias)


def by_number(model: str, version: str) -> "ModelVersion | None":
    """The version with this number, None if there is none."""
    return _or_none("get_model_version", model, version)


def _or_none(method: str, *arguments: str) -> Any:
    from mlflow.exceptions import MlflowException

    try:
        return getattr(tracking.connect(), method)(*arguments)
    except MlflowException as error:
        if error.error_code in ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST"):
            return None
        raise


def download(model: str, version: str) -> Model:
    """Download a version and verify it. Raises PipelineError, with the repair, if its files are missing or damaged."""
    import mlflow
    from mlflow.exceptions import MlflowException

    tracking.connect()
    try:
        folder = Path(mlflow.artifacts.download_artifacts(f"models:/{model}/{version}"))
        return load_model(folder / "artifacts" / "served", str(version))
    except (MlflowException, OSError, DamagedModel) as error:
        reason = str(error).splitlines()[0][:300]
        raise PipelineError(
            f"{model} version {version} is registered but its files cannot be used ({reason}); move the store back to "
            f"where it was, or {REPAIR}"
        ) from None


def find(model: str, version: str) -> Model | None:
    """As `download`, but None if the version's files are missing or damaged."""
    try:
        return download(model, version)
    except PipelineError:
        return None


def served_versions(model: str) -> tuple[str, dict[str, str]]:
    """The champion's name, and the number of the version that is served under each entry's name.

    Each entry, in the order of `params.yaml`, is served at the version behind its alias. The champion's entry is served
    at the champion's version, because the gate may have refused a newer one. Raises PipelineError if there is no
    champion.
    """
    current = by_alias(model, CHAMPION)
    if current is None:
        raise PipelineError(f"{model} has no champion; {REPAIR}")
    champion, numbers = str(current.tags["name"]), {}
    for name in load_params().models:
        if name == champion:
            numbers[name] = str(current.version)
        elif (version := by_alias(model, name)) is not None:
            numbers[name] = str(version.version)
    return champion, numbers if champion in numbers else {**numbers, champion: str(current.version)}


def served(model: str) -> tuple[str, dict[str, Model]]:
    """As `served_versions`, but with the models themselves, and without those of other classes than the champion's."""
    champion, numbers = served_versions(model)
    models = {name: download(model, number) for name, number in numbers.items()}
    classes = models[champion].card.get("classes")
    return champion, {name: found for name, found in models.items() if found.card.get("classes") == classes}
