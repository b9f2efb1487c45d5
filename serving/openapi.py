"""The OpenAPI document: the routes in openapi.yaml, with the schemas of the types that they answer with."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic.json_schema import models_json_schema

from serving.answers import Comparison, Explanation, IdentifiedAnswer, ModelsAnswer, NumberAnswer, PixelsAnswer, Problem

ANSWERS = (IdentifiedAnswer, Comparison, Explanation, NumberAnswer, PixelsAnswer, ModelsAnswer, Problem)


@cache
def openapi_document() -> dict[str, Any]:
    """The document at `/docs.json`, as OpenAPI 3.1."""
    document: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("openapi.yaml").read_text(encoding="utf-8"))
    del document["x-shared"]
    template = "#/components/schemas/{model}"
    _, schemas = models_json_schema([(answer, "serialization") for answer in ANSWERS], ref_template=template)
    document["components"]["schemas"] = schemas["$defs"]
    return document
