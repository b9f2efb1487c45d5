"""The description of every public route, as OpenAPI 3.1."""

from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from recognition.answers import Answer
from serving.answers import Comparison, Explanation, IdentifiedAnswer, ModelsAnswer, NumberAnswer, PixelsAnswer, Problem

PROBLEMS = {
    400: "not understood, or empty",
    401: "a key is needed, and it is missing or wrong",
    404: "no such model",
    413: "too many bytes or pixels",
    415: "bytes that are no image it reads, or another content type",
    422: "the right kind, but broken or with wrong values",
    429: "too many requests; `Retry-After` says when to come back",
    503: "the models are still being loaded",
}
ALWAYS = (401, 429, 503)
PICTURE = (400, 413, 415, 422, *ALWAYS)
MODEL = {
    "name": "model",
    "in": "query",
    "description": "champion, or the name of a model",
    "schema": {"type": "string", "default": "champion"},
    "example": "champion",
}
NAME = {
    "name": "name",
    "in": "path",
    "required": True,
    "description": "champion, or the name of a model",
    "schema": {"type": "string"},
    "example": "cnn",
}
LABEL = {
    "name": "label",
    "in": "query",
    "description": "the class to explain; without it the champion's prediction",
    "schema": {"type": "integer", "minimum": 0, "maximum": 9},
    "example": 8,
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
ROW = {"type": "array", "minItems": 28, "maxItems": 28, "items": {"type": "integer", "minimum": 0, "maximum": 255}}
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
                        "items": {"type": "array", "minItems": 28, "maxItems": 28, "items": ROW},
                    },
                    "model": {"type": "string", "default": "champion"},
                },
            },
        }
    },
}
ANSWER = {name: field.examples[0] for name, field in Answer.model_fields.items() if field.examples}
CORRECTION = {
    "type": "object",
    "required": ["request_id", "label"],
    "additionalProperties": False,
    "properties": {
        "request_id": {
            "type": "string",
            "description": "of the answer; where a request had several: its id with -0, -1, ... behind it",
        },
        "label": {
            "description": "number of the right class; null withdraws",
            "anyOf": [{"type": "integer", "minimum": 0, "maximum": 9}, {"type": "null"}],
        },
    },
}
REQUEST_ID = "5f0c9f0d3e0b4c55a6a0c1f4b1f0a7d2"
EXAMPLES: dict[type[BaseModel], dict[str, Any]] = {
    IdentifiedAnswer: {**ANSWER, "request_id": REQUEST_ID},
    Comparison: {
        "pixels": [[0] * 28] * 28,
        "results": {"cnn": ANSWER},
        "champion": "cnn",
        "request_id": REQUEST_ID,
    },
    Explanation: {"label": 8, "maps": {"cnn": [[0.0] * 28] * 28}},
    NumberAnswer: {
        "number": "42",
        "confidence": 0.97,
        "digits": [
            {"prediction": 4, "confidence": 0.98, "box": [12, 20, 60, 90]},
            {"prediction": 2, "confidence": 0.99, "box": [85, 22, 58, 87]},
        ],
        "request_id": REQUEST_ID,
    },
    PixelsAnswer: {"results": [{**ANSWER, "request_id": REQUEST_ID}]},
    ModelsAnswer: {
        "dataset": "mnist",
        "classes": [str(digit) for digit in range(10)],
        "champion": "cnn",
        "models": {
            "cnn": {
                "version": "3",
                "digest": "9f2c...",
                "run_id": "0c3d...",
                "commit": "1a2b...",
                "metrics": {"test": {"accuracy": 0.9961}, "val": {"accuracy": 0.9948}},
                "threshold": 0.93,
            }
        },
    },
    Problem: {"error": "what is wrong and what would be right"},
}


@cache
def openapi_document() -> dict[str, Any]:
    """The document at `/docs.json`."""
    _, schemas = models_json_schema(
        [(answer, "serialization") for answer in EXAMPLES], ref_template="#/components/schemas/{model}"
    )
    pixels = {**PIXELS["content"]["application/json"], "example": {"images": [[[0] * 28] * 28]}}  # type: ignore[index]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Digits",
            "version": "1",
            "description": "Handwritten digits, answered by every model. Errors are JSON and say what would be right.",
        },
        "paths": {
            "/predict": {
                "post": _asks("One model's answer to a picture", IdentifiedAnswer, IMAGE, (404, *PICTURE), [MODEL])
            },
            "/compare": {"post": _asks("Every model's answer to a picture", Comparison, IMAGE, PICTURE)},
            "/explain": {
                "post": _asks(
                    "The pixels that speak for a class and against it, by every model",
                    Explanation,
                    IMAGE,
                    PICTURE,
                    [LABEL],
                )
            },
            "/predict_number": {
                "post": _asks("The number in a picture of digits", NumberAnswer, IMAGE, (404, *PICTURE), [MODEL])
            },
            "/predict_pixels": {
                "post": _asks(
                    "Answers to 1 to 256 images of 28x28 pixels",
                    PixelsAnswer,
                    {**PIXELS, "content": {"application/json": pixels}},
                    (404, *PICTURE),
                )
            },
            "/feedback": {"post": _feedback()},
            "/model": {"get": _asks("What is served", ModelsAnswer, None, ALWAYS)},
            "/report": {"get": _opens("The comparison report", "text/html", (404,))},
            "/cards/{name}": {
                "get": _opens(
                    "A model's card",
                    "text/html",
                    (404,),
                    [NAME],
                )
            },
            "/docs": {"get": _opens("This description, to read", "text/html")},
            "/docs.json": {"get": _opens("This description, as OpenAPI 3.1", "application/json")},
            "/livez": {"get": _opens("Whether the process lives", "text/plain")},
            "/readyz": {
                "get": _opens("Whether models are loaded and answer a known digit as before", "text/plain", (503,))
            },
            "/metrics": {"get": _opens("Counts and durations, for Prometheus", "text/plain", (401, 429), key=True)},
        },
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "where the service has a key"}
            },
        },
    }


def _asks(
    summary: str,
    answer: type[BaseModel],
    body: dict[str, Any] | None,
    problems: tuple[int, ...],
    parameters: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": summary,
        "security": [{}, {"key": []}],
        "responses": {"200": {"description": "the answer", "content": _json(answer)}, **_problems(problems)},
    }
    return operation | ({"requestBody": body} if body else {}) | ({"parameters": parameters} if parameters else {})


def _feedback() -> dict[str, Any]:
    problems = {**PROBLEMS, 404: "no such answer is logged, or nothing is", 503: "the database does not answer now"}
    body = {"application/json": {"schema": CORRECTION, "example": {"request_id": REQUEST_ID, "label": 7}}}
    operation = _asks("What an answer should have been", Problem, {"required": True, "content": body}, ())
    refusals = _problems((400, 404, 413, 415, 422, *ALWAYS))
    for status, refusal in refusals.items():
        refusal["description"] = problems[int(status)]
    return {**operation, "responses": {"204": {"description": "kept"}, **refusals}}


def _opens(
    summary: str,
    content_type: str,
    problems: tuple[int, ...] = (),
    parameters: list[dict[str, Any]] | None = None,
    key: bool = False,
) -> dict[str, Any]:
    responses = {"200": {"description": "as said", "content": {content_type: {}}}, **_problems(problems)}
    operation: dict[str, Any] = {"summary": summary, "responses": responses}
    return (
        operation
        | ({"parameters": parameters} if parameters else {})
        | ({"security": [{}, {"key": []}]} if key else {})
    )


def _problems(statuses: tuple[int, ...]) -> dict[str, Any]:
    return {str(status): {"description": PROBLEMS[status], "content": _json(Problem)} for status in sorted(statuses)}


def _json(model: type[BaseModel]) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"application/json": {"schema": schema, "example": EXAMPLES[model]}}
