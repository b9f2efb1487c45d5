"""OpenTelemetry traces. Off unless `OTEL_TRACES_EXPORTER` names an exporter: a trace takes as long as an answer."""

import os
from importlib.metadata import entry_points
from typing import Any

from starlette.types import ASGIApp

VARIABLE = "OTEL_TRACES_EXPORTER"  # standard, like OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_TRACES_SAMPLER, ...
NOT_TRACED = "livez,readyz,metrics"


def tracing_middleware(service: str) -> tuple[type[ASGIApp], dict[str, Any]] | None:
    """The middleware that adds one span per request, and its options; None if no exporter is set.

    Exporters are `console`, or `otlp` if its package is installed. Raises ValueError if the exporter is not installed.
    """
    name = os.environ.get(VARIABLE, "") or "none"
    if name == "none":
        return None
    found = [entry for entry in entry_points(group="opentelemetry_traces_exporter") if entry.name == name]
    if not found:
        raise ValueError(
            f"{VARIABLE} is {name!r} and no such exporter is installed; expected none, console, or the name of one: "
            "`otlp` comes with the package opentelemetry-exporter-otlp-proto-http"
        )
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(BatchSpanProcessor(found[0].load()()))
    return OpenTelemetryMiddleware, {"excluded_urls": NOT_TRACED, "tracer_provider": provider}
