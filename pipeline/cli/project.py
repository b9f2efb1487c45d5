"""What several commands of `digits` share: the check for a project, and options."""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, ParamSpec, TypeVar

import typer

from pipeline.console import PipelineError
from pipeline.paths import ROOT

P = ParamSpec("P")
R = TypeVar("R")
Port = Annotated[int, typer.Option(min=1, max=65535, help="TCP port to listen on.")]


def in_project(command: Callable[P, R]) -> Callable[P, R]:
    """Make a command raise PipelineError in folders outside the project."""

    @functools.wraps(command)
    def checked(*arguments: P.args, **options: P.kwargs) -> R:
        folder = Path.cwd()
        if not folder.is_relative_to(ROOT):
            raise PipelineError(
                f"{folder} is in no project: neither it nor a parent folder has the file pipeline/cli/commands.py; "
                "change to the folder of a project"
            )
        return command(*arguments, **options)

    return checked


def use_model_folder() -> None:
    """Hand models over to a running service in the folder `served`, unless `DIGITS_MODEL_DIR` names another."""
    os.environ.setdefault("DIGITS_MODEL_DIR", "served")
