"""`python -m pipeline.monitoring.erase ID ...`: deletes pictures, answers, labels and reviews of the given requests."""

from pipeline.console import PipelineError, run_main, say
from pipeline.monitoring.feedback import open_database
from records import database


def main(*request_ids: str) -> None:
    if not request_ids:
        raise PipelineError(
            "name requests by the ids that their answers carry: python -m pipeline.monitoring.erase ID ..."
        )
    whole = [request_id.partition("-")[0] for request_id in request_ids]  # ID-3 is an answer of request ID
    count = database.delete_requests(open_database(), whole)
    if not count:
        raise PipelineError(f"nothing is stored of {', '.join(request_ids)}")
    say(f"{count} rows deleted; make feedback takes their pictures out of what is learnt from")


if __name__ == "__main__":
    run_main(main)
