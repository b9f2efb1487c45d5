"""Reads request bodies and parameters. Sizes are limited before parsing; errors state what to send instead."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from recognition.decoding import BrokenImage, ImageError, NotAnImage, TooManyPixels
from recognition.image_format import IMAGE_SIZE
from recognition.pieces import TooManyDigits
from serving.errors import ErrorCode, RequestError

MAX_IMAGES = 256  # per request to /predict_pixels
IMAGE_ERRORS: dict[type[ImageError], tuple[int, ErrorCode]] = {
    TooManyPixels: (413, ErrorCode.IMAGE_TOO_LARGE),
    NotAnImage: (415, ErrorCode.UNSUPPORTED_IMAGE),
    BrokenImage: (422, ErrorCode.BROKEN_IMAGE),
    TooManyDigits: (422, ErrorCode.TOO_MANY_DIGITS),
}
IMAGE_HINT = "send a PNG, JPEG, WebP, BMP or GIF as multipart field `image` or as the body"
PIXELS_HINT = 'send JSON {"images": [28x28 integers 0..255, ink bright, ...]}, 1 to 256 of them, "model" optional'


async def read_body(request: Request, limit: int) -> bytes:
    """Reads the whole body, at most `limit` bytes. Raises RequestError 413, or 400 if it is empty or cut off."""
    too_large = RequestError(
        413, ErrorCode.BODY_TOO_LARGE, f"the body has more than {limit:,} bytes; send a smaller one"
    )
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > limit:
        raise too_large
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > limit:
                raise too_large
    except ClientDisconnect:
        message = "the connection was closed before the body was complete"
        raise RequestError(400, ErrorCode.INCOMPLETE_BODY, message) from None
    if not body:
        raise RequestError(400, ErrorCode.EMPTY_BODY, "the body is empty")
    return bytes(body)


async def read_image_file(request: Request, max_body_bytes: int) -> bytes:
    """Reads the picture from the field `image` or from the body. Raises RequestError 400, 413 or 422."""
    body = await read_body(request, max_body_bytes)
    return await _image_field(request, body) if content_type(request) == "multipart/form-data" else body


@contextmanager
def image_errors() -> Iterator[None]:
    """Converts each ImageError in the block to a RequestError 413, 415 or 422."""
    try:
        yield
    except ImageError as error:
        raise RequestError(*IMAGE_ERRORS[type(error)], str(error)) from None


def content_type(request: Request) -> str:
    """The media type without parameters, in lower case; empty if there is none."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


class _InMemoryParser(MultiPartParser):
    spool_max_size = 2**30  # no temporary files: the body is limited and already in memory


async def _image_field(request: Request, body: bytes) -> bytes:
    async def stream() -> Any:
        yield body

    try:
        form = await _InMemoryParser(request.headers, stream(), max_files=1, max_fields=8, max_part_size=1000).parse()
    except (MultiPartException, KeyError, ValueError, UnicodeError) as error:
        reason = getattr(error, "message", "") or "no valid boundary"
        message = f"the multipart body cannot be read ({reason}); {IMAGE_HINT}"
        raise RequestError(400, ErrorCode.INVALID_MULTIPART, message) from None
    field = form.get("image")
    if field is None:
        message = f"the multipart body has no field `image`; {IMAGE_HINT}"
        raise RequestError(400, ErrorCode.INVALID_MULTIPART, message)
    if not isinstance(field, UploadFile):
        raise RequestError(422, ErrorCode.INVALID_VALUE, f"field `image` is a text, not a file; {IMAGE_HINT}")
    content = await field.read()
    if not content:
        raise RequestError(400, ErrorCode.EMPTY_BODY, f"field `image` is empty; {IMAGE_HINT}")
    return content


async def read_json_body(request: Request, max_body_bytes: int, hint: str) -> bytes:
    """Reads a JSON body without parsing it. Raises RequestError 400, 413 or 415, ending with `hint`."""
    if content_type(request) != "application/json":
        found = f"is {content_type(request)[:60]!r}" if content_type(request) else "is missing"
        message = f"the content type {found}, expected application/json; {hint}"
        raise RequestError(415, ErrorCode.UNSUPPORTED_CONTENT_TYPE, message)
    return await read_body(request, max_body_bytes)


def parse_json(body: bytes, hint: str) -> Any:
    """The content of a JSON body. Raises RequestError 400, ending with `hint`."""
    try:
        return orjson.loads(body)
    except ValueError:
        raise RequestError(400, ErrorCode.INVALID_JSON, f"the body is not valid JSON; {hint}") from None


def parse_pixels_body(body: bytes) -> tuple[NDArray[np.uint8], Any]:
    """Reads images, uint8 (n, 28, 28), and the model's name from JSON. Raises RequestError 400 or 422."""
    content = parse_json(body, PIXELS_HINT)
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise RequestError(422, ErrorCode.INVALID_VALUE, f"`images` is missing or not a list; {PIXELS_HINT}")
    if unknown := content.keys() - {"images", "model"}:
        raise RequestError(422, ErrorCode.UNKNOWN_FIELD, f"unknown field {min(unknown)[:60]!r}; {PIXELS_HINT}")
    if (b"true" in body or b"false" in body) and _has_truth_values(content["images"]):
        raise RequestError(422, ErrorCode.INVALID_PIXELS, f"a pixel is not an integer; {PIXELS_HINT}")
    packed = _pack(content["images"])
    return parse_pixels(content["images"]) if packed is None else packed, content.get("model", "champion")


def _has_truth_values(value: Any) -> bool:
    """Whether nested lists contain true or false, which NumPy would convert to 1 and 0."""
    return isinstance(value, bool) or (isinstance(value, list) and any(map(_has_truth_values, value)))


def _pack(images: list[Any]) -> NDArray[np.uint8] | None:
    """Converts ints in 0..255 or bools to uint8 (n, 28, 28), three times as fast as NumPy. None for other lists."""
    if len(images) > MAX_IMAGES:
        return None
    try:
        rows = list(chain.from_iterable(images))
        if set(map(len, images)) != {IMAGE_SIZE} or set(map(len, rows)) != {IMAGE_SIZE}:
            return None
        return np.frombuffer(b"".join(map(bytes, rows)), np.uint8).reshape(-1, IMAGE_SIZE, IMAGE_SIZE)
    except (TypeError, ValueError):
        return None


def parse_pixels(images: list[Any]) -> NDArray[np.uint8]:
    """Converts nested lists to uint8 (n, 28, 28). Raises RequestError 422."""
    if not 1 <= len(images) <= MAX_IMAGES:
        raise RequestError(422, ErrorCode.TOO_MANY_IMAGES, f"there are {len(images)} images; {PIXELS_HINT}")
    try:
        array = np.array(images)
    except (ValueError, OverflowError):
        message = f"the images are not all 28 rows of 28 integers; {PIXELS_HINT}"
        raise RequestError(422, ErrorCode.INVALID_PIXELS, message) from None
    if array.shape[1:] != (IMAGE_SIZE, IMAGE_SIZE):
        shape = " x ".join(map(str, array.shape[1:])) or "a number"
        raise RequestError(422, ErrorCode.INVALID_PIXELS, f"an image is {shape}, not 28 x 28; {PIXELS_HINT}")
    if array.dtype.kind == "f" and (np.mod(array, 1) == 0).all():
        array = array.astype(np.int64)  # 7.0 is an integer to JSON Schema, and so to /docs.json
    if array.dtype.kind not in "iu":
        raise RequestError(422, ErrorCode.INVALID_PIXELS, f"a pixel is not an integer; {PIXELS_HINT}")
    if array.min() < 0 or array.max() > 255:
        message = f"a pixel is {array.min() if array.min() < 0 else array.max()}, not 0..255; {PIXELS_HINT}"
        raise RequestError(422, ErrorCode.INVALID_PIXELS, message)
    return array.astype(np.uint8)
