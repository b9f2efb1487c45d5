"""Console output of all commands: lines, progress bars and one-line errors; libraries print nothing."""

import os
import sys
from collections.abc import Callable
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress

QUIET_LIBRARIES = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "1",
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",  # several processes may share a GPU
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "DO_NOT_TRACK": "true",
    "BENTOML_DO_NOT_TRACK": "true",
    "GX_ANALYTICS_ENABLED": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}
for _name, _value in QUIET_LIBRARIES.items():  # at import time, because the libraries read them when imported
    os.environ.setdefault(_name, _value)


class PipelineError(Exception):
    """An error that the user can fix. Each line names the problem, the expected value and the remedy."""


def run_main(main: Callable[..., Any], error_status: int = 1) -> None:
    """Run a click command, or a stage's `main` with the command-line arguments, and exit with its status.

    A PipelineError prints its message without a traceback and exits with `error_status`.
    """
    try:
        status = main.main(standalone_mode=False) if isinstance(main, click.Command) else main(*sys.argv[1:])
    except PipelineError as error:
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr)
        raise SystemExit(error_status) from None
    except FileNotFoundError as error:
        print(f"error: {error.filename} is missing; create it with: dvc repro", file=sys.stderr)
        raise SystemExit(error_status) from None
    except click.ClickException as error:
        error.show()
        raise SystemExit(error.exit_code) from None
    except (KeyboardInterrupt, click.Abort):
        raise SystemExit(130) from None
    raise SystemExit(status or 0)


def say(line: str) -> None:
    """Print one line and flush, which keeps the order of lines in logs."""
    print(line, flush=True)


def progress(*columns: Any) -> Progress:
    """Returns a progress display for terminals; it prints nothing to logs."""
    stderr = os.fdopen(os.dup(2), "w")  # a copy, because `hide_native_output` redirects file descriptor 2
    return Progress(*columns, console=Console(file=stderr), disable=not stderr.isatty(), transient=True)
