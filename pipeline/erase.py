"""`python -m pipeline.erase ID ...`: delete all that is stored of requests: pictures, answers, labels, decisions."""

from pipeline import store
from pipeline.feedback import open_database
from pipeline.terminal import PipelineError, say, stage


def main(*request_ids: str) -> None:
    if not request_ids:
        raise PipelineError("name requests by the ids that their answers carry: python -m pipeline.erase ID ...")
    whole = [request_id.partition("-")[0] for request_id in request_ids]  # ID-3 is an answer of request ID
    count = store.delete_requests(open_database(), whole)
    if not count:
        raise PipelineError(f"nothing is stored of {', '.join(request_ids)}")
    say(f"{count} rows deleted; make feedback takes their pictures out of what is learnt from")


if __name__ == "__main__":
    stage(main)
