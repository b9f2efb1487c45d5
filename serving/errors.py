"""Errors of the HTTP interface: a status, a stable code, and a message that says what to send instead."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import orjson
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send


class ErrorCode(StrEnum):
    """Stable codes for programs. New ones may be added; none changes its meaning."""

    EMPTY_BODY = "empty_body"
    INCOMPLETE_BODY = "incomplete_body"
    INVALID_JSON = "invalid_json"
    INVALID_MULTIPART = "invalid_multipart"
    UNAUTHORIZED = "unauthorized"
    HOST_NOT_ALLOWED = "host_not_allowed"
    ORIGIN_NOT_ALLOWED = "origin_not_allowed"
    NOT_FOUND = "not_found"
    UNKNOWN_MODEL = "unknown_model"
    UNKNOWN_REQUEST_ID = "unknown_request_id"
    LOGGING_OFF = "logging_off"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    BODY_TOO_LARGE = "body_too_large"
    IMAGE_TOO_LARGE = "image_too_large"
    UNSUPPORTED_IMAGE = "unsupported_image"
    UNSUPPORTED_CONTENT_TYPE = "unsupported_content_type"
    BROKEN_IMAGE = "broken_image"
    TOO_MANY_DIGITS = "too_many_digits"
    NOT_DIGITS = "not_digits"
    TOO_MANY_IMAGES = "too_many_images"
    INVALID_PIXELS = "invalid_pixels"
    INVALID_VALUE = "invalid_value"
    UNKNOWN_FIELD = "unknown_field"
    AMBIGUOUS_REQUEST_ID = "ambiguous_request_id"
    TOO_MANY_REQUESTS = "too_many_requests"
    RATE_LIMITED = "rate_limited"
    RATES_UNAVAILABLE = "rates_unavailable"
    INTERNAL_ERROR = "internal_error"
    NOT_READY = "not_ready"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    DATABASE_UNAVAILABLE = "database_unavailable"


class RequestError(Exception):
    """A rejected request. `message` states the problem and what to send instead."""

    def __init__(self, status: int, code: ErrorCode, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, headers

    def response(self) -> "ErrorResponse":
        """The error as a response."""
        return ErrorResponse(self)


class JSONResponse(Response):
    """JSON by orjson, which is ten times as fast as the standard library."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return content if isinstance(content, bytes) else orjson.dumps(content)


class ErrorResponse(JSONResponse):
    """An error as JSON. Its code is stored in `request.state.error_code`, where the metrics find it."""

    def __init__(self, error: RequestError) -> None:
        super().__init__({"error": error.message, "code": error.code}, error.status, error.headers)
        self._code = error.code

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})["error_code"] = self._code
        await super().__call__(scope, receive, send)


def internal_error() -> RequestError:
    """An unexpected exception. The log has its traceback under the request id."""
    message = "something went wrong here; the log says what, under x-request-id"
    return RequestError(500, ErrorCode.INTERNAL_ERROR, message)


def too_many(what: str) -> RequestError:
    """A limit of the service, not of the client, that is free again within a second."""
    message = f"too many {what} at once; try again in a second"
    return RequestError(429, ErrorCode.TOO_MANY_REQUESTS, message, {"retry-after": "1"})


async def on_request_error(request: Request, error: Exception) -> Response:
    """Responds to a RequestError."""
    assert isinstance(error, RequestError)
    return error.response()


async def on_http_exception(request: Request, error: Exception) -> Response:
    """Responds to an unknown path or a wrong method."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another method")
        message = f"{request.method[:20]} is not possible here; use {allowed}"
        return RequestError(405, ErrorCode.METHOD_NOT_ALLOWED, message, error.headers).response()
    message = f"there is no {request.url.path[:100]}; /docs.json lists what there is"
    return RequestError(404, ErrorCode.NOT_FOUND, message).response()


async def on_invalid_parameter(request: Request, error: Exception) -> Response:
    """Responds to a query parameter with a wrong type."""
    assert isinstance(error, RequestValidationError)
    problem = error.errors()[0]
    message = f"`{problem['loc'][-1]}` is {str(problem.get('input'))[:60]!r}: {problem['msg'].lower()}"
    return RequestError(422, ErrorCode.INVALID_VALUE, message).response()


async def on_failure(request: Request, error: Exception) -> Response:
    """Responds to an unexpected exception."""
    return internal_error().response()
