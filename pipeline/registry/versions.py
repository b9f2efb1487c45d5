"""MLflow's model registry: versions, aliases, and the folder that each version carries to whoever serves it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import tracking
from pipeline.console import PipelineError
from pipeline.files import read_json
from pipeline.params import load_params

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

CHAMPION, PREVIOUS = "champion", "previous"
REPAIR = "register anew: dvc repro --single-item --force register package"
# What a version's folder holds
CARRIED = ("model.tflite", "model.json", "known_digits.npz", "model_card.html")


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


def served(model: str) -> tuple[str, dict[str, Registered]]:
    """The champion's name, and what is served under each entry's name, in the order of `params.yaml`.

    An entry is served at the version behind its alias, but the champion's entry at the champion's version: a newer one
    was refused by the gate. Raises PipelineError where there is no champion.
    """
    current = by_alias(model, CHAMPION)
    if current is None:
        raise PipelineError(f"{model} has no champion; {REPAIR}")
    champion, entries = download(model, current.version), list(load_params().models)
    found = {champion.name: champion}
    for name in entries:
        if name not in found and (version := by_alias(model, name)) is not None:
            found[name] = download(model, version.version)
    order = {name: place for place, name in enumerate(entries)}
    return champion.name, {name: found[name] for name in sorted(found, key=lambda name: order.get(name, len(order)))}
