"""JSON logs, Prometheus metrics and OpenTelemetry traces."""
