"""Backup and restore of PostgreSQL, a bucket and MLflow's registry, as docs/operations.md says."""

import json
import re
from pathlib import Path

import pytest
import requests

from pipeline.files import read_json
from tests.conftest import REPOSITORY, Project, serve
from tests.postgres import Postgres, installed
from tests.s3 import PROGRAM, running_s3
from tests.test_compose import running_mlflow, without_stores

pytestmark = pytest.mark.slow


def documented(title: str) -> str:
    """The commands of the block with a title."""
    text = (REPOSITORY / "docs" / "operations.md").read_text()
    found = re.search(rf'^```bash title="{title}"\n(.*?)^```$', text, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def test_lost_servers_are_restored(project: Project, postgres: Postgres, tmp_path: Path) -> None:
    deployment = without_stores(project, tmp_path / "project")
    mlflow_url, digits_url = postgres.new_database(), postgres.new_database()
    for folder in ("objects", "mlflow"):
        (tmp_path / folder).mkdir()
    with running_s3(tmp_path / "objects") as s3:
        environment = {
            **s3.environment,
            "DIGITS_DATABASE_URL": digits_url,
            "DIGITS_MODEL_DIR": f"{s3.url}/served",
            "MLFLOW_URL": mlflow_url.replace("+psycopg", ""),
            "DIGITS_URL": digits_url.replace("+psycopg", ""),
            "BUCKET": s3.bucket,
            "RCLONE_CONFIG_S3_TYPE": "s3",
            "RCLONE_CONFIG_S3_PROVIDER": "Rclone",
            "RCLONE_CONFIG_S3_ENV_AUTH": "true",
            "RCLONE_CONFIG_S3_ENDPOINT": s3.environment["AWS_ENDPOINT_URL"],
            "PATH": f"{installed()}:{Path(str(PROGRAM)).parent}:{deployment.environment()['PATH']}",
        }

        def bash(commands: str, **more: str) -> str:
            return deployment.run("bash", "-euc", commands, **environment, **more)

        with running_mlflow(mlflow_url, f"{s3.url}/mlflow", tmp_path / "mlflow", **s3.environment) as server:
            bash("dvc repro --single-item --force register package", MLFLOW_TRACKING_URI=server)
            history = json.loads(bash("digits champions --json"))["history"]
            bash(documented("save"))
        stored = set(s3.files().find(s3.bucket))
        assert len(history) == 1 and {name.split("/")[1] for name in stored} == {"mlflow", "served"}

        for url in ("$MLFLOW_URL", "$DIGITS_URL"):
            bash(f'psql --quiet --command="drop schema public cascade; create schema public" "{url}" 2>&1')
        s3.files().rm(sorted(stored))
        assert not s3.files().find(s3.bucket)

        bash(documented("restore"))
        assert set(s3.files().find(s3.bucket)) == stored
        assert json.loads(bash("digits champions --json"))["history"] == history
        with running_mlflow(mlflow_url, f"{s3.url}/mlflow", tmp_path / "mlflow", **s3.environment) as server:
            bash("python -m pipeline.deployment.check", MLFLOW_TRACKING_URI=server)
        packaged = read_json(deployment.folder / "reports" / "bento.json")
        settings = {
            **s3.environment,
            "DIGITS_MODEL_DIR": f"{s3.url}/served",
            "DIGITS_MODEL_CACHE": str(tmp_path / "cache"),
        }
        with serve(deployment, packaged["bento"], **settings) as url:
            served = requests.get(f"{url}/model", timeout=30).json()
        versions = {name: model["version"] for name, model in served["models"].items()}
        assert versions == {name: model["version"] for name, model in packaged["models"].items()}
