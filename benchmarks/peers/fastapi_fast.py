"""FastAPI written for speed: orjson instead of pydantic, NumPy checks, LiteRT in the event loop."""

from typing import Any

import numpy as np
import orjson
from fastapi import FastAPI, HTTPException, Request, Response
from numpy.typing import NDArray
from starlette.datastructures import UploadFile

from benchmarks.peers.body_limit import BodyLimit
from benchmarks.peers.work import load, results
from recognition.decoding import ImageError, decode_image
from recognition.image_format import IMAGE_SIZE, SUFFICIENT_SIDE
from recognition.preprocessing import to_digit

MODEL = load()
app = FastAPI()
app.add_middleware(BodyLimit)


def answer(content: Any) -> Response:
    """A JSON response by orjson."""
    return Response(orjson.dumps(content), media_type="application/json")


def read_images(body: bytes) -> NDArray[np.uint8]:
    """Parses 1 to 256 images, uint8 (n, 28, 28). Raises HTTPException 400 or 422."""
    try:
        images = np.array(orjson.loads(body)["images"])
    except orjson.JSONDecodeError:
        raise HTTPException(400) from None
    except (TypeError, KeyError, ValueError, OverflowError):
        raise HTTPException(422) from None
    if images.shape[1:] != (IMAGE_SIZE, IMAGE_SIZE) or not 1 <= len(images) <= 256 or images.dtype.kind != "i":
        raise HTTPException(422)
    if images.min() < 0 or images.max() > 255:
        raise HTTPException(422)
    return images.astype(np.uint8)


@app.get("/readyz")
async def readyz() -> None:
    """Answers as soon as the server listens. The model is loaded on import."""


@app.post("/predict_pixels")
async def predict_pixels(request: Request) -> Response:
    """Predicts 1 to 256 images."""
    return answer({"results": results(MODEL, read_images(await request.body()))})


@app.post("/predict")
async def predict(request: Request) -> Response:
    """Predicts one uploaded image file."""
    async with request.form(max_files=1) as form:
        image = form.get("image")
        if not isinstance(image, UploadFile):
            raise HTTPException(422)
        content = await image.read()
    try:
        digit = to_digit(decode_image(content, min_side=SUFFICIENT_SIDE))
    except ImageError as error:
        raise HTTPException(422, str(error)) from None
    return answer(results(MODEL, digit.pixels[None])[0])
