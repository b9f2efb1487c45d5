"""What /docs.json says beyond the types of the handlers: bodies that are parsed by hand, errors, the API key."""

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from recognition import __version__
from serving.api.schemas import Problem

DESCRIPTIONS = {
    400: "The request is not understood or empty.",
    401: "A key is needed and missing or wrong.",
    403: "The host or the origin is not allowed.",
    404: "There is no such model, answer or page.",
    413: "The body has too many bytes or the image too many pixels.",
    415: "The bytes are no supported image or the content type is another.",
    422: "The request is of the right kind but broken, has invalid values, or too much in it.",
    429: "There are too many requests. `Retry-After` gives the seconds to wait.",
    503: "The models are being loaded, requests cannot be counted, or there was no answer before the deadline.",
}
ALWAYS = (401, 403, 429, 503)
WITH_BODY = (400, 413, 415, 422)
PROBES = {
    "/livez": "Check that the process is alive",
    "/readyz": "Check that the models are loaded and answer known digits as recorded",
}
IMAGE_BODY = {
    "requestBody": {
        "required": True,
        "description": "PNG, JPEG, WebP, BMP or GIF, as multipart field `image` or as the body.",
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {"image": {"type": "string", "format": "binary"}},
                }
            },
            "image/*": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The error responses of a route."""
    return {status: {"model": Problem, "description": DESCRIPTIONS[status]} for status in sorted((*ALWAYS, *statuses))}


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    """Declares a JSON body that the handler parses itself."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": model.model_json_schema()}}}}


def text(media_type: str, description: str) -> dict[int | str, dict[str, Any]]:
    """The successful response of a route that returns a text."""
    return {200: {"description": description, "content": {media_type: {"schema": {"type": "string"}}}}}


def describe_probe(description: str) -> dict[str, Any]:
    """A route of BentoML, which is not among the application's."""
    plain: dict[str, Any] = {"text/plain": {}}
    responses = {"200": {"description": "Yes.", "content": plain}, "503": {"description": "No.", "content": plain}}
    return {"tags": ["Service"], "summary": description, "responses": responses}


def describe_api(app: FastAPI, open_paths: frozenset[str], classes: Callable[[], int]) -> dict[str, Any]:
    """The OpenAPI document, with the API key for all routes that need it, and the number of classes."""
    count = classes()
    if app.openapi_schema is None or app.openapi_schema["x-classes"] != count:
        document = get_openapi(
            title="Digits",
            version=__version__,
            description="Recognises handwritten digits with every registered model. Errors are JSON and say what "
            "would be right.",
            routes=app.routes,
        )
        document["components"]["securitySchemes"] = {
            "key": {"type": "http", "scheme": "bearer", "description": "needed if the service has a key"}
        }
        for path, operations in document["paths"].items():
            for operation in operations.values():
                if path not in open_paths and not path.startswith("/cards/"):
                    operation["security"] = [{}, {"key": []}]
        paths = document["paths"]
        label = paths["/feedback"]["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"][
            "label"
        ]
        for schema in (label, paths["/explain"]["post"]["parameters"][0]["schema"]):
            schema["anyOf"][0]["maximum"] = count - 1
        document["paths"] |= {path: {"get": describe_probe(words)} for path, words in PROBES.items()}
        app.openapi_schema = document | {"x-classes": count}
    return app.openapi_schema
