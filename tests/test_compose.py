"""compose.yaml: its form, its promises, and its MLflow run for real on PostgreSQL, registered into and served from."""

import ipaddress
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
import sqlalchemy as sql
import yaml

from pipeline.deployment.bento_server import free_port, stop
from pipeline.files import read_json
from records import database
from tests.conftest import REPOSITORY, Project, serve
from tests.deploy.proxy import source
from tests.postgres import Postgres, postgres, postgres_url
from tests.s3 import S3
from tests.test_repository import pins

__all__ = ["postgres", "postgres_url"]  # fixtures

COMPOSE = yaml.safe_load((REPOSITORY / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
START_SECONDS = 180  # MLflow's server makes its tables first


def test_its_form_is_that_of_the_specification() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, str(REPOSITORY / "compose.yaml")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_has_as_few_rights_as_it_can(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True and service["cap_drop"] == ["ALL"] and "/tmp" in service["tmpfs"]
    assert service["security_opt"] == ["no-new-privileges:true"] and "privileged" not in service
    assert {"healthcheck", "mem_limit", "pids_limit", "restart"} <= service.keys()


def test_only_the_proxy_is_published_beyond_this_machine_unless_asked_for() -> None:
    addresses = {
        (name, re.sub(r":(\$\{\w+:-\d+\}|\d+):\d+$", "", port))
        for name, service in SERVICES.items()
        for port in service.get("ports", [])
    }
    assert addresses == {
        ("service", "${BIND_ADDRESS:-127.0.0.1}"),
        ("mlflow", "127.0.0.1"),  # whatever BIND_ADDRESS says
        ("postgres", "127.0.0.1"),
        ("proxy", "${PROXY_ADDRESS:-0.0.0.0}"),
    }
    assert [name for name, service in SERVICES.items() if "profiles" in service] == ["proxy"]


def test_what_is_written_is_written_to_volumes_of_its_own() -> None:
    mounts = [mount for service in SERVICES.values() for mount in service.get("volumes", [])]
    used = [mount.split(":")[0] for mount in mounts if not mount.endswith(":ro")]
    assert sorted(used) == sorted(COMPOSE["volumes"]) and len(set(used)) == len(used)


def test_secrets_are_asked_for_and_never_given() -> None:
    wanted = set()
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|KEY|SECRET|TOKEN", name):
                asked = re.fullmatch(r"\$\{(\w+):\?.+\}", value)
                assert asked, f"{name} is given as {value!r}"
                wanted.add(asked[1])
    example = (REPOSITORY / ".env.example").read_text()
    empty = {(name, "") for name in wanted | {"DIGITS_ALLOWED_HOSTS"}}
    assert set(re.findall(r"^(\w+)=(.*)$", example, re.MULTILINE)) == empty
    ignored = subprocess.run(["git", "check-ignore", ".env"], cwd=REPOSITORY, capture_output=True, text=True)
    assert ignored.stdout.strip() == ".env"


def test_its_mlflow_is_the_one_that_the_pipeline_uses() -> None:
    inside = dict(re.findall(r"(\w+)(?:\[binary\])?==(\S+)", SERVICES["mlflow"]["build"]["dockerfile_inline"]))
    ours = pins("requirements.txt")
    assert inside == {name: ours[name] for name in ("mlflow", "psycopg")}


def test_the_service_runs_as_its_image_promises() -> None:
    containerfile = (REPOSITORY / "deploy" / "Containerfile").read_text()
    check = re.search(r"HEALTHCHECK .*CMD (\[.*\])", containerfile)
    assert check and ["CMD", *json.loads(check[1])] == SERVICES["service"]["healthcheck"]["test"]
    assert "EXPOSE 3000" in containerfile


def started_with(name: str) -> set[str]:
    """A service and those that it depends on."""
    return {name}.union(*(started_with(other) for other in SERVICES[name].get("depends_on", [])))


def test_the_image_is_built_before_the_documented_commands_start_it() -> None:
    text = (REPOSITORY / "compose.yaml").read_text()
    comment = text[: text.index("# With TLS")]
    commands = re.findall(r"make \w+|docker compose up --detach(?: \w+)?", comment[comment.index("# 1.") :])
    assert commands == ["docker compose up --detach mlflow", "make repro", "make image", "docker compose up --detach"]
    assert started_with("mlflow") == {"mlflow", "postgres"}
    assert "postgres" in started_with("service")


def test_service_and_host_use_one_database(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service logs into the database that deploy/databases.sql creates; the host reaches it on a published port."""
    inside = sql.make_url(SERVICES["service"]["environment"]["DIGITS_DATABASE_URL"])
    for file in ("compose.yaml", "docs/operations.md"):
        (outside,) = re.findall(r"DIGITS_DATABASE_URL=(postgresql://mlflow@\S+)", (REPOSITORY / file).read_text())
        assert sql.make_url(outside) == inside.set(host="localhost")
    assert inside.host == "postgres" and inside.username == SERVICES["postgres"]["environment"]["POSTGRES_USER"]
    assert "./deploy/databases.sql:/docker-entrypoint-initdb.d/databases.sql:ro" in SERVICES["postgres"]["volumes"]
    for service, name in (("service", "PGPASSWORD"), ("postgres", "POSTGRES_PASSWORD")):
        assert SERVICES[service]["environment"][name].startswith("${POSTGRES_PASSWORD:?")

    server = sql.make_url(postgres.url)
    administrator = sql.create_engine(server, isolation_level="AUTOCOMMIT", poolclass=sql.NullPool)
    with administrator.connect() as connection:
        connection.execute(sql.text((REPOSITORY / "deploy" / "databases.sql").read_text()))
    monkeypatch.setenv("PGPASSWORD", str(server.password))
    here = inside.set(host=server.host, port=server.port, username=server.username)
    engine = sql.create_engine(database.parse_url(here.render_as_string()), poolclass=sql.NullPool)
    try:
        database.migrate(engine)
        assert sql.inspect(engine).has_table("pictures")
    finally:
        engine.dispose()
        with administrator.connect() as connection:
            connection.execute(sql.text(f"drop database {inside.database}"))


def test_the_proxy_is_that_of_deploy_with_the_service_as_its_instance(tmp_path: Path) -> None:
    proxy = SERVICES["proxy"]
    shell, option, script = proxy["command"]
    copy = tmp_path / "default.conf"
    script = script.replace("/opt/nginx.conf", str(REPOSITORY / "deploy" / "nginx.conf")).replace(
        "/etc/nginx/conf.d/default.conf", str(copy)
    )
    subprocess.run([shell, option, script.replace("exec nginx", "true")], check=True)
    before, after = source().splitlines(), copy.read_text().splitlines()
    changed = [(old.strip(), new.strip()) for old, new in zip(before, after, strict=True) if old != new]
    assert changed == [(old, old.replace("127.0.0.1:3000", "service:3000")) for old, _ in changed] and len(changed) == 1
    assert "./deploy/nginx.conf:/opt/nginx.conf:ro" in proxy["volumes"]
    address = proxy["networks"]["default"]["ipv4_address"]
    assert SERVICES["service"]["environment"]["FORWARDED_ALLOW_IPS"] == address
    (network,) = COMPOSE["networks"]["default"]["ipam"]["config"]
    assert ipaddress.ip_address(address) in ipaddress.ip_network(network["subnet"])


@contextmanager
def running_mlflow(postgres_url: str, artifacts: str, folder: Path, **environment: str) -> Iterator[str]:
    """MLflow's server as compose.yaml starts it, but on this machine's PostgreSQL and loopback; gives its URL.

    `artifacts`: a folder or a bucket. The server runs in `folder`.
    """
    definition, port = SERVICES["mlflow"], free_port()
    url = f"http://127.0.0.1:{port}"
    here = {
        "MLFLOW_BACKEND_STORE_URI": postgres_url,
        "MLFLOW_ARTIFACTS_DESTINATION": artifacts,
        "MLFLOW_HOST": "127.0.0.1",
        "MLFLOW_PORT": str(port),
        "HOME": str(folder),
    }
    settings = {
        name: re.sub(r"\$\{\w+:-(.*)\}", r"\1", str(value)) for name, value in definition["environment"].items()
    }
    assert here.keys() <= settings.keys()
    del settings["PGPASSWORD"]
    program, *arguments = definition["command"]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            [str(Path(sys.executable).with_name(program)), *arguments],
            env={**os.environ, **settings, **here, **environment}, cwd=folder, stdout=log, stderr=log,
        )  # fmt: skip
        try:
            check = definition["healthcheck"]["test"][1:]
            assert "127.0.0.1:5000" in check[-1]
            check[-1] = check[-1].replace("127.0.0.1:5000", f"127.0.0.1:{port}")
            deadline = time.monotonic() + START_SECONDS
            while subprocess.run(check, capture_output=True).returncode:
                assert server.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()[-3000:]
                time.sleep(1)
            yield url
        finally:
            stop(server)


@pytest.fixture
def mlflow_server(postgres_url: str, s3: S3, tmp_path: Path) -> Iterator[str]:
    """The URL of a server with its artifacts in a bucket, as of a deployment on several machines."""
    with running_mlflow(postgres_url, f"{s3.url}/mlflow", tmp_path) as url:
        yield url


def without_stores(project: Project, folder: Path) -> Project:
    """A copy of a project without what it registered and packaged."""
    copy = Project.__new__(Project)
    copy.folder = Path(shutil.copytree(project.folder, folder, symlinks=True))
    for own in ("mlflow.db", "digits.db", "reports/bento.json", "reports/registered.json"):
        (copy.folder / own).unlink()
    for own in ("mlartifacts", ".bentoml"):
        shutil.rmtree(copy.folder / own)
    return copy


@pytest.mark.slow
def test_the_pipeline_registers_into_it_and_the_service_is_packaged_from_it(
    project: Project, mlflow_server: str, postgres_url: str, s3: S3, tmp_path: Path
) -> None:
    elsewhere = without_stores(project, tmp_path / "project")
    copy = elsewhere.folder
    server = {"MLFLOW_TRACKING_URI": mlflow_server}
    output = elsewhere.repro("--single-item", "--force", "register", "package", **server)
    assert "promoted: version 1: there is no champion to compare with" in output.replace("version 2", "version 1")
    elsewhere.run("python", "-m", "pipeline.deployment.check", **server)
    assert not (copy / "mlflow.db").exists() and not (copy / "mlartifacts").exists()

    engine = sql.create_engine(postgres_url)
    with engine.connect() as connection:
        versions = connection.execute(sql.text("select name, version, source from model_versions")).all()
        aliases = set(connection.execute(sql.text("select alias from registered_model_aliases")).scalars())
    engine.dispose()
    assert {name for name, _, _ in versions} == {"optdigits-classifier"} and len(versions) == 2
    assert aliases == {"champion", "mlp", "cnn"}
    kept = {path.name for path in (s3.folder / s3.bucket / "mlflow").rglob("*") if path.is_file()}
    assert {"model.tflite", "model.json", "known_digits.npz", "comparison.html"} <= kept

    packaged = read_json(copy / "reports" / "bento.json")
    with serve(elsewhere, packaged["bento"]) as url:
        served = requests.get(f"{url}/model", timeout=30).json()
    run_ids = {card["run_id"] for card in served["models"].values()}
    assert served["champion"] == packaged["champion"] and set(served["models"]) == {"mlp", "cnn"}
    for run_id in run_ids:
        found = requests.get(f"{mlflow_server}/api/2.0/mlflow/runs/get", params={"run_id": run_id}, timeout=30)
        assert found.json()["run"]["info"]["status"] == "FINISHED"
