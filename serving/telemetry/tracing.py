"""OpenTelemetry traces. Off unless `OTEL_TRACES_EXPORTER` names an exporter: a trace takes as long as an answer.

All variables are OpenTelemetry's own (https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables).
The SDK and the exporters read the others: OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER, OTEL_EXPORTER_OTLP_ENDPOINT, ...
"""

import os
from importlib.metadata import entry_points
from typing import Any

from starlette.types import ASGIApp

VARIABLE = "OTEL_TRACES_EXPORTER"  # names separated by commas
PROTOCOL_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
OTLP = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}  # exporter by protocol; the first is the default
NOT_TRACED = "livez,readyz,metrics"


def tracing_middleware(service: str) -> tuple[type[ASGIApp], dict[str, Any]] | None:
    """The middleware that adds one span per request, and its options; None if no exporter is set.

    `service` is the name of the service unless OpenTelemetry's variables set another.
    Raises ValueError if an exporter is not installed.
    """
    names = [name for part in os.environ.get(VARIABLE, "").split(",") if (name := part.strip()) not in ("", "none")]
    if not names:
        return None
    exporters = [find_exporter(name) for name in names]
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    named = "service.name" in OTELResourceDetector().detect().attributes
    provider = TracerProvider(resource=Resource.create({} if named else {"service.name": service}))
    for exporter in exporters:
        provider.add_span_processor(BatchSpanProcessor(exporter()))
    return OpenTelemetryMiddleware, {"excluded_urls": NOT_TRACED, "tracer_provider": provider}


def find_exporter(name: str) -> Any:
    """The class of an installed exporter. `otlp` stands for the exporter of the protocol that the variables name.

    Raises ValueError if it is not installed.
    """
    protocol = next((value for variable in PROTOCOL_VARIABLES if (value := os.environ.get(variable))), next(iter(OTLP)))
    wanted = OTLP.get(protocol, protocol) if name == "otlp" else name
    found = entry_points(group="opentelemetry_traces_exporter", name=wanted)
    if not found:
        raise ValueError(
            f"{VARIABLE} is {name!r} and there is no exporter {wanted}; expected none, console, or one whose package "
            f"is installed: `otlp` needs opentelemetry-exporter-otlp-proto-http, or with {PROTOCOL_VARIABLES[1]}=grpc "
            "opentelemetry-exporter-otlp-proto-grpc"
        )
    return next(iter(found)).load()
