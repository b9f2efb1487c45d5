"""FastAPI as its documentation would have it: a pydantic body, an `UploadFile`, the body bounded by a middleware."""

from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, File, HTTPException, UploadFile
from fastapi.responses import JSONResponse

from benchmarks.peers.work import MAX_BODY_BYTES, Pixels, load, results
from recognition.decoding import ImageError, decode_image
from recognition.preprocessing import to_digit

MODEL = load()
app = FastAPI()


class BodyLimit:
    """Refuse a body that announces, or turns out to have, too many bytes."""

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


app.add_middleware(BodyLimit)


@app.get("/readyz")
async def readyz() -> None:
    """Ready as soon as it listens: the model is loaded on import."""


@app.post("/predict_pixels")
async def predict_pixels(body: Pixels) -> JSONResponse:
    """Answers to 1 to 256 images."""
    return JSONResponse({"results": results(MODEL, np.array(body.images, np.uint8))})


@app.post("/predict")
async def predict(image: Annotated[UploadFile, File()]) -> JSONResponse:
    """The answer to one picture."""
    try:
        digit = to_digit(decode_image(await image.read(), enough=1024))
    except ImageError as error:
        raise HTTPException(422, str(error)) from None
    return JSONResponse(results(MODEL, digit.pixels[None])[0])
