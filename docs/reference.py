"""The reference pages of the documentation site, generated from the code when the site is built."""

import ast
import re
from collections.abc import Iterator, Sequence
from typing import Any

import settings as setting_tables  # docs/settings.py
import yaml
from pydantic import TypeAdapter
from typer.main import get_command
from typer.testing import CliRunner

from pipeline.cli.commands import app as digits
from pipeline.data.datasets import Dataset, load_datasets
from pipeline.params import Params
from pipeline.paths import PARAMS
from pipeline.settings import read_yaml
from serving.api.application import create_app, open_paths
from serving.api.documentation import describe_api
from serving.settings import Settings, variable

ROOT = setting_tables.ROOT
LIMITS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
TYPES = {"string": "text", "number": "number", "integer": "integer", "boolean": "true or false", "null": "null"}
UNUSED = ("HTTPValidationError", "ValidationError")  # FastAPI adds them; this service answers with Problem
Schema = dict[str, Any]


def pages() -> dict[str, str]:
    """Markdown of every reference page, by the name of its file."""
    return {
        "parameters": parameters(),
        "datasets": datasets(),
        "settings": environment(),
        "commands": commands(),
        "api": api(),
        "metrics": metrics(),
    }


def parameters() -> str:
    """The keys of params.yaml: type and limits from the code, value and meaning from the file."""
    schema = Params.model_json_schema()
    comments = {name: comment for name, _, comment in setting_tables.params()}
    content = read_yaml(PARAMS)
    content["models"] = {"NAME": next(iter(content["models"].values()))}
    text = """# Parameters

The keys of `params.yaml`, with their present values. The heading of a section is the first part of its keys: the first
key is `data.dataset`. `models.NAME` stands for each model and shows the values of the first one. A key without a value
is not set there. Unknown keys are errors. `dvc repro` runs the stages that read a changed parameter.
"""
    for section, part in schema["properties"].items():
        named = list(leaves(section, part, schema))
        prefix = f"{section}.NAME." if named[0][0].startswith(f"{section}.NAME.") else f"{section}."
        rows = [
            (
                f"`{name.removeprefix(prefix)}`",
                describe(leaf, schema),
                code(value_of(name, content)),
                comments.get(name) or comment_of(name, comments),
            )
            for name, leaf in named
        ]
        text += f"\n## {prefix.removesuffix('.')}\n\n{table(('key', 'type', 'value', 'meaning'), rows)}"
    return text


def datasets() -> str:
    """The keys of an entry of datasets.yaml."""
    schema = TypeAdapter(Dataset).json_schema()
    rows = [
        (f"`{name}`", describe(leaf, schema))
        for key, part in schema["properties"].items()
        for name, leaf in leaves(key, part, schema)
    ]
    comments = re.match(r"(?:#.*\n)+", (ROOT / "pipeline" / "data" / "datasets.yaml").read_text(encoding="utf-8"))
    notes = re.sub(r"\n#     +", " ", comments[0]).replace("#   ", "- ").partition("\n")[2] if comments else ""
    entries = [
        (
            f"`{name}`",
            entry.title,
            f"{len(entry.classes)}",
            f"{sum(entry.counts.train):,}",
            f"{sum(entry.counts.test):,}",
        )
        for name, entry in load_datasets().items()
    ]
    return f"""# Datasets

`data.dataset` in `params.yaml` names an entry of `pipeline/data/datasets.yaml`. `digits import` adds an entry for a
folder of pictures ([tutorial](../tutorial.md)).

{table(("name", "dataset", "classes", "training images", "test images"), entries)}
## Keys of an entry

{notes}
{table(("key", "type"), rows)}"""


def environment() -> str:
    """The environment variables of the service and the pipeline, and the variables of the Makefile."""
    schema = Settings.model_json_schema()
    types = {
        variable(name): describe(part, schema).removesuffix(" or null") for name, part in schema["properties"].items()
    }
    rows = setting_tables.environment_variables()
    service = [(f"`{name}`", types[name], code(value), text) for name, value, text in rows if name in types]
    others = [(f"`{name}`", code(value), text) for name, value, text in rows if name not in types]
    made = [(f"`{name}`", code(value), text) for name, value, text in setting_tables.make_variables()]
    return f"""# Settings

Environment variables and variables of `make`. [Operate](../operations.md#configure) explains how to set them.

## The service

The service reads these once, at startup. An invalid value stops the startup with a message that names the variable.

{table(("variable", "type", "default", "meaning"), service)}
## Other environment variables

{table(("variable", "default", "meaning"), others)}
## Variables of make

{table(("variable", "default", "meaning"), made)}"""


def commands() -> str:
    """The commands of `digits` with their help, and the targets of the Makefile."""
    runner, names = CliRunner(), list(get_command(digits).commands)  # type: ignore[attr-defined]
    text = """# Command line

## digits

`make setup` installs `digits` into `.venv`; `source .venv/bin/activate` puts it on the path. It works in the project's
folder and in every folder below it. Exit statuses: 0 success, 1 an error that the message explains, 2 wrong arguments,
130 Ctrl-C; `digits monitor` has [others](../operations.md#monitor).
"""
    for name in names:
        arguments = [name, "--help"]
        shown = runner.invoke(digits, arguments, prog_name="digits", env={"COLUMNS": "100"}).output.strip()
        shown, _, example = shown.partition("\n\n  Example: ")
        usage, _, rest = shown.partition("\n\n")
        summary, _, details = rest.strip().partition("\n\n")
        text += f"\n### digits {name}\n\n{' '.join(summary.split())}\n\n```text\n{usage}\n\n{details}\n```\n"
        text += f"\nExample: `{' '.join(example.split())}`\n" if example else ""
    targets = re.findall(r"^([a-z-]+):.*## (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    rows = [(f"`make {name}`", meaning) for name, meaning in targets]
    return f"{text}\n## make\n\n{table(('target', 'effect'), rows)}"


def api() -> str:
    """The routes of the service, from its OpenAPI document."""
    document = describe_api(create_app(Settings()), open_paths(), lambda: 10)
    text = """# HTTP API

The routes of the service, from its OpenAPI document. A running service shows the same at `/docs`, where each route can
be tried, and at `/docs.json`. [Use the service](../usage.md#http-api) has examples. Limits of class indices are for
ten classes.
"""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            text += (
                f"\n## {method.upper()} {path}\n\n{operation.get('description') or operation['summary'] + '.'}\n\n"
                f"{request_of(operation, document)}{responses_of(operation, document)}"
            )
    text += "\n## Schemas\n"
    for name, schema in document["components"]["schemas"].items():
        if name not in UNUSED:
            text += f"\n### {name}\n\n{schema.get('description', '')}\n\n{fields(schema, document)}"
    return text


def request_of(operation: Schema, document: Schema) -> str:
    rows = [
        (f"`{part['name']}`", part["in"], describe(part["schema"], document), part.get("description", ""))
        for part in operation.get("parameters", [])
    ]
    text = f"**Parameters**\n\n{table(('name', 'in', 'type', 'meaning'), rows)}\n" if rows else ""
    if body := operation.get("requestBody"):
        kinds = ", ".join(f"`{kind}`" for kind in body["content"])
        text += f"**Body:** {kinds}. {body.get('description', '')}\n\n"
        if schema := body["content"].get("application/json", {}).get("schema"):
            text += fields(schema, document) + "\n"
    return text


def responses_of(operation: Schema, document: Schema) -> str:
    rows = []
    for status, response in operation["responses"].items():
        if UNUSED[0] in str(response):
            continue
        kinds = [
            f"{describe(content['schema'], document)}" if kind == "application/json" else f"`{kind}`"
            for kind, content in response.get("content", {}).items()
        ]
        meaning = "The answer." if response["description"] == "Successful Response" else response["description"]
        rows.append((f"`{status}`", meaning, ", ".join(kinds)))
    return f"**Responses**\n\n{table(('status', 'meaning', 'body'), rows)}"


def fields(schema: Schema, document: Schema) -> str:
    """The table of an object's fields, or the values of an enumeration."""
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"]) + "\n"
    required = schema.get("required", [])
    rows = [
        (
            f"`{name}`",
            describe(part, document) + ("" if name in required else ", optional"),
            part.get("description", ""),
        )
        for name, part in schema.get("properties", {}).items()
    ]
    return table(("field", "type", "meaning"), rows) if rows else ""


def metrics() -> str:
    """The Prometheus metrics of the service, read from the source of serving/telemetry/metrics.py."""
    tree = ast.parse((ROOT / "serving" / "telemetry" / "metrics.py").read_text(encoding="utf-8"))
    rows = []
    for call in [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]:
        kind = call.func.id  # type: ignore[attr-defined]
        if kind in ("Counter", "Gauge", "Histogram"):
            name, meaning, *labels = [ast.literal_eval(argument) for argument in call.args]
            suffix = "_total" if kind == "Counter" else ""
            shown = ", ".join(f"`{label}`" for label in (labels[0] if labels else []))
            rows.append((f"`{name}{suffix}`", kind.lower(), shown, meaning))
    return f"""# Metrics

The service answers `GET /metrics` in the text format of Prometheus. A histogram has the series `_bucket`, `_sum` and
`_count`. [Operate](../operations.md#prometheus-metrics) explains them, and `deploy/alerts.yml` has alert rules.

{table(("metric", "kind", "labels", "meaning"), sorted(rows))}"""


def leaves(name: str, part: Schema, root: Schema) -> Iterator[tuple[str, Schema]]:
    """Keys without keys of their own below `name`, in dotted form, with their schemas."""
    part = resolve(part, root)
    nested = part.get("properties")
    if nested is not None:
        for key, child in nested.items():
            yield from leaves(f"{name}.{key}", child, root)
        return
    named = [*part.get("patternProperties", {}).values(), part.get("additionalProperties")]
    entry = resolve(named[0], root) if isinstance(named[0], dict) else {}
    if "properties" in entry:
        yield from leaves(f"{name}.NAME", entry, root)
    else:
        yield name, part


def resolve(part: Schema, root: Schema) -> Schema:
    """The schema that `$ref` names, or the schema itself; of `X | null`, the schema of X if it has keys."""
    if "$ref" in part:
        target: Schema = root
        for key in part["$ref"].removeprefix("#/").split("/"):
            target = target[key]
        return target
    options = [option for option in part.get("anyOf", []) if "$ref" in option]
    return resolve(options[0], root) if len(options) == 1 else part


def describe(part: Schema, root: Schema) -> str:
    """Type and limits of a value in words."""
    if "$ref" in part:
        name = part["$ref"].split("/")[-1]
        target = resolve(part, root)
        return f"[{name}](#{name.lower()})" if "components" in root else describe(target, root)
    if "anyOf" in part:
        return " or ".join(dict.fromkeys(describe(option, root) for option in part["anyOf"]))
    if "enum" in part:
        return ", ".join(f"`{value}`" for value in part["enum"])
    if "const" in part:
        return f"`{part['const']}`"
    kind = part.get("type", "")
    if kind == "array":
        items = part.get("items") or part.get("prefixItems", [{}])[0]
        inner = describe(items, root)
        inner = f"({inner})" if inner.startswith("list") else inner
        return " ".join(filter(None, ["list of", span(part.get("minItems"), part.get("maxItems")), inner]))
    if kind == "object":
        value = part.get("additionalProperties")
        return f"mapping to {describe(value, root)}" if isinstance(value, dict) else "mapping"
    limits = " and ".join(f"{sign} {part[key]:g}" for key, sign in LIMITS.items() if key in part)
    if "minimum" in part and "maximum" in part:
        limits = span(part["minimum"], part["maximum"])
    length = f"of {part['minLength']} or more characters" if "minLength" in part else ""
    kind = {"path": "path", "binary": "file"}.get(part.get("format", ""), TYPES.get(kind, kind))
    return " ".join(filter(None, [kind, limits, length]))


def span(low: float | None, high: float | None) -> str:
    """A range in words; empty without limits."""
    if low is None:
        return "" if high is None else f"at most {high:g}"
    if high is None:
        return f"at least {low:g}"
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def value_of(name: str, content: Any) -> str:
    """The value of a dotted key in YAML's notation, without line breaks; empty if it is not set."""
    for key in name.split("."):
        if not isinstance(content, dict) or key not in content:
            return ""
        content = content[key]
    text: str = yaml.safe_dump(content, default_flow_style=True, width=10_000, sort_keys=False)
    return text.removesuffix("...\n").strip()


def comment_of(name: str, comments: dict[str, str]) -> str:
    """The part of the parent's comment that concerns a key: parts without the name of a key concern all others."""
    parent, _, key = name.rpartition(".")
    parts = [part.rpartition(f"{key}: ") for part in comments.get(parent, "").split("; ")]
    own = [text for _, found, text in parts if found]
    return "; ".join(own or [text for _, _, text in parts if ": " not in text])


def code(value: str) -> str:
    return f"`{value}`" if value else ""


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [head, ("---",) * len(head), *rows]
    return (
        "\n".join("| " + " | ".join(cell.replace("|", "/").replace("\n", " ") for cell in row) + " |" for row in lines)
        + "\n"
    )
