"""`/feedback`: what people say an answer should have been."""

import asyncio

import anyio
from starlette.requests import Request

from serving.answers import age, parse_answer_id
from serving.prediction_log import Ambiguous, NotLogged, PredictionLog, Unreachable
from serving.requests import RequestError, read_json

HINT = 'send JSON {"request_id": "...", "label": 7}; a label of null withdraws'
RECENT_SECONDS = 5.0  # for so long an answer may be on its way into the database, from another worker too
POLL_SECONDS = 0.1
AT_ONCE = 4  # threads of a worker that may wait for the database


class Feedback:
    """Labels for logged answers."""

    def __init__(self) -> None:
        self._limiter: anyio.CapacityLimiter | None = None

    async def give(self, log: PredictionLog | None, answer_id: str, label: int | None, who: str) -> None:
        """Keep a label. Raises RequestError 404, 422 or 503."""
        if log is None:
            raise RequestError(404, "nothing is being logged here, so there is no answer to label")
        self._limiter = self._limiter or anyio.CapacityLimiter(AT_ONCE)
        wait = RECENT_SECONDS - _age(answer_id)
        end = asyncio.get_running_loop().time() + min(wait, RECENT_SECONDS)
        while True:
            try:
                await anyio.to_thread.run_sync(log.label, answer_id, label, who, limiter=self._limiter)
                return
            except NotLogged:
                if asyncio.get_running_loop().time() >= end:
                    raise RequestError(404, f"no answer {answer_id[:60]!r} is logged; send its request_id") from None
            except Ambiguous as error:
                last = f"{answer_id}-{error.args[0] - 1}"
                raise RequestError(
                    422, f"that request had several answers; name one: {answer_id}-0 to {last}"
                ) from None
            except Unreachable:
                message = "labels cannot be kept now, the database does not answer; try again later"
                raise RequestError(503, message, {"retry-after": "10"}) from None
            await asyncio.sleep(POLL_SECONDS)


async def read_feedback(request: Request, max_body_bytes: int, classes: int) -> tuple[str, int | None]:
    """Answer's id and label from a JSON body. Raises RequestError 400, 413, 415 or 422."""
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


def _age(answer_id: str) -> float:
    try:
        return age(parse_answer_id(answer_id)[0])
    except ValueError:
        return RECENT_SECONDS
