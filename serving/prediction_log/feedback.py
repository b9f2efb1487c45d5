"""Users' labels for logged answers."""

import time

import anyio

from serving.errors import ErrorCode, RequestError, too_many
from serving.prediction_log.log import Ambiguous, NotLogged, PredictionLog, Unreachable
from serving.prediction_log.request_ids import RequestIds, UnknownRequestId, age, is_signed

RECENT_SECONDS = 5.0  # maximum time until an answer, also of another worker, is in the database
POLL_SECONDS = 0.1
MAX_THREADS = 4  # of a worker that wait for the database at the same time
MAX_WAITING = 64  # labels that a worker stores at the same time


class Feedback:
    """Stores labels for logged answers."""

    def __init__(self, ids: RequestIds) -> None:
        self._ids = ids
        self._limiter = anyio.CapacityLimiter(MAX_THREADS)
        self._waiting = 0

    async def store(self, log: PredictionLog | None, answer_id: str, label: int | None, client: str) -> None:
        """Stores a label; None withdraws it. Raises RequestError 404, 422, 429 or 503."""
        if log is None:
            message = "nothing is being logged here, so there is no answer to label"
            raise RequestError(404, ErrorCode.LOGGING_OFF, message)
        message = f"no answer {answer_id[:60]!r} is logged; send its request_id"
        unknown = RequestError(404, ErrorCode.UNKNOWN_REQUEST_ID, message)
        try:
            request_id, position = self._ids.parse(answer_id)
        except UnknownRequestId:
            raise unknown from None
        if self._waiting >= MAX_WAITING:
            raise too_many("labels")
        self._waiting += 1
        end = time.monotonic()
        if is_signed(request_id):  # others may be invented: no label waits for them
            end += RECENT_SECONDS - max(age(request_id), 0)
        try:
            while True:
                try:
                    arguments = request_id, position, label, client
                    await anyio.to_thread.run_sync(log.label, *arguments, limiter=self._limiter)
                    return
                except NotLogged:
                    if time.monotonic() >= end:
                        raise unknown from None
                await anyio.sleep(POLL_SECONDS)
        except Ambiguous as error:
            message = f"that request had several answers; name one: {answer_id}-0 to {answer_id}-{error.args[0] - 1}"
            raise RequestError(422, ErrorCode.AMBIGUOUS_REQUEST_ID, message) from None
        except Unreachable:
            message = "labels cannot be kept now, the database does not answer; try again later"
            raise RequestError(503, ErrorCode.DATABASE_UNAVAILABLE, message, {"retry-after": "10"}) from None
        finally:
            self._waiting -= 1
