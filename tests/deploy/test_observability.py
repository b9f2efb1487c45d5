"""Metrics, dashboard and alerts: a real Prometheus scrapes two services and evaluates every query and every rule."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import requests
import sqlalchemy as sql
import yaml

from pipeline.deployment.bento_server import free_port, stop
from pipeline.files import read_json
from records import database
from serving.errors import ErrorCode
from serving.telemetry import metrics
from tests.conftest import REPOSITORY, Project, serve
from tests.deploy.proxy import picture

SECONDS = 30  # for one request
WAIT_SECONDS = 240  # until every query has an answer; about 40 on a quiet machine
KEY = "a-key-of-the-test"
ALERTS = REPOSITORY / "deploy" / "alerts.yml"
DASHBOARD = json.loads((REPOSITORY / "deploy" / "grafana" / "digits.json").read_text())
RULES = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
QUERIES = [
    (panel["title"], target["expr"].replace("$__rate_interval", "15s"))
    for panel in DASHBOARD["panels"]
    for target in panel.get("targets", [])
]


@dataclass
class Prometheus:
    """A running Prometheus."""

    url: str

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples of an expression now. An expression that Prometheus rejects is an error."""
        answer = requests.get(f"{self.url}/api/v1/query", params={"query": expression}, timeout=SECONDS).json()
        assert answer["status"] == "success", f"{expression}: {answer}"
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def rules(self) -> dict[str, dict[str, Any]]:
        """State and health of each alert."""
        groups = requests.get(f"{self.url}/api/v1/rules", timeout=SECONDS).json()["data"]["groups"]
        return {rule["name"]: rule for group in groups for rule in group["rules"]}


@contextmanager
def prometheus(folder: Path, *services: str) -> Iterator[Prometheus]:
    """Scrapes services every second while the block runs, with the alert rules of deploy/."""
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is not installed (Debian: apt-get install prometheus)")
    configuration = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(ALERTS)],
        "scrape_configs": [
            {
                "job_name": "digits",
                "authorization": {"credentials": KEY},
                "static_configs": [{"targets": [url.removeprefix("http://") for url in services]}],
            }
        ],
    }
    file, port = folder / "prometheus.yml", free_port()
    file.write_text(yaml.safe_dump(configuration))
    command = ["prometheus", f"--config.file={file}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + SECONDS
        url = f"http://127.0.0.1:{port}"
        while True:
            try:
                if requests.get(f"{url}/-/ready", timeout=SECONDS).status_code == 200:
                    break
            except requests.ConnectionError:
                pass
            assert server.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()[-3000:]
            time.sleep(0.1)
        yield Prometheus(url)
    finally:
        stop(server)


def test_each_alert_fires_once() -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    tests = REPOSITORY / "tests" / "deploy" / "alerts_test.yml"
    cases = [case for test in yaml.safe_load(tests.read_text())["tests"] for case in test["alert_rule_test"]]
    names = sorted(rule["alert"] for rule in RULES)
    assert sorted(case["alertname"] for case in cases if case["exp_alerts"]) == names
    assert sorted({case["alertname"] for case in cases if not case["exp_alerts"]}) == names
    done = subprocess.run(["promtool", "test", "rules", str(tests)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_has_a_response_in_the_guide() -> None:
    guide = (REPOSITORY / "docs" / "operations.md").read_text()
    assert [rule["alert"] for rule in RULES if f"| `{rule['alert']}` |" not in guide] == []


def test_the_guide_lists_every_metric_of_the_service() -> None:
    guide = (REPOSITORY / "docs" / "operations.md").read_text()
    table = guide[guide.index("### Prometheus metrics") : guide.index("### Traces")]
    names = set(re.findall(r"`(digits_[a-z_]+)`", "".join(re.findall(r"^\|[^|]*\|", table, re.MULTILINE))))
    defined = set(re.findall(r"^# TYPE (digits_\w+) ", metrics.exposition().decode(), re.MULTILINE))
    assert names == {name for name in defined if not name.endswith("_created")}  # the time of a counter's creation


def test_the_dashboard_finds_its_data_source_and_places_panels_side_by_side() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) and "__inputs" not in DASHBOARD
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells)) and max(x for x, _ in cells) == 23
    for panel in panels:
        for part in [panel, *panel.get("targets", [])] if panel["type"] != "row" else []:
            assert part["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


class Load:
    """Requests that make the services show every metric: answers of all kinds, and each class of error."""

    def __init__(self, healthy: str, limited: str) -> None:
        self._healthy, self._limited = healthy, limited
        self._session = requests.Session()
        self._session.headers["authorization"] = f"Bearer {KEY}"

    def send(self) -> list[int]:
        """One round; the statuses."""
        blank = [[[0] * 28] * 28]
        post = self._session.post
        healthy = [
            post(f"{self._healthy}{path}", data=picture(), timeout=SECONDS)
            for path in ("/predict", "/compare", "/predict_number")
        ]
        healthy += [post(f"{self._healthy}/predict_pixels", json={"images": blank}, timeout=SECONDS)]
        feedback = {"request_id": healthy[0].json()["request_id"], "label": 7}
        broken = post(f"{self._healthy}/predict", data=b"a text", timeout=SECONDS)
        logged = post(f"{self._limited}/predict", data=picture(), timeout=SECONDS)
        if logged.status_code == 200:
            feedback["request_id"] = logged.json()["request_id"]
        failed = post(f"{self._limited}/feedback", json=feedback, timeout=SECONDS)
        return [answer.status_code for answer in (*healthy, broken, logged, failed)]


@pytest.mark.slow
def test_a_real_prometheus_answers_every_query_and_evaluates_every_alert(project: Project, tmp_path: Path) -> None:
    tag = read_json(project.folder / "reports" / "bento.json")["bento"]
    url = f"sqlite:///{tmp_path / 'digits.db'}"
    engine = database.connect(database.parse_url(url))
    database.migrate(engine)
    figures = {"classes.cnn.v1": {"effect": 0.1, "threshold": 0.2}}
    with engine.begin() as connection:
        connection.execute(database.monitoring.insert().values(time=sql.func.now(), status=0, figures=figures))
    shared = {"DIGITS_API_KEY": KEY, "DIGITS_LOG_PREDICTIONS": "true"}
    healthy = {**shared, "DIGITS_DATABASE_URL": url, "DIGITS_WORKERS": "2"}
    gone = {"DIGITS_DATABASE_URL": "postgresql://nobody@127.0.0.1:9/digits", "DIGITS_RATE_PER_MINUTE": "20"}
    with serve(project, tag, **healthy) as first, serve(project, tag, **shared, **gone) as second:
        with prometheus(tmp_path, first, second) as server:
            load, statuses = Load(first, second), set[int]()
            missing, deadline = dict(QUERIES), time.monotonic() + WAIT_SECONDS
            while missing or not {200, 415, 429, 503} <= statuses:
                assert time.monotonic() < deadline, f"no data for {missing}; statuses: {statuses}"
                statuses |= set(load.send())
                missing = {title: query for title, query in QUERIES if not numbers(server.query(query))}
            for rule in RULES:
                selectors = list(metric_selectors(promql_parser.parse(rule["expr"])))
                assert selectors
                for selector in selectors:
                    found = eventually(server, selector.prettify())
                    assert found, f"{rule['alert']} asks for a metric that does not exist"
            states = server.rules()
            assert {name: (state["health"], state.get("lastError")) for name, state in states.items()} == {
                rule["alert"]: ("ok", None) for rule in RULES
            }
            quiet = {"DigitsDown", "DigitsReloadFailing", "DigitsVersionsDiffer", "DigitsKeyFile", "DigitsLogLosing"}
            deadline = time.monotonic() + SECONDS  # a scrape that took too long makes DigitsDown pending
            while any(states[name]["state"] != "inactive" for name in quiet) and time.monotonic() < deadline:
                time.sleep(0.5)
                states = server.rules()
            assert {name: states[name]["state"] for name in quiet} == dict.fromkeys(quiet, "inactive")
            assert_the_series_are_right(server)
            documented_metrics_exist(server)
        metrics = requests.get(f"{first}/metrics", headers={"authorization": f"Bearer {KEY}"}, timeout=SECONDS).content
    checked = subprocess.run(["promtool", "check", "metrics"], input=metrics, capture_output=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr  # names, units, types, help


def numbers(samples: list[dict[str, Any]]) -> list[float]:
    """The values of samples, without NaN: a share of nothing."""
    values = [float(sample["value"][1]) for sample in samples]
    return [value for value in values if value == value]


def assert_the_series_are_right(server: Prometheus) -> None:
    """What the load has done is what the metrics say."""
    reasons = {row["metric"]["reason"] for row in server.query("sum by (reason) (digits_rejected_requests_total) > 0")}
    assert reasons == {"unsupported_image", "rate_limited", "database_unavailable"}
    assert {row["metric"]["reason"] for row in server.query("digits_rejected_requests_total")} == set(ErrorCode)
    counted = 'sum(digits_requests_total{route="/predict", status="415"})'
    assert eventually(server, f'{counted} == sum(digits_rejected_requests_total{{reason="unsupported_image"}})')
    assert eventually(server, "sum(digits_requests_in_flight) == 0")
    models = {
        (row["metric"]["model"], row["metric"]["class"])
        for row in server.query("sum by (model, class) (digits_predictions_total)")
    }
    assert {name for name, _ in models} == {"mlp", "cnn"} and {digit for _, digit in models} <= set("0123456789")
    blank = server.query('sum by (reason) (digits_uncertain_predictions_total{reason="blank"})')
    assert numbers(blank)


def eventually(server: Prometheus, condition: str) -> bool:
    """Whether a condition holds after one of the next scrapes."""
    deadline = time.monotonic() + SECONDS
    while not (holds := bool(server.query(condition))) and time.monotonic() < deadline:
        time.sleep(0.5)
    return holds


def documented_metrics_exist(server: Prometheus) -> None:
    """Each metric that the guide names is one that Prometheus has."""
    guide = (REPOSITORY / "docs" / "operations.md").read_text()
    names = requests.get(f"{server.url}/api/v1/label/__name__/values", timeout=SECONDS).json()["data"]
    known = {*names, *(name.rpartition("_")[0] for name in names)}
    assert set(re.findall(r"`(digits_[a-z_]+)`", guide)) <= known


def metric_selectors(expression: object) -> Iterator[Any]:
    """Yields all selectors of a parsed PromQL expression."""
    if isinstance(expression, promql_parser.VectorSelector):
        yield expression
    for part in ("lhs", "rhs", "expr", "vector_selector"):
        if (inner := getattr(expression, part, None)) is not None:
            yield from metric_selectors(inner)
    for argument in getattr(expression, "args", None) or []:
        yield from metric_selectors(argument)
