"""Bounds the request bodies of BentoML's own API routes, which would read a body of any size."""

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.api.request_bodies import read_json_body
from serving.errors import RequestError
from serving.settings import Settings


class BodyLimitMiddleware:
    """Reads the bodies of `paths` within the limits of the other JSON routes, then passes them on."""

    def __init__(self, app: ASGIApp, settings: Settings, paths: frozenset[str]) -> None:
        self._app, self._limit, self._paths = app, settings.max_body_bytes, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"] not in self._paths:
            await self._app(scope, receive, send)
            return
        try:
            body = await read_json_body(Request(scope, receive), self._limit, "send the arguments as JSON")
        except RequestError as error:
            await error.response()(scope, receive, send)
            return
        waiting = [body]

        async def replay() -> Message:
            return {"type": "http.request", "body": waiting.pop()} if waiting else await receive()

        await self._app(scope, replay, send)
