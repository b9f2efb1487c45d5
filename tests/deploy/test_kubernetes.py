"""deploy/kubernetes: valid, restricted, consistent in itself, and with the settings and commands of the code."""

import copy
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from docs.settings import OTHER_VARIABLES
from pipeline.cli.commands import app as digits
from pipeline.deployment.pipeline_image import PROGRAMS
from serving.middleware.access import METRICS, PROBES
from serving.middleware.load_limits import BODY_SECONDS
from serving.settings import Settings, read_settings, variable
from tests.conftest import REPOSITORY
from tests.deploy.conftest import StartProxy
from tests.deploy.kubernetes import (
    FOLDER,
    OVERLAYS,
    Manifest,
    Rendered,
    environment,
    kubectl,
    plain,
    references,
    render,
    values,
)
from tests.deploy.proxy import PROGRAM, Answering, Handler, Instance, make_certificate, source

BUILT = {"digits", "digits-pipeline"}  # images that are made here
READ_BY_LIBRARIES = {"AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}  # by botocore
EXPANDED = {"PUBLIC_HOSTS", "POD_IP"}  # parts of DIGITS_ALLOWED_HOSTS
ADDED_BY_HAND = {("Secret", "digits-tls")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kubernetes")


@pytest.fixture(params=OVERLAYS)
def rendered(request: pytest.FixtureRequest, folder: Path) -> Rendered:
    return render(request.param, folder)


@pytest.fixture
def service(rendered: Rendered) -> Manifest:
    """The pod of the service."""
    return rendered.pods()["digits"]


def containers(rendered: Rendered) -> Iterator[tuple[str, Manifest, Manifest]]:
    for name, pod in rendered.pods().items():
        for container in pod["spec"]["containers"]:
            yield name, pod, container


def test_every_object_is_valid(rendered: Rendered, tmp_path: Path) -> None:
    (tmp_path / "rendered.yaml").write_text(rendered.text)
    program = str(Path(sys.executable).with_name("kubernetes-validate"))
    command = [program, "--strict", "--quiet", str(tmp_path / "rendered.yaml")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_unknown_key_would_be_found(rendered: Rendered, tmp_path: Path) -> None:
    (tmp_path / "rendered.yaml").write_text(rendered.text.replace("automountServiceAccountToken", "mountToken"))
    program = str(Path(sys.executable).with_name("kubernetes-validate"))
    command = [program, "--strict", "--quiet", str(tmp_path / "rendered.yaml")]
    assert subprocess.run(command, capture_output=True).returncode != 0


def test_no_secret_is_in_git() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "deploy/kubernetes"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.split()
    assert "deploy/kubernetes/production/secret.env.example" in tracked
    assert [path for path in tracked if path.endswith(("secret.env", "stores.env", "s3.json"))] == []
    for path in tracked:
        for name, value in re.findall(r"^(\w+)=(.*)$", (REPOSITORY / path).read_text(), re.MULTILINE):
            if re.search("PASSWORD|KEY|SECRET|DATABASE_URL|STORE_URI|STORAGE", name):
                assert value == "" or "$" in value, f"{path} sets {name}"


def test_what_a_pod_refers_to_exists(rendered: Rendered) -> None:
    known = {(found["kind"], found["metadata"]["name"]): found for found in rendered.objects} | dict.fromkeys(
        ADDED_BY_HAND
    )
    pods = rendered.pods()
    assert {reference for pod in pods.values() for reference in references(pod)} <= known.keys()
    claims = [part for pod in pods.values() for part in pod["spec"]["volumes"] if "persistentVolumeClaim" in part]
    assert claims and all(
        ("PersistentVolumeClaim", part["persistentVolumeClaim"]["claimName"]) in known for part in claims
    )
    for _, _, container in containers(rendered):
        for value in environment(container).values():
            for kind in ("secretKeyRef", "configMapKeyRef"):
                if isinstance(value, dict) and kind in value:
                    wanted = value[kind]
                    assert wanted["key"] in known["Secret" if kind[0] == "s" else "ConfigMap", wanted["name"]]["data"]


def matches(selector: Manifest, labels: dict[str, str]) -> bool:
    wanted = selector.get("matchLabels", selector if "matchExpressions" not in selector else {})
    return bool(wanted.items() <= labels.items())


def test_every_selector_selects_a_pod_and_every_port_has_a_name(rendered: Rendered) -> None:
    pods = rendered.pods().values()
    for found in rendered.all("Service", "PodDisruptionBudget", "NetworkPolicy"):
        selector = found["spec"].get("selector") or found["spec"].get("podSelector") or {}
        selected = [pod for pod in pods if matches(selector, pod["metadata"]["labels"])]
        assert selected, found["metadata"]["name"]
        if found["kind"] == "Service":
            ((pod,), ports) = selected, [port["targetPort"] for port in found["spec"]["ports"]]
            assert set(ports) <= {port["name"] for part in pod["spec"]["containers"] for port in part["ports"]}


def test_policies_let_every_pod_reach_what_it_uses(rendered: Rendered) -> None:
    """A connection needs a policy at both ends."""
    pods = rendered.pods()
    policies = rendered.all("NetworkPolicy")
    ports = {"digits": 3000, "mlflow": 5000, "postgres": 5432, "redis": 6379, "s3": 8333}
    wanted = {("digits-proxy", "digits"), ("digits-monitor", "mlflow"), ("digits-retrain", "mlflow")}
    for server in {"postgres", "redis", "s3"} & pods.keys():
        users = {"postgres": "uses-database", "redis": "uses-redis", "s3": "uses-bucket"}[server]
        wanted |= {(name, server) for name, pod in pods.items() if pod["metadata"]["labels"].get(users)}
    allowed = {
        (client, server)
        for client in pods
        for server in ports.keys() & pods.keys()
        if permits(policies, "egress", pods[client], pods[server], ports[server])
        and permits(policies, "ingress", pods[server], pods[client], ports[server])
    }
    assert allowed == wanted and len(wanted) >= 3


def permits(policies: list[Manifest], direction: str, own: Manifest, other: Manifest, port: int) -> bool:
    """Whether one of the policies of a pod lets it connect to another (egress) or be connected to (ingress)."""
    for policy in policies:
        spec = policy["spec"]
        if not matches(spec["podSelector"], own["metadata"]["labels"]):
            continue
        for rule in spec.get(direction, []):
            peers = rule.get("to" if direction == "egress" else "from")
            reaches = peers is None or any(
                "podSelector" in peer and matches(peer["podSelector"], other["metadata"]["labels"]) for peer in peers
            )
            if reaches and any(entry["port"] == port for entry in rule["ports"]):
                return True
    return False


def test_pods_are_restricted(rendered: Rendered) -> None:
    """What the namespace's level `restricted` demands, and more: a read-only root and no token."""
    (namespace,) = rendered.all("Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert {found["metadata"].get("namespace", "digits") for found in rendered.objects} == {"digits"}
    for name, pod, container in containers(rendered):
        spec, own = pod["spec"], container["securityContext"]
        assert spec["automountServiceAccountToken"] is False and spec["enableServiceLinks"] is False, name
        assert spec["securityContext"]["runAsNonRoot"] is True and spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert own["readOnlyRootFilesystem"] is True and own["capabilities"] == {"drop": ["ALL"]}, name
        assert own["allowPrivilegeEscalation"] is False
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
        assert "memory" in container["resources"]["limits"]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys() and "initContainers" not in spec
        assert all({"emptyDir", "configMap", "secret", "persistentVolumeClaim"} & v.keys() for v in spec["volumes"])


def test_images_are_ours_or_have_a_version(rendered: Rendered) -> None:
    for _, _, container in containers(rendered):
        name, _, tag = container["image"].rpartition("/")[2].partition(":")
        assert name in BUILT or re.search(r"\d", tag), container["image"]


def known_variables() -> set[str]:
    """Every variable that the code or one of its libraries reads, by docs/settings.py."""
    return {variable(field) for field in Settings.model_fields} | set(OTHER_VARIABLES) | READ_BY_LIBRARIES


def set_variables(rendered: Rendered, pod: Manifest) -> set[str]:
    """The variables of a pod's container, with those of ConfigMaps."""
    (container,) = pod["spec"]["containers"]
    maps = [entry["configMapRef"]["name"] for entry in container.get("envFrom", [])]
    return set(environment(container)) | {key for name in maps for key in rendered.data(plain(name))}


def test_the_service_reads_what_the_manifests_set(rendered: Rendered, service: Manifest) -> None:
    unknown = set_variables(rendered, service) - known_variables() - EXPANDED
    assert unknown == {"MLFLOW_ARTIFACTS_DESTINATION"}  # of MLflow's server, in the same ConfigMap


def test_the_settings_are_accepted(rendered: Rendered, service: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    (container,) = service["spec"]["containers"]
    given = values(rendered, container, POD_IP="10.1.2.3")
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings = read_settings()
    assert settings.host_names >= {"10.1.2.3", *given["PUBLIC_HOSTS"].split(",")}
    assert settings.log_predictions and settings.drain_file == Path("/tmp/drain")
    position = [entry["name"] for entry in container["env"]].index
    assert max(position("POD_IP"), position("PUBLIC_HOSTS")) < position("DIGITS_ALLOWED_HOSTS")  # else not expanded


def test_other_pods_read_what_the_manifests_set(rendered: Rendered) -> None:
    mlflow = {
        "MLFLOW_TRACKING_USERNAME",
        "MLFLOW_TRACKING_PASSWORD",
        "HOME",
    }  # read by MLflow's client and by libraries
    for name in ("digits-migrate", "digits-monitor", "digits-retrain"):
        own = set(environment(rendered.pods()[name]["spec"]["containers"][0]))
        assert own <= known_variables() | mlflow, name
    server = set(environment(rendered.pods()["mlflow"]["spec"]["containers"][0])) - READ_BY_LIBRARIES - {"HOME"}
    import mlflow.environment_variables as variables

    known = {value.name for value in vars(variables).values() if hasattr(value, "name")}
    named_by_options = {"MLFLOW_HOST", "MLFLOW_PORT", "MLFLOW_WORKERS"}  # click: auto_envvar_prefix="MLFLOW"
    assert server - named_by_options <= known | {"MLFLOW_ARTIFACTS_DESTINATION", "MLFLOW_BACKEND_STORE_URI"}


def test_both_overlays_need_the_same_secrets(folder: Path) -> None:
    trial, production = (render(name, folder) for name in OVERLAYS)
    assert trial.data("digits-secrets").keys() == production.data("digits-secrets").keys()
    assert production.data("digits-settings").keys() - trial.data("digits-settings").keys() == {"DIGITS_MODEL_DIR"}
    used = {
        value["secretKeyRef"]["key"]
        for _, _, container in containers(production)
        for value in environment(container).values()
        if isinstance(value, dict) and "secretKeyRef" in value
    }
    example = (FOLDER / "production" / "secret.env.example").read_text()
    assert used == set(re.findall(r"^(\w+)=$", example, re.MULTILINE)) == production.data("digits-secrets").keys()


def test_the_probes_are_routes_of_the_service(service: Manifest) -> None:
    (container,) = service["spec"]["containers"]
    paths = {kind: container[kind]["httpGet"]["path"] for kind in container if kind.endswith("Probe")}
    assert paths == {"startupProbe": "/readyz", "readinessProbe": "/readyz", "livenessProbe": "/livez"}
    assert set(paths.values()) <= PROBES
    assert container["ports"] == [{"name": "http", "containerPort": 3000}]


def test_a_rolling_update_keeps_capacity_and_loses_no_request(rendered: Rendered, service: Manifest) -> None:
    for name in ("digits", "digits-proxy"):
        strategy = rendered.one("Deployment", name)["spec"]["strategy"]["rollingUpdate"]
        assert strategy == {"maxUnavailable": 0, "maxSurge": 1}
        assert rendered.one("PodDisruptionBudget", name)["spec"]["maxUnavailable"] == 1
    (container,) = service["spec"]["containers"]
    (command,) = container["lifecycle"]["preStop"]["exec"]["command"][2:]
    drain, seconds = re.fullmatch(r"touch (\S+) && sleep (\d+)", command).groups()  # type: ignore[union-attr]
    assert environment(container)["DIGITS_DRAIN_FILE"] == drain
    readiness = container["readinessProbe"]
    assert int(seconds) > readiness["periodSeconds"] * readiness["failureThreshold"] + readiness["timeoutSeconds"]
    longest = BODY_SECONDS + Settings().deadline_seconds
    assert service["spec"]["terminationGracePeriodSeconds"] > int(seconds) + longest
    scaler = rendered.one("HorizontalPodAutoscaler", "digits")["spec"]
    assert scaler["minReplicas"] == 2 and "replicas" not in rendered.one("Deployment", "digits")["spec"]


def test_pods_of_the_service_are_spread(service: Manifest) -> None:
    keys = {entry["topologyKey"]: entry for entry in service["spec"]["topologySpreadConstraints"]}
    assert keys.keys() == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}
    for entry in keys.values():
        assert matches(entry["labelSelector"], service["metadata"]["labels"])


def proxy_configuration(rendered: Rendered, tmp_path: Path) -> str:
    """What the proxy's command makes of deploy/nginx.conf."""
    (container,) = rendered.pods()["digits-proxy"]["spec"]["containers"]
    assert container["command"] == ["sh", "-c"]
    (script,) = container["args"]
    (tmp_path / "nginx.conf").write_text(rendered.data("digits-proxy")["nginx.conf"])
    replaced = {
        "/opt/nginx/nginx.conf": str(tmp_path / "nginx.conf"),
        "/etc/nginx/conf.d/default.conf": str(tmp_path / "default.conf"),
        "exec nginx": "true",
    }
    for old, new in replaced.items():
        assert old in script
        script = script.replace(old, new)
    subprocess.run(["sh", "-c", script], check=True)
    return (tmp_path / "default.conf").read_text()


def test_the_proxy_is_that_of_deploy_with_the_service_as_its_instances(rendered: Rendered, tmp_path: Path) -> None:
    before, after = source().splitlines(), proxy_configuration(rendered, tmp_path).splitlines()
    removed = [line.strip() for line in before if line not in after]
    added = [line.strip() for line in after if line not in before]
    (instance,) = (line for line in removed if line.startswith("server 127.0.0.1:3000 "))
    assert added == [instance.replace("127.0.0.1", "digits")] * 3
    assert all("listen [::]:" in line for line in removed if line != instance) and len(removed) == 3
    assert rendered.one("Service", "digits")["spec"]["ports"][0]["port"] == 3000


def test_nginx_accepts_its_configuration(rendered: Rendered, tmp_path: Path) -> None:
    if PROGRAM is None or shutil.which("openssl") is None:
        pytest.skip("nginx or openssl is not installed (Debian: apt-get install nginx-light openssl)")
    make_certificate(tmp_path)
    text = proxy_configuration(rendered, tmp_path).replace("digits:3000", "localhost:3000")
    (tmp_path / "default.conf").write_text(text.replace("/etc/nginx/tls", str(tmp_path)))
    main = f"pid {tmp_path}/pid; error_log stderr; events {{}} http {{ include {tmp_path}/default.conf; }}"
    (tmp_path / "main.conf").write_text(main)
    done = subprocess.run([PROGRAM, "-t", "-c", str(tmp_path / "main.conf")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_prediction_that_a_pod_drops_is_repeated_through_the_same_service(
    start_proxy: StartProxy, start_instances: Callable[[Sequence[Handler]], list[Instance]]
) -> None:
    """nginx knows one address, the Service's, which stands three times among the instances."""
    dropped = iter((True, True))

    def drop_twice(request: Answering) -> None:
        request.drop() if next(dropped, False) else request.answer()

    (service,) = start_instances([drop_twice])
    proxy = start_proxy(*[service.port] * 3)
    assert proxy.request("POST", "/predict", b"x").status_code == 200
    assert service.seen == ["/predict"] * 3


def test_with_the_service_listed_once_a_dropped_prediction_would_be_lost(
    start_proxy: StartProxy, start_instances: Callable[[Sequence[Handler]], list[Instance]]
) -> None:
    (service,) = start_instances([Answering.drop])
    assert start_proxy(service.port).request("POST", "/predict", b"x").status_code == 502
    assert service.seen == ["/predict"]


def test_the_proxy_can_write_where_nginx_writes_and_reads_the_certificate(rendered: Rendered) -> None:
    pod = rendered.pods()["digits-proxy"]["spec"]
    mounts = {mount["mountPath"]: mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
    assert all(mounts[path] == "scratch" for path in ("/etc/nginx/conf.d", "/var/cache/nginx", "/run", "/tmp"))
    (tls,) = (volume["secret"] for volume in pod["volumes"] if volume["name"] == mounts["/etc/nginx/tls"])
    files = {item["path"] for item in tls["items"]}
    assert files == set(re.findall(r"/etc/nginx/tls/([\w.]+);", source()))
    assert tls["defaultMode"] == 0o440 and pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsGroup"]


def test_schedules_run_commands_of_the_pipeline(rendered: Rendered) -> None:
    (migrate,) = rendered.pods()["digits-migrate"]["spec"]["containers"]
    assert migrate["command"] == ["digits", "migrate"]
    commands = get_command(digits).commands  # type: ignore[attr-defined]
    assert {"migrate", "monitor"} <= commands.keys() and {"digits", "mlflow"} <= PROGRAMS.keys()
    cron = (REPOSITORY / "deploy" / "retrain" / "digits.cron").read_text()
    for name in ("digits-monitor", "digits-retrain"):
        job = rendered.one("CronJob", name)["spec"]
        assert job["concurrencyPolicy"] == "Forbid" and re.search(
            rf"^{re.escape(job['schedule'])} ", re.sub(" +", " ", cron), re.M
        )
        (container,) = job["jobTemplate"]["spec"]["template"]["spec"]["containers"]
        assert "python3 -m pipeline.deployment.retrain" in container["args"][0]
        assert container["args"][0].startswith(f"update-workspace {container['workingDir']}\n")


@pytest.mark.parametrize(("status", "expected"), [(0, 0), (1, 1), (10, 0), (11, 0)])
def test_the_monitor_retrains_on_drift_only(folder: Path, tmp_path: Path, status: int, expected: int) -> None:
    (container,) = render("trial", folder).pods()["digits-monitor"]["spec"]["containers"]
    programs = {"update-workspace": "true", "digits": f"exit {status}", "python3": f"echo $* >> {tmp_path}/calls"}
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    assert container["workingDir"] == "/workspace"
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "registered.json").touch()
    done = subprocess.run(
        [*container["command"], *container["args"]], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, cwd=tmp_path
    )
    assert done.returncode == expected
    retrained = (tmp_path / "calls").read_text() if (tmp_path / "calls").exists() else ""
    assert retrained == ("-m pipeline.deployment.retrain\n" if status == 10 else "")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_documented_pod_runs_commands_with_the_settings_of_the_retraining(
    overlay: str, folder: Path, tmp_path: Path
) -> None:
    guide = (REPOSITORY / "docs" / "kubernetes.md").read_text()
    blocks = dict(re.findall(r'^```bash title="(\w+)"\n(.*?)^```', guide, re.M | re.S))
    schedule = render(overlay, folder).one("CronJob", "digits-retrain")["spec"]["jobTemplate"]["spec"]
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "commands"}, "spec": schedule}
    (tmp_path / "job.json").write_text(json.dumps(job))
    (tmp_path / "kubectl").write_text(f"""#!/bin/sh
cd {tmp_path}
case "$*" in
  "create job commands --from cronjob/digits-retrain "*) cat job.json ;;
  "patch --local "*) exec {kubectl()} "$@" ;;
  "create --filename - "*) cat > created.json ;;
  *) echo "$*" >> calls ;;
esac
""")
    (tmp_path / "kubectl").chmod(0o755)
    path = f"{tmp_path}:/usr/bin:/bin"
    subprocess.run(["bash", "-euo", "pipefail", "-c", blocks["start"] + blocks["use"]], env={"PATH": path}, check=True)
    expected = copy.deepcopy(job)
    expected["spec"]["template"]["spec"]["containers"][0]["args"] = ["update-workspace /workspace && exec sleep 3600"]
    created = json.loads((tmp_path / "created.json").read_text())
    assert created == expected and created["spec"]["template"]["spec"]["containers"][0]["command"] == ["sh", "-c"]
    *_, deleted = (tmp_path / "calls").read_text().splitlines()
    assert deleted.startswith(f"delete job {job['metadata']['name']} ")
    commands = get_command(digits).commands  # type: ignore[attr-defined]
    assert {"promote", "rollback", "challenge", "review", "erase"} <= commands.keys()


def test_the_documented_registration_reaches_mlflow(rendered: Rendered) -> None:
    """Nothing publishes MLflow's server: commands outside the cluster reach it on a forwarded port of localhost."""
    guide = (REPOSITORY / "docs" / "kubernetes.md").read_text()
    block = next(part for part in guide.split("```") if "dvc repro --single-item --force register" in part)
    (forwarded,) = re.findall(r"kubectl port-forward service/mlflow (\d+) --namespace digits", block)
    assert f"MLFLOW_TRACKING_URI=http://localhost:{forwarded} " in block
    server = rendered.one("Service", "mlflow")["spec"]
    assert server.get("type", "ClusterIP") == "ClusterIP" and str(server["ports"][0]["port"]) == forwarded
    (container,) = rendered.pods()["mlflow"]["spec"]["containers"]
    assert "localhost:*" in environment(container)["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    example = (FOLDER / "production" / "secret.env.example").read_text()
    needed = {"DIGITS_DATABASE_URL", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"}
    needed |= {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    assert needed <= set(re.findall(r"^(\w+)=$", example, re.M)) & set(re.findall(r"(\w+)=", block))


# Examples: resources of operators, whose schemas are not at hand


def example(name: str) -> list[Any]:
    return list(yaml.safe_load_all((FOLDER / "examples" / name).read_text()))


def test_the_alert_rules_become_a_resource() -> None:
    script = FOLDER / "examples" / "prometheus-rule"
    text = subprocess.run(["bash", str(script)], capture_output=True, text=True, check=True).stdout
    alerts = yaml.safe_load((REPOSITORY / "deploy" / "alerts.yml").read_text())
    rule = yaml.safe_load(text)
    assert rule["kind"] == "PrometheusRule" and rule["spec"] == alerts


def test_prometheus_scrapes_the_service_with_its_key(folder: Path) -> None:
    rendered = render("production", folder)
    (monitor,) = example("service-monitor.yaml")
    service = rendered.one("Service", "digits")
    assert matches(monitor["spec"]["selector"], service["metadata"]["labels"])
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["path"] == METRICS and endpoint["port"] == service["spec"]["ports"][0]["name"]
    credentials = endpoint["authorization"]["credentials"]
    assert credentials == {"name": "digits-prometheus", "key": "key"}


def test_ray_workers_run_the_image_of_the_pipeline() -> None:
    (cluster,) = example("ray-cluster.yaml")
    groups = [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]
    for group in groups:
        pod = group["template"]["spec"]
        assert [container["image"] for container in pod["containers"]] == ["digits-pipeline"]
        assert pod["automountServiceAccountToken"] is False and pod["securityContext"]["runAsNonRoot"] is True


@pytest.mark.parametrize("path", sorted(FOLDER.glob("examples/*")), ids=lambda path: path.name)
def test_examples_say_that_they_are_not_validated(path: Path) -> None:
    assert "not validated here" in path.read_text().splitlines()[0 if path.suffix else 1]
