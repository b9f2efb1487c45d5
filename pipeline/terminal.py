"""What a person sees of a stage: one-line errors, progress in a terminal only, libraries told to be quiet."""

import os
import sys
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.progress import Progress

CHATTER = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "1",
    "CUDA_VISIBLE_DEVICES": "-1",  # results are promised for the processor; this also silences the search for a GPU
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "DO_NOT_TRACK": "true",
    "BENTOML_DO_NOT_TRACK": "true",
    "GX_ANALYTICS_ENABLED": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}


for _name, _value in CHATTER.items():  # on import, because these libraries read them on theirs
    os.environ.setdefault(_name, _value)


class PipelineError(Exception):
    """Something the user can put right: one line a finding, with what is wrong, what was expected, what to do."""


def stage(main: Callable[..., Any], status: int = 1) -> None:
    """Run `main` on the command line's arguments; a `PipelineError` becomes its message and exit status `status`."""
    try:
        main(*sys.argv[1:])
    except PipelineError as error:
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr)
        raise SystemExit(status) from None
    except FileNotFoundError as error:
        print(f"error: {error.filename} is missing; the stages before this one make it: dvc repro", file=sys.stderr)
        raise SystemExit(status) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def say(line: str) -> None:
    """Print one plain line at once, so that a log shows it in its place."""
    print(line, flush=True)


def progress(*columns: Any) -> Progress:
    """A progress display on a terminal, nothing in a log."""
    own = os.fdopen(os.dup(2), "w")  # still the terminal when `silence.quiet` holds file descriptor 2
    return Progress(*columns, console=Console(file=own), disable=not own.isatty(), transient=True)
