"""The application behind `digits`: its commands and global options."""

from typing import Annotated, NoReturn

import typer

from pipeline.cli import models, operations, service
from pipeline.console import run_app, say
from recognition import __version__

app = typer.Typer(rich_markup_mode=None, invoke_without_command=True, context_settings={"max_content_width": 120})
for group in (service, models, operations):
    app.add_typer(group.app)


def print_version(wanted: bool) -> None:
    if wanted:
        say(f"digits {__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Recognise handwritten digits: serve and query models, choose the champion, monitor a deployment.

    Call it in the project's folder or in a folder below it.
    """
    if context.invoked_subcommand is None:
        say(context.get_help())


def run() -> NoReturn:
    """Run the command that the command line names and exit with its status."""
    run_app(app)
