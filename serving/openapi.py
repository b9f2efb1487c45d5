"""The description of every public route, as OpenAPI 3.1."""

from functools import cache
from typing import Any

from pydantic.json_schema import models_json_schema

from serving.answers import Comparison, Explanation, IdentifiedAnswer, ModelsAnswer, NumberAnswer, PixelsAnswer, Problem

PROBLEMS = {
    "400": "not understood, or empty",
    "404": "no such model",
    "413": "too many bytes or pixels",
    "415": "bytes that are no image it reads, or another content type",
    "422": "the right kind, but broken or with wrong values",
}
MODEL = {
    "name": "model",
    "in": "query",
    "description": "champion, or the name of a model",
    "schema": {"type": "string", "default": "champion"},
}
LABEL = {
    "name": "label",
    "in": "query",
    "description": "the class to explain; without it the champion's prediction",
    "schema": {"type": "integer", "minimum": 0, "maximum": 9},
}
IMAGE = {
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
PIXELS = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["images"],
                "additionalProperties": False,
                "properties": {
                    "images": {
                        "type": "array",
                        "minItems": 1,
                        "maxItems": 256,
                        "description": "images of 28 rows of 28 pixels, ink bright",
                        "items": {
                            "type": "array",
                            "minItems": 28,
                            "maxItems": 28,
                            "items": {
                                "type": "array",
                                "minItems": 28,
                                "maxItems": 28,
                                "items": {"type": "integer", "minimum": 0, "maximum": 255},
                            },
                        },
                    },
                    "model": {"type": "string", "default": "champion"},
                },
            },
        }
    },
}


@cache
def openapi_document() -> dict[str, Any]:
    """The document at `/docs.json`."""
    answers = (IdentifiedAnswer, Comparison, Explanation, NumberAnswer, PixelsAnswer, ModelsAnswer, Problem)
    _, schemas = models_json_schema(
        [(answer, "serialization") for answer in answers], ref_template="#/components/schemas/{model}"
    )
    return {
        "openapi": "3.1.0",
        "info": {"title": "Digits", "version": "1", "description": "Handwritten digits, answered by every model."},
        "paths": {
            "/predict": {
                "post": _operation("One model's answer to a picture", IdentifiedAnswer, IMAGE, parameters=[MODEL])
            },
            "/compare": {"post": _operation("Every model's answer to a picture", Comparison, IMAGE, omit="404")},
            "/explain": {
                "post": _operation(
                    "The pixels that speak for a class and against it, by every model",
                    Explanation,
                    IMAGE,
                    omit="404",
                    parameters=[LABEL],
                )
            },
            "/predict_number": {
                "post": _operation("The number in a picture of several digits", NumberAnswer, IMAGE, parameters=[MODEL])
            },
            "/predict_pixels": {"post": _operation("Answers to 1 to 256 images of 28x28 pixels", PixelsAnswer, PIXELS)},
            "/model": {"get": _operation("What is served", ModelsAnswer)},
        },
        "components": {"schemas": schemas["$defs"]},
    }


def _operation(
    summary: str,
    answer: type[Any],
    body: dict[str, Any] | None = None,
    omit: str = "",
    parameters: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    responses: dict[str, Any] = {"200": {"description": "the answer", "content": _json(answer)}}
    if body:
        responses |= {
            status: {"description": words, "content": _json(Problem)}
            for status, words in PROBLEMS.items()
            if status != omit
        }
    operation: dict[str, Any] = {"summary": summary, "responses": responses}
    return operation | ({"requestBody": body} if body else {}) | ({"parameters": parameters} if parameters else {})


def _json(model: type[Any]) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}}
