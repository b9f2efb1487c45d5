"""The stores of a deployment: MLflow with its experiments and runs, and the database.

`make mlflow` (`python -m pipeline.tracking`) starts the MLflow UI.
"""

import logging
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import sqlalchemy as sql
import typer
from filelock import FileLock

from pipeline.console import PipelineError, run_main, say
from pipeline.paths import ROOT, checkout
from records import database

if TYPE_CHECKING:
    import mlflow
    from mlflow.tracking import MlflowClient

NOTE: Final = "mlflow.note.content"  # the tag that MLflow's UI shows as the description of an experiment or a run
KIND: Final = "mlflow.experimentKind"
TRAINING: Final = "custom_model_development"  # the UI opens experiments of this kind on their runs
NO_STEP: Final = -1  # of a logged model, to which MLflow copies the run's metrics of this step, also of the system
ABOUT_TRAININGS: Final = """\
Models trained on this dataset. Each run has a note with its result.

| run | started by |
|---|---|
| the name of an entry under `models:` in params.yaml | `dvc repro`, `digits retrain`, `dvc exp run` |
| `sweep-NAME`, with a `trial-N` for each trial | `digits sweep` |
| the name of a published model | `digits references` |
| `NAME-seed-N`, and `NAME-seeds` with the mean | `digits seeds NAME` |
| `mlp-from-scratch` | `python -m learn.from_scratch` |

The group of a metric is the part of its name before `/`. Metrics without a group are of single epochs; `val_` means the
tuning images. *Models* compares the registered models, which have the names of their entries.
"""


def tracking_uri() -> str:
    """Returns `MLFLOW_TRACKING_URI`, or the SQLite store in the root of the checkout."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{checkout() / 'mlflow.db'}"


def connect() -> "MlflowClient":
    """Select MLflow's store, and create the embedded one if it is missing. Returns a client.

    Raises PipelineError if the store cannot be used.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    warnings.filterwarnings("ignore", module="mlflow")
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # report an unreachable server within seconds
    uri = tracking_uri()
    try:
        with FileLock(checkout() / ".mlflow.lock"):  # concurrent creation would damage a SQLite store
            create_embedded_store(uri)
            mlflow.set_tracking_uri(uri)
            mlflow.set_registry_uri(uri)
            client = mlflow.MlflowClient()
            client.search_experiments(max_results=1)
    except MlflowException as error:
        reason = str(error).splitlines()[0]
        raise PipelineError(without_password(f"MLflow's store {uri} cannot be used: {reason}")) from None
    return client


def create_embedded_store(uri: str) -> None:
    """Create a missing SQLite store under another name, then rename it: MLflow cannot repair a half-created one."""
    import mlflow

    store = Path(uri.removeprefix("sqlite:///"))
    if not uri.startswith("sqlite:///") or store.exists():
        return
    unfinished = store.with_name(f"{store.name}.unfinished")
    for path in store.parent.glob(f"{unfinished.name}*"):  # of an interrupted creation
        path.unlink()
    mlflow.MlflowClient(f"sqlite:///{unfinished}", f"sqlite:///{unfinished}").search_experiments(max_results=1)
    unfinished.replace(store)


def without_password(text: str) -> str:
    """Returns the text without user and password in its URLs."""
    return re.sub(r"://[^@/\s]+@", "://...@", text)


def database_url() -> sql.URL:
    """URL of the deployment's database. Raises PipelineError when `DIGITS_DATABASE_URL` is not supported."""
    try:
        return database.database_url(checkout())
    except ValueError as error:
        raise PipelineError(f"DIGITS_DATABASE_URL: {error}") from None


def open_database() -> sql.Engine:
    """Open the deployment's database with its current schema. Raises PipelineError when that fails."""
    try:
        engine = database.connect(database_url())
        database.migrate(engine)
        return engine
    except sql.exc.SQLAlchemyError as error:
        reason = " ".join(str(error).split("\n[SQL")[0].split())[:300]
        raise PipelineError(without_password(f"the database of DIGITS_DATABASE_URL cannot be used: {reason}")) from None


def experiment_id(name: str, about: str = ABOUT_TRAININGS) -> str:
    """Returns the id of an experiment, and creates it if it is missing. The embedded store uses `mlartifacts/`.

    `about`: the description, in Markdown, of an experiment that has none.
    """
    client, tags = connect(), {KIND: TRAINING, NOTE: about}
    found = client.get_experiment_by_name(name)
    if found is None:
        embedded = tracking_uri().startswith("sqlite:")
        return str(client.create_experiment(name, (checkout() / "mlartifacts").as_uri() if embedded else None, tags))
    for key, value in tags.items():
        if key not in found.tags:  # of an earlier release
            client.set_experiment_tag(found.experiment_id, key, value)
    return str(found.experiment_id)


@contextmanager
def run(
    experiment: str, name: str, tags: dict[str, str], note: str, about: str = ABOUT_TRAININGS
) -> Iterator["mlflow.ActiveRun"]:
    """Start a run with tags, the git commit and system metrics. It is marked as failed if the block raises.

    `note` describes the run, `about` its experiment, both in Markdown.
    """
    import mlflow

    tags = {"git_commit": git_commit(), **tags, NOTE: note}
    identity = experiment_id(experiment, about)
    with mlflow.start_run(experiment_id=identity, run_name=name, tags=tags, log_system_metrics=True) as active:
        yield active


def end_interrupted(experiment: str, **tags: str) -> None:
    """Mark the unfinished runs with these tags as killed: their process or node died, and a new attempt starts."""
    conditions = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
    identity = experiment_id(experiment)
    client = connect()
    for found in client.search_runs([identity], f"attributes.status = 'RUNNING' and {conditions}"):
        client.set_terminated(found.info.run_id, "KILLED")


def run_exists(run_id: str) -> bool:
    """Returns True if the run exists in the store and is not deleted."""
    from mlflow.exceptions import MlflowException

    try:
        return bool(connect().get_run(run_id).info.lifecycle_stage == "active")
    except MlflowException:
        return False


def grouped(group: str, metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics as `group/name`: MLflow's UI charts those of a group together."""
    return {f"{group}/{name}": value for name, value in metrics.items()}


def page(path: str) -> str:
    """The address of a page in MLflow's UI, which shows pages for language models unless a user or address selects."""
    return f"#/{path}?workflowType=machine_learning"


def flatten(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Leaves of a nested mapping by dotted path, the parameter names in MLflow."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        path = f"{prefix}.{key}" if prefix else key
        flat |= flatten(value, path) if isinstance(value, dict) else {path: value}
    return flat


def git_commit() -> str:
    """Returns the current commit, with `-dirty` if tracked files differ from it; "unknown" outside a repository."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        dirty = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!dvc.lock", ":!reports")
        return git("rev-parse", "HEAD") + ("-dirty" if dirty else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def main(port: Annotated[int, typer.Option(min=1, max=65535)] = 5000) -> None:
    """Start the MLflow UI."""
    client, url = connect(), f"http://localhost:{port}"
    say(f"\n  MLflow at {url}   (Ctrl-C stops)")
    for found in client.search_experiments(filter_string=f"tags.`{KIND}` = '{TRAINING}'", order_by=["name"]):
        say(f"  {found.name}: {url}/{page(f'experiments/{found.experiment_id}')}")
    say("")
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # saves an unused process with 240 MB
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    os.execv(command[0], [*command, "--backend-store-uri", tracking_uri()])  # noqa: S606


if __name__ == "__main__":
    run_main(main)
