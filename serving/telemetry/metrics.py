"""The service's Prometheus metrics. Import this module in a worker process, where BentoML has set their folder.

Workers write their values to files in `PROMETHEUS_MULTIPROC_DIR`; any worker answers `/metrics` for all of them.
"""

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

REQUESTS = Counter("digits_requests", "Requests answered", ["route", "status"])
REQUEST_SECONDS = Histogram(
    "digits_request_seconds",
    "From the first byte of a request to the last of its answer",
    ["route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
REQUESTS_IN_FLIGHT = Gauge(
    "digits_requests_in_flight", "Requests that are being answered, without probes", multiprocess_mode="livesum"
)
REJECTED = Counter("digits_rejected_requests", "Requests answered with an error, by its code", ["reason"])

PREDICTIONS = Counter("digits_predictions", "Predictions for single pictures", ["model", "version", "class"])
UNCERTAIN_PREDICTIONS = Counter(
    "digits_uncertain_predictions", "Predictions marked as uncertain", ["model", "version", "reason"]
)
MODEL_SECONDS = Histogram(
    "digits_model_seconds",
    "Duration of a call of a model, for all pictures of one or several requests",
    ["model"],
    buckets=(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1),
)
PREPROCESSING_SECONDS = Histogram(
    "digits_preprocessing_seconds",
    "From the bytes of a picture to the input of the model; a number is also split into digits",
    ["content"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)
DIGIT_SECONDS, NUMBER_SECONDS = PREPROCESSING_SECONDS.labels("digit"), PREPROCESSING_SECONDS.labels("number")

SERVED_VERSION = Gauge(
    "digits_served_version", "Version of each served model, by worker", ["model"], multiprocess_mode="liveall"
)
CHAMPION_VERSION = Gauge(
    "digits_champion_version", "Version of the served champion, by worker", multiprocess_mode="liveall"
)
RELOADS = Counter("digits_model_reloads", "Replacements of the served models without a restart")
RELOAD_FAILURES = Counter("digits_model_reload_failures", "Attempts to load promoted models that failed")
RELOAD_PENDING = Gauge(
    "digits_model_reload_pending", "1 while promoted models cannot be loaded", multiprocess_mode="livemax"
)
KEY_FILE_FAILURES = Counter("digits_key_file_failures", "Changes of the key file that could not be read")
RATE_FAILURES = Counter("digits_rate_failures", "Attempts to count a request in Redis that failed")

LOG_WRITTEN = Counter("digits_log_pictures", "Pictures whose answers were written to the prediction log")
LOG_LOST = Counter("digits_log_lost_pictures", "Pictures whose answers could not be logged", ["reason"])
LOST_FULL, LOST_REFUSED = LOG_LOST.labels("full"), LOG_LOST.labels("refused")  # created now, so that they show 0
SHADOW_FAILURES = Counter("digits_shadow_failures", "Requests that the challenger could not answer for the log")
LOG_FAILURES = Counter("digits_log_failures", "Attempts to use the prediction log's database that failed")
LOG_WAITING = Gauge("digits_log_waiting_pictures", "Pictures that wait to be logged", multiprocess_mode="livesum")

MONITOR_EFFECT = Gauge(
    "digits_monitor_effect", "Effect size at the monitor's last run", ["figure"], multiprocess_mode="mostrecent"
)
MONITOR_THRESHOLD = Gauge(
    "digits_monitor_threshold",
    "From which effect size on the monitor alarms",
    ["figure"],
    multiprocess_mode="mostrecent",
)
MONITOR_STATUS = Gauge(
    "digits_monitor_status",
    "The monitor's last run: 0 as in training, 1 drift, 2 too little data",
    multiprocess_mode="mostrecent",
)
MONITOR_TIME = Gauge(
    "digits_monitor_time_seconds", "When the monitor ran last (Unix time)", multiprocess_mode="mostrecent"
)


def exposition() -> bytes:
    """All workers' metrics in Prometheus' text format. Reads files, so call it in a thread."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest()
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
