"""Logs as JSON lines on standard output, including those of BentoML and uvicorn. They contain no pixels and no keys."""

import logging
import sys

from pythonjsonlogger.json import JsonFormatter

log = logging.getLogger("digits")


def configure_logs(level: str) -> None:
    """Sends messages of at least `level` from all loggers to standard output as JSON."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        JsonFormatter(
            ["levelname", "name", "message"],
            rename_fields={"levelname": "level", "name": "logger", "message": "event"},
            timestamp="time",
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel("WARNING")
    for name in list(root.manager.loggerDict):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
    for name in ("digits", "bentoml"):
        logging.getLogger(name).setLevel(level.upper())
    logging.getLogger("uvicorn.access").propagate = False  # RequestContextMiddleware logs requests
