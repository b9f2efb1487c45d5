"""Console output of all commands: lines, progress bars and one-line errors; libraries print nothing."""

import multiprocessing
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.progress import Progress

from pipeline.paths import DVC_FOLDERS

WRONG_ARGUMENTS, INTERRUPTED = 2, 130  # exit statuses
PROGRAMS = {  # that a command starts by name, and how to get them
    "dvc": "activate the environment with: source .venv/bin/activate (make setup creates it)",
    "git": "install it, for example with: apt-get install git",
}
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]

QUIET_LIBRARIES = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "1",
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",  # several processes may share a GPU
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "DO_NOT_TRACK": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # skip all messages of nodes, which go to standard output
    "BENTOML_DO_NOT_TRACK": "true",
    "GX_ANALYTICS_ENABLED": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}
for _name, _value in QUIET_LIBRARIES.items():  # at import time, because the libraries read them when imported
    os.environ.setdefault(_name, _value)


class PipelineError(Exception):
    """An error that the user can fix. Each line names the problem, the expected value and the remedy."""


def run_main(main: Callable[..., Any], error_status: int = 1) -> NoReturn:
    """Run `main` with the arguments of the command line, which its signature defines, and exit with its status.

    See `run_app` for errors.
    """
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(main)
    run_app(app, error_status)


def run_app(app: typer.Typer, error_status: int = 1) -> NoReturn:
    """Run a command-line application and exit with the status that its command returns (None: 0).

    Errors that the user can fix print one line each, without a traceback: a PipelineError and a file that is missing
    or cannot be used exit with `error_status`, wrong arguments with 2, Ctrl-C with 130.
    """
    try:
        status = app(standalone_mode=False)
    except PipelineError as error:
        fail(str(error), error_status)
    except FileNotFoundError as error:
        fail(describe_missing(error), error_status)
    except OSError as error:
        if error.filename is None:
            raise
        fail(f"{error.filename} cannot be used: {error.strerror}", error_status)
    except typer.TyperException as error:
        hint = "; --help shows the usage" if error.exit_code == WRONG_ARGUMENTS else ""
        fail(" ".join(error.format_message().split()).rstrip(".") + hint, error.exit_code)
    except typer.Abort:  # the end of standard input at a question
        raise SystemExit(INTERRUPTED) from None
    raise SystemExit(status or 0)  # Typer returns 130 after Ctrl-C


def fail(message: str, status: int) -> NoReturn:
    """Print each line of an error message and exit."""
    for line in message.splitlines():
        print(f"error: {line}", file=sys.stderr)
    raise SystemExit(status) from None


def describe_missing(error: FileNotFoundError) -> str:
    """Returns what is missing, a program or a file, and the remedy."""
    name = str(error.filename)
    if name in PROGRAMS:
        return f"the program {name} is not on PATH; {PROGRAMS[name]}"
    made_by_dvc = any(Path(name).absolute().is_relative_to(folder) for folder in DVC_FOLDERS)
    return f"{name} is missing" + ("; create it with: dvc repro" if made_by_dvc else "")


def say(line: str) -> None:
    """Print one line and flush, which keeps the order of lines in logs."""
    print(line, flush=True)


def text_to_stderr(as_json: bool) -> AbstractContextManager[object]:
    """With `as_json`, text goes to standard error, which leaves standard output to the JSON."""
    return redirect_stdout(sys.stderr) if as_json else nullcontext()


def progress(*columns: Any) -> Progress:
    """Returns a progress display for terminals; it prints nothing to logs and in processes of `parallel.run`."""
    stderr = os.fdopen(os.dup(2), "w")  # a copy, because `hide_native_output` redirects file descriptor 2
    disable = not stderr.isatty() or multiprocessing.parent_process() is not None
    return Progress(*columns, console=Console(file=stderr), disable=disable, transient=True)
