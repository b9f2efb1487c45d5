"""Upper limit for every server: an ASGI application that reads the body and returns a constant of the usual size."""

from typing import Any

ANSWER = b'{"results":[' + b" " * 400 + b"]}"
START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(ANSWER)).encode())],
}


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Reads the request and sends the constant response."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send(START)
    await send({"type": "http.response.body", "body": ANSWER})
