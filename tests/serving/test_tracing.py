"""Traces are off until OpenTelemetry's own variable names an exporter."""

import os
import subprocess
import sys

import pytest

from serving.telemetry.tracing import VARIABLE, tracing_middleware

ASK = """
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
from serving.telemetry.tracing import tracing_middleware
middleware, options = tracing_middleware("digits")
client = TestClient(middleware(PlainTextResponse("answer"), **options))
client.get("/somewhere"), client.get("/readyz")
"""


def test_without_an_exporter_nothing_stands_before_the_application(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("", "none"):
        monkeypatch.setenv(VARIABLE, value)
        assert tracing_middleware("digits") is None


def test_an_exporter_that_is_not_there_is_an_error_that_says_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "pigeon")
    with pytest.raises(ValueError, match=r"'pigeon'.*opentelemetry-exporter-otlp-proto-http"):
        tracing_middleware("digits")


def test_each_request_but_probes_becomes_a_span() -> None:
    environment = {**os.environ, VARIABLE: "console"}
    told = subprocess.run([sys.executable, "-c", ASK], env=environment, check=True, capture_output=True, text=True)
    assert '"service.name": "digits"' in told.stdout and "/somewhere" in told.stdout
    assert "readyz" not in told.stdout
