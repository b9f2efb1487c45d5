"""The routes that answer images: one model, all models, numbers, pixels, explanations."""

import struct
from collections.abc import Callable, Coroutine
from enum import Enum
from functools import partial
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, Query, Request
from fastapi.routing import APIRoute
from numpy.typing import NDArray
from starlette.responses import Response

from recognition.decoding import PNG_SIGNATURE, decode_image
from recognition.image_format import IMAGE_SIZE, SUFFICIENT_SIDE
from recognition.model import Model
from recognition.preprocessing import Digit, to_digit
from recognition.segmentation import Box, find_digits
from serving.api.documentation import IMAGE_BODY, WITH_BODY, errors, json_body
from serving.api.request_bodies import (
    PIXELS_HINT,
    image_errors,
    parse_pixels,
    parse_pixels_body,
    read_image_file,
    read_json_body,
)
from serving.api.schemas import (
    Comparison,
    Explanation,
    IdentifiedAnswer,
    NumberAnswer,
    PixelsAnswer,
    PixelsRequest,
    answer_number,
)
from serving.api.state import ServiceState, state_of
from serving.errors import ErrorCode, JSONResponse, RequestError
from serving.inference.answering import Rows, answer
from serving.inference.occlusion import evidence
from serving.telemetry import metrics

TAGS: list[str | Enum] = ["Predictions"]  # the group in /docs
# Work of 10 ms or less, such as reading a picture of the page, stays in the event loop; larger work goes to a thread
SMALL_PIXELS = 110_000  # of a PNG: the page's pictures are 280 x 280
SMALL_JSON = 60_000  # bytes: about 20 images of 28x28 pixels


class DirectRoute(APIRoute):
    """A route whose handler takes the request only: FastAPI describes it, but neither parses nor validates."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        return self.endpoint


ModelName = Annotated[str, Query(description="champion, or the name of a model")]


def add_prediction_routes(app: FastAPI) -> None:
    """Adds the routes. Routes are matched in this order."""
    pixels, image = json_body(PixelsRequest), IMAGE_BODY
    named, unnamed = errors(404, *WITH_BODY), errors(*WITH_BODY)
    app.routes.append(
        DirectRoute(
            "/predict_pixels",
            predict_pixels,
            methods=["POST"],
            tags=TAGS,
            response_model=PixelsAnswer,
            responses=named,
            openapi_extra=pixels,
        )
    )
    app.post("/predict", tags=TAGS, response_model=IdentifiedAnswer, responses=named, openapi_extra=image)(predict)
    app.post("/compare", tags=TAGS, response_model=Comparison, responses=unnamed, openapi_extra=image)(compare)
    app.post("/predict_number", tags=TAGS, response_model=NumberAnswer, responses=named, openapi_extra=image)(
        predict_number
    )
    app.post("/explain", tags=TAGS, response_model=Explanation, responses=unnamed, openapi_extra=image)(explain)


async def predict_pixels(request: Request) -> Response:
    """Predict the digits in 1 to 256 images of 28x28 pixels, in their order."""
    state = state_of(request)
    body = await read_json_body(request, state.settings.max_body_bytes, PIXELS_HINT)
    models = state.models.current
    if len(body) <= SMALL_JSON:
        images, name = parse_pixels_body(body)
        rows = await state.batcher.answer(state.choose(request, models, name), images)
    else:
        images, rows = await state.threads.run(_answer_body, body, partial(state.choose, request, models))
    headers = state.record(request, models, images, rows)
    return JSONResponse({"results": identify(rows, request.state.request_id)}, headers=headers)


async def predict(request: Request, model: ModelName = "champion") -> Response:
    """Predict the digit in an image with one model."""
    state = state_of(request)
    models = state.models.current
    chosen = state.choose(request, models, model)
    images = (await read_digit(request, state)).pixels[None]
    rows = answer(chosen, images)
    headers = state.record(request, models, images, rows)
    return JSONResponse({**rows[0], "request_id": request.state.request_id}, headers=headers)


async def compare(request: Request) -> Response:
    """Predict the digit in an image with every model."""
    state = state_of(request)
    images = (await read_digit(request, state)).pixels[None]
    models = state.models.current
    rows = {name: answer(model, images) for name, model in models.by_name.items()}
    headers = state.record(request, models, images, *rows.values())
    content = {
        "pixels": images[0].tolist(),
        "results": {name: answers[0] for name, answers in rows.items()},
        "champion": models.champion,
        "request_id": request.state.request_id,
    }
    return JSONResponse(content, headers=headers)


async def predict_number(request: Request, model: ModelName = "champion") -> Response:
    """Read a number in an image of several digits."""
    state = state_of(request)
    models = state.models.current
    if not models.are_digits:
        message = f"the classes of {models.dataset} are not the ten digits, so it reads no numbers; ask /predict"
        raise RequestError(404, ErrorCode.NOT_DIGITS, message)
    chosen = state.choose(request, models, model)

    def read_number(content: bytes) -> tuple[list[list[tuple[Box, Digit]]], NDArray[np.uint8], Rows]:
        with image_errors(), metrics.NUMBER_SECONDS.time():
            image = decode_image(content, state.settings.max_pixels)
            lines = find_digits(image, chosen.digit_score)
        pixels = [digit.pixels for line in lines for _, digit in line]
        images = np.array(pixels, np.uint8).reshape(-1, IMAGE_SIZE, IMAGE_SIZE)
        return lines, images, answer(chosen, images) if pixels else []

    content = await read_image_file(request, state.settings.max_body_bytes)
    lines, images, rows = await state.threads.run(read_number, content)
    headers = state.record(request, models, images, rows)
    return JSONResponse({**answer_number(lines, rows), "request_id": request.state.request_id}, headers=headers)


async def explain(
    request: Request,
    label: Annotated[
        int | None, Query(ge=0, description="class to explain; default: the champion's prediction")
    ] = None,
) -> Response:
    """Explain which pixels support or contradict a class, for every model."""
    state = state_of(request)
    models = state.models.current
    if label is not None and label >= len(models.classes):
        message = f"`label` is {label}; it must be a whole number of 0 to {len(models.classes) - 1}"
        raise RequestError(422, ErrorCode.INVALID_VALUE, message)
    pixels = (await read_digit(request, state)).pixels

    def compute() -> dict[str, Any]:
        champion = models.by_name[models.champion].classifier
        target = int(champion.probabilities(pixels[None])[0].argmax()) if label is None else label
        maps = {name: evidence(m.classifier, pixels, target).tolist() for name, m in models.by_name.items()}
        return {"label": target, "maps": maps}

    return JSONResponse(await state.threads.run(compute))


async def read_digit(request: Request, state: ServiceState) -> Digit:
    """Reads and preprocesses the picture of a request. Raises RequestError 400, 413, 415 or 422."""
    content = await read_image_file(request, state.settings.max_body_bytes)

    def parse(content: bytes) -> Digit:
        with image_errors(), metrics.DIGIT_SECONDS.time():
            return to_digit(decode_image(content, state.settings.max_pixels, SUFFICIENT_SIDE))

    return parse(content) if is_small_png(content) else await state.threads.run(parse, content)


def is_small_png(content: bytes) -> bool:
    """Whether the header announces a PNG of at most SMALL_PIXELS (PNG specification, 11.2.2)."""
    if not content.startswith(PNG_SIGNATURE) or len(content) < 24:
        return False
    width, height = struct.unpack_from(">II", content, 16)
    return bool(width * height <= SMALL_PIXELS and len(content) <= 4 * SMALL_PIXELS)


def _answer_body(body: bytes, choose: Callable[[Any], Model]) -> tuple[NDArray[np.uint8], Rows]:
    images, name = parse_pixels_body(body)
    return images, answer(choose(name), images)


def answer_pixels(images: list[Any], model: Model) -> tuple[NDArray[np.uint8], Rows]:
    """The pixels of nested lists, uint8 (n, 28, 28), and the answers to them. Raises RequestError 422."""
    pixels = parse_pixels(images)
    return pixels, answer(model, pixels)


def identify(rows: Rows, request_id: str) -> list[dict[str, Any]]:
    """Adds ids to answers: the request's id to a single answer, `ID-0`, `ID-1`, ... to several."""
    if len(rows) == 1:
        return [{**rows[0], "request_id": request_id}]
    return [{**row, "request_id": f"{request_id}-{number}"} for number, row in enumerate(rows)]
