"""ASGI middleware that limits request bodies, for the peers whose framework has none."""

from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from benchmarks.peers.work import MAX_BODY_BYTES


class BodyLimit:
    """Rejects a body whose announced or actual size exceeds the limit."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if int(announced) > MAX_BODY_BYTES:
            await JSONResponse({"error": "too large"}, 413)(scope, receive, send)
            return
        seen = 0

        async def bounded() -> Any:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > MAX_BODY_BYTES:
                raise HTTPException(413)
            return message

        await self.app(scope, bounded, send)
