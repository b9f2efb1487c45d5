"""MLflow: which store, which experiment, and what every run is tagged with."""

import logging
import os
import re
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click
from filelock import FileLock

from pipeline.console import PipelineError, run_main, say
from pipeline.paths import ROOT, checkout

if TYPE_CHECKING:
    import mlflow
    from mlflow.tracking import MlflowClient


def tracking_uri() -> str:
    """`MLFLOW_TRACKING_URI`, or the SQLite store in the root of the checkout."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{checkout() / 'mlflow.db'}"


def connect() -> "MlflowClient":
    """Point MLflow at the store, creating the embedded one where it is missing.

    Raises PipelineError when a server does not answer.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    warnings.filterwarnings("ignore", module="mlflow")
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # a server that is not there is said within seconds
    uri = tracking_uri()
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    client = mlflow.MlflowClient()
    try:
        with FileLock(checkout() / ".mlflow.lock"):  # two processes that create one SQLite store break each other
            client.search_experiments(max_results=1)
    except MlflowException as error:
        reason = str(error).splitlines()[0]
        raise PipelineError(without_password(f"MLflow's store {uri} cannot be used: {reason}")) from None
    return client


def without_password(text: str) -> str:
    """The text with user and password left out of every URL in it."""
    return re.sub(r"://[^@/\s]+@", "://...@", text)


def experiment_id(name: str) -> str:
    """The experiment of that name, made where it is missing; the embedded store keeps artifacts in `mlartifacts/`."""
    client = connect()
    if found := client.get_experiment_by_name(name):
        return str(found.experiment_id)
    embedded = tracking_uri().startswith("sqlite:")
    return str(client.create_experiment(name, (checkout() / "mlartifacts").as_uri() if embedded else None))


@contextmanager
def run(experiment: str, name: str, tags: dict[str, str]) -> Iterator["mlflow.ActiveRun"]:
    """A run of `experiment` with `tags`, the git commit and system metrics; marked failed when the block raises."""
    import mlflow

    identity = experiment_id(experiment)
    with mlflow.start_run(
        experiment_id=identity, run_name=name, tags={"git_commit": git_commit(), **tags}, log_system_metrics=True
    ) as active:
        yield active


def run_exists(run_id: str) -> bool:
    """Whether the store knows the run and it was not deleted."""
    from mlflow.exceptions import MlflowException

    try:
        return bool(connect().get_run(run_id).info.lifecycle_stage == "active")
    except MlflowException:
        return False


def git_commit() -> str:
    """The commit checked out, `-dirty` behind it where tracked files differ from it; "unknown" outside a repository."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        dirty = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!dvc.lock", ":!reports")
        return git("rev-parse", "HEAD") + ("-dirty" if dirty else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


@click.command()
@click.option("--port", default=5000, show_default=True)
def main(port: int) -> None:
    connect()
    say(f"\n  MLflow at http://localhost:{port}   (Ctrl-C stops)\n")
    os.environ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # a process and 240 MB that nothing here uses
    command = ["mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    os.execvp(command[0], [*command, "--backend-store-uri", tracking_uri()])  # noqa: S606


if __name__ == "__main__":
    run_main(main)
