"""Traces are off until OpenTelemetry's own variables name an exporter, and follow its other variables."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from serving.telemetry.tracing import VARIABLE, tracing_middleware
from tests.conftest import REPOSITORY

ASK = """
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
from serving.telemetry.tracing import tracing_middleware
middleware, options = tracing_middleware("digits")
client = TestClient(middleware(PlainTextResponse("answer"), **options))
client.get("/somewhere"), client.get("/readyz")
"""


def ask(**variables: str) -> str:
    """Two requests to a traced application; what it prints."""
    environment = {**os.environ, **variables}
    done = subprocess.run([sys.executable, "-c", ASK], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def spans(printed: str) -> list[dict[str, Any]]:
    """The spans that the exporter `console` printed."""
    decoder, found = json.JSONDecoder(), []
    while printed := printed.lstrip():
        span, end = decoder.raw_decode(printed)
        found.append(span)
        printed = printed[end:]
    return found


EXPORTER = """
from opentelemetry.sdk.trace.export import ConsoleSpanExporter
class HttpExporter(ConsoleSpanExporter):
    def export(self, spans):
        print("by otlp:", *(span.name for span in spans))
"""


@pytest.fixture
def otlp_package(tmp_path: Path) -> str:
    """A folder with an installed package that has OpenTelemetry's name for the exporter of OTLP over HTTP."""
    (tmp_path / "stand_in.py").write_text(EXPORTER)
    described = tmp_path / "stand_in-1.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: stand-in\nVersion: 1\n")
    (described / "entry_points.txt").write_text(
        "[opentelemetry_traces_exporter]\notlp_proto_http = stand_in:HttpExporter\n"
    )
    return str(tmp_path)


@pytest.mark.parametrize("value", ["", "none", " none "])
def test_without_an_exporter_nothing_stands_before_the_application(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(VARIABLE, value)
    assert tracing_middleware("digits") is None


@pytest.mark.parametrize("value", ["pigeon", "console,pigeon"])
def test_an_exporter_that_is_not_installed_is_an_error_that_names_its_package(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv(VARIABLE, value)
    with pytest.raises(ValueError, match=r"'pigeon'.*opentelemetry-exporter-otlp-proto-http"):
        tracing_middleware("digits")


@pytest.mark.parametrize("variables", [{}, {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}])
def test_otlp_is_the_exporter_of_the_protocol(otlp_package: str, variables: dict[str, str]) -> None:
    path = f"{otlp_package}:{REPOSITORY}"
    assert "by otlp: GET" in ask(**{VARIABLE: "otlp", "PYTHONPATH": path, **variables})


def test_several_exporters_receive_the_spans(otlp_package: str) -> None:
    printed = ask(**{VARIABLE: "console,otlp", "PYTHONPATH": f"{otlp_package}:{REPOSITORY}"})
    assert "by otlp: GET" in printed and '"service.name": "digits"' in printed


def test_a_protocol_without_an_exporter_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "otlp")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc")
    with pytest.raises(ValueError, match=r"no exporter otlp_proto_grpc.*opentelemetry-exporter-otlp-proto-grpc"):
        tracing_middleware("digits")


def test_each_request_but_probes_becomes_a_span() -> None:
    found = spans(ask(**{VARIABLE: "console"}))
    assert {span["resource"]["attributes"]["service.name"] for span in found} == {"digits"}
    assert {span["attributes"]["http.target"] for span in found if "http.target" in span["attributes"]} == {
        "/somewhere"
    }


@pytest.mark.parametrize(
    "variables", [{"OTEL_SERVICE_NAME": "numbers"}, {"OTEL_RESOURCE_ATTRIBUTES": "service.name=numbers"}]
)
def test_the_name_of_the_service_can_be_set(variables: dict[str, str]) -> None:
    found = spans(ask(**{VARIABLE: "console", **variables}))
    assert {span["resource"]["attributes"]["service.name"] for span in found} == {"numbers"}


def test_the_sampler_decides_which_requests_are_traced() -> None:
    assert spans(ask(**{VARIABLE: "console", "OTEL_TRACES_SAMPLER": "always_off"})) == []
