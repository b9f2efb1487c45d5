"""FastAPI as in its documentation: a pydantic body, an `UploadFile`, and a middleware that limits the body."""

from typing import Annotated

import numpy as np
from fastapi import FastAPI, File, HTTPException, UploadFile
from fastapi.responses import JSONResponse

from benchmarks.peers.body_limit import BodyLimit
from benchmarks.peers.work import Pixels, load, results
from recognition.decoding import ImageError, decode_image
from recognition.image_format import SUFFICIENT_SIDE
from recognition.preprocessing import to_digit

MODEL = load()
app = FastAPI()
app.add_middleware(BodyLimit)


@app.get("/readyz")
async def readyz() -> None:
    """Answers as soon as the server listens. The model is loaded on import."""


@app.post("/predict_pixels")
async def predict_pixels(body: Pixels) -> JSONResponse:
    """Predicts 1 to 256 images."""
    return JSONResponse({"results": results(MODEL, np.array(body.images, np.uint8))})


@app.post("/predict")
async def predict(image: Annotated[UploadFile, File()]) -> JSONResponse:
    """Predicts one uploaded image file."""
    try:
        digit = to_digit(decode_image(await image.read(), min_side=SUFFICIENT_SIDE))
    except ImageError as error:
        raise HTTPException(422, str(error)) from None
    return JSONResponse(results(MODEL, digit.pixels[None])[0])
