"""The page at `/docs`: the OpenAPI document for people, complete in itself."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from serving.openapi import openapi_document


@cache
def docs_page() -> str:
    """HTML of every route with its parameters, an example call, and its answers with examples and fields."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["example"] = _compact
    document = openapi_document()
    operations = [
        {"path": path, "method": method.upper(), "curl": _curl(path, operation), **_without_references(operation)}
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    return environment.get_template("docs.html").render(
        info=document["info"], operations=operations, schemas=document["components"]["schemas"]
    )


def _curl(path: str, operation: dict[str, Any]) -> str:
    path = path.replace("{name}", "cnn")
    body = operation.get("requestBody", {}).get("content", {})
    if "multipart/form-data" in body:
        return f"curl -F image=@digit.png http://localhost:3000{path}"
    if "application/json" in body:
        return f"curl --json @body.json http://localhost:3000{path}"
    return f"curl http://localhost:3000{path}"


def _without_references(operation: dict[str, Any]) -> dict[str, Any]:
    answers = []
    for status, response in operation["responses"].items():
        content: tuple[str, Any] = next(iter(response.get("content", {}).items()), ("", {}))
        schema = content[1].get("schema", {}).get("$ref", "").rpartition("/")[2]
        answers.append(
            {"status": status, "words": response["description"], "type": content[0], "schema": schema}
            | ({"example": content[1]["example"]} if status == "200" and "example" in content[1] else {})
        )
    body = operation.get("requestBody")
    example = body["content"].get("application/json", {}).get("example") if body else None
    return {
        "summary": operation["summary"],
        "key": "security" in operation,
        "parameters": operation.get("parameters", []),
        "body": {"types": list(body["content"]), "words": body.get("description", "")} if body else None,
        "body_example": example,
        "answers": answers,
    }


def _compact(value: Any) -> str:
    """JSON with lists of numbers on one line, and pixels cut short."""
    text = re.sub(
        r"\[\s+([^][{}]*?)\s+\]", lambda found: f"[{' '.join(found[1].split())}]", json.dumps(value, indent=2)
    )
    row = re.escape(json.dumps([0] * 28))
    return re.sub(rf"\[\s+(?:{row},?\s+){{28}}\]", "[28 rows of 28 integers]", text)
