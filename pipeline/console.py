"""What a command shows in a terminal: plain lines, progress, errors in one line each; libraries are kept quiet."""

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
    "CUDA_VISIBLE_DEVICES": "-1",  # results are reproducible on the processor only; also stops the search for a GPU
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "DO_NOT_TRACK": "true",
    "BENTOML_DO_NOT_TRACK": "true",
    "GX_ANALYTICS_ENABLED": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}


for _name, _value in QUIET_LIBRARIES.items():  # on import, because these libraries read them on theirs
    os.environ.setdefault(_name, _value)


class PipelineError(Exception):
    """An error that the user can fix. Each line says what is wrong, what was expected and what to do."""


def run_main(main: Callable[..., Any], error_status: int = 1) -> None:
    """Run a stage's `main` with the command line's arguments, or a click command, and exit with its status.

    A PipelineError becomes its message, without a traceback, and the exit status `error_status`.
    """
    try:
        status = main.main(standalone_mode=False) if isinstance(main, click.Command) else main(*sys.argv[1:])
    except PipelineError as error:
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr)
        raise SystemExit(error_status) from None
    except FileNotFoundError as error:
        print(f"error: {error.filename} is missing; an earlier stage makes it: dvc repro", file=sys.stderr)
        raise SystemExit(error_status) from None
    except click.ClickException as error:
        error.show()
        raise SystemExit(error.exit_code) from None
    except (KeyboardInterrupt, click.Abort):
        raise SystemExit(130) from None
    raise SystemExit(status or 0)


def say(line: str) -> None:
    """Print one line and flush, so that it appears in its place in a log."""
    print(line, flush=True)


def progress(*columns: Any) -> Progress:
    """A progress display in a terminal; nothing in a log."""
    own = os.fdopen(os.dup(2), "w")  # still the terminal while `hide_native_output` redirects file descriptor 2
    return Progress(*columns, console=Console(file=own), disable=not own.isatty(), transient=True)
