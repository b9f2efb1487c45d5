"""`/feedback`: users' labels for answers."""

import time

import anyio
from starlette.requests import Request

from serving.answers import age, parse_answer_id
from serving.prediction_log import Ambiguous, NotLogged, PredictionLog, Unreachable
from serving.requests import RequestError, read_json

HINT = 'send JSON {"request_id": "...", "label": 7}; a label of null withdraws'
RECENT_SECONDS = 5.0  # maximum time until an answer, also of another worker, is in the database
POLL_SECONDS = 0.1
MAX_THREADS = 4  # of a worker that wait for the database at the same time


class Feedback:
    """Stores labels for logged answers."""

    def __init__(self) -> None:
        self._limiter = anyio.CapacityLimiter(MAX_THREADS)

    async def give(self, log: PredictionLog | None, answer_id: str, label: int | None, client: str) -> None:
        """Stores a label; None withdraws it. Raises RequestError 404, 422 or 503."""
        if log is None:
            raise RequestError(404, "nothing is being logged here, so there is no answer to label")
        unknown = RequestError(404, f"no answer {answer_id[:60]!r} is logged; send its request_id")
        try:
            wait = RECENT_SECONDS - age(parse_answer_id(answer_id)[0])
        except ValueError:
            raise unknown from None
        end = time.monotonic() + min(wait, RECENT_SECONDS)
        while True:
            try:
                await anyio.to_thread.run_sync(log.label, answer_id, label, client, limiter=self._limiter)
                return
            except NotLogged:
                if time.monotonic() >= end:
                    raise unknown from None
            except Ambiguous as error:
                ids = f"{answer_id}-0 to {answer_id}-{error.args[0] - 1}"
                raise RequestError(422, f"that request had several answers; name one: {ids}") from None
            except Unreachable:
                message = "labels cannot be kept now, the database does not answer; try again later"
                raise RequestError(503, message, {"retry-after": "10"}) from None
            await anyio.sleep(POLL_SECONDS)


async def read_feedback(request: Request, max_body_bytes: int, classes: int) -> tuple[str, int | None]:
    """Reads the answer's id and the label from a JSON body. Raises RequestError 400, 413, 415 or 422."""
    content, _ = await read_json(request, max_body_bytes, HINT)
    if not isinstance(content, dict) or content.keys() != {"request_id", "label"}:
        raise RequestError(422, f"expected the fields request_id and label; {HINT}")
    answer_id, label = content["request_id"], content["label"]
    if not isinstance(answer_id, str):
        raise RequestError(422, f"`request_id` is not a text; {HINT}")
    if isinstance(label, float) and label.is_integer():  # JSON has one kind of number
        label = int(label)
    if label is not None and (type(label) is not int or not 0 <= label < classes):
        raise RequestError(422, f"`label` is {str(label)[:20]!r}, expected 0 to {classes - 1} or null")
    return answer_id, label
