"""Commands for a deployment: monitoring, corrections and stored data. Each imports its module when it runs."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.project import in_project
from pipeline.console import AsJson, say, text_to_stderr
from pipeline.paths import REPORTS

app = typer.Typer(rich_markup_mode=None)


@app.command(epilog="Example: digits monitor --hours 48")
@in_project
def monitor(
    hours: Annotated[float | None, typer.Option(help="Hours to look back. Default: monitor.hours.")] = None,
    as_json: AsJson = False,
) -> int:
    """Check logged requests for drift from the training data.

    Writes reports/monitor.html. The exit status tells whether there is drift; docs/operations.md lists the values.
    """
    from pipeline.monitoring import monitor

    with text_to_stderr(as_json):
        status = monitor.main(hours)
    if as_json:
        print_report("monitor.json")
    return status


@app.command(epilog="Example: digits feedback")
@in_project
def feedback(as_json: AsJson = False) -> None:
    """Export accepted corrections as training data."""
    from pipeline.monitoring import feedback

    with text_to_stderr(as_json):
        feedback.main()
    if as_json:
        print_report("feedback.json")


@app.command(epilog="Example: digits review --accept 12 --reject 15")
@in_project
def review(
    list_only: Annotated[bool, typer.Option("--list", help="List the corrections and exit.")] = False,
    accept: Annotated[list[int] | None, typer.Option(metavar="ID", help="Accept; may be repeated.")] = None,
    reject: Annotated[list[int] | None, typer.Option(metavar="ID", help="Reject; may be repeated.")] = None,
) -> None:
    """Accept or reject corrections that need a review. Without options, ask for each."""
    from pipeline.monitoring import review

    review.main(list_only, accept, reject)


@app.command(epilog="Example: digits erase 01a1f95ae08d08df0bce72ccca7c85ac5d0c47e1b39a6f28")
@in_project
def erase(
    request_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="The request_id of an answer.")],
) -> None:
    """Delete the stored data of requests.

    These are pictures, predictions, labels and reviews."""
    from pipeline.monitoring import erase

    erase.main(request_ids)


@app.command(epilog="Example: DIGITS_DATABASE_URL=postgresql://user@host/digits digits migrate")
@in_project
def migrate() -> None:
    """Bring the database to the current schema. Other commands and the service do this when they open it."""
    from pipeline import tracking
    from records import database

    tracking.open_database()
    say(f"{tracking.database_url().render_as_string()}: schema {database.HEAD}")


@app.command(epilog="Example: digits backup /backups/today; later: digits backup --restore /backups/today")
@in_project
def backup(
    folder: Annotated[Path, typer.Argument(help="A new folder, or with --restore a saved one.")],
    restore: Annotated[bool, typer.Option("--restore", help="Restore the stores. Stop all services first.")] = False,
) -> None:
    """Save or restore the stores of a deployment.

    They are the registry, predictions, corrections, artifacts and Bentos."""
    from pipeline.deployment import backup

    backup.main(folder, restore)


def print_report(name: str) -> None:
    say((REPORTS / name).read_text(encoding="utf-8").rstrip())
