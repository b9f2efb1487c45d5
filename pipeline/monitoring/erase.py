"""`python -m pipeline.monitoring.erase ID ...`: deletes pictures, predictions, labels and reviews of requests."""

import click

from pipeline.console import PipelineError, run_main, say
from pipeline.tracking import open_database
from records import database


@click.command()
@click.argument("request_ids", nargs=-1, required=True, metavar="ID...")
def main(request_ids: tuple[str, ...]) -> None:
    """Delete all stored data of the requests with these ids. The id is the `request_id` of the answer."""
    requests = [request_id.partition("-")[0] for request_id in request_ids]  # ID-3 is a picture of request ID
    count = database.delete_requests(open_database(), requests)
    if not count:
        raise PipelineError(f"no data is stored for {', '.join(request_ids)}")
    say(f"{count} rows deleted; run make feedback to remove the pictures from the training data")


if __name__ == "__main__":
    run_main(main)
