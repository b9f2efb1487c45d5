"""Apply a parameter profile, such as `profiles/long.yaml`, to params.yaml and keep the comments there.

python -m pipeline.training.profiles profiles/long.yaml && dvc repro
dvc exp run -n long $(python -m pipeline.training.profiles --arguments profiles/long.yaml)
"""

import io
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from ruamel.yaml import YAML

from pipeline.console import run_main, say
from pipeline.files import write_text
from pipeline.params import Params
from pipeline.paths import PARAMS
from pipeline.settings import parse_settings, read_yaml
from pipeline.tracking import flatten


def merge(target: Any, changes: dict[str, Any]) -> None:
    """Set the values of `changes` in a nested mapping, in place; other keys keep their values."""
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(target.get(key), dict):
            merge(target[key], value)
        else:
            target[key] = value


def apply(changes: dict[str, Any], path: Path = PARAMS) -> None:
    """Write `changes` into `path`. Raises PipelineError, without writing, if the result is not valid."""
    yaml = YAML()
    yaml.preserve_quotes, yaml.width = True, 1000
    content = yaml.load(path.read_text(encoding="utf-8"))
    merge(content, changes)
    parse_settings(path, Params, content)
    text = io.StringIO()
    yaml.dump(content, text)
    write_text(path, text.getvalue())


def arguments(changes: dict[str, Any]) -> str:
    """Returns `changes` as options of `dvc exp run`: -S ++KEY=VALUE sets a key, whether it exists or not."""

    def text(value: Any) -> str:
        return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))

    return " ".join(f"-S ++{key}={text(value)}" for key, value in flatten(changes).items())


def main(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False)],
    only_print: Annotated[
        bool, typer.Option("--arguments", help="Print options for dvc exp run; do not change params.yaml.")
    ] = False,
) -> None:
    """Apply the parameter profile FILE to params.yaml."""
    changes = read_yaml(file)
    if only_print:
        say(arguments(changes))
        return
    apply(changes)
    say(f"applied {file} to params.yaml: {', '.join(flatten(changes))}")
    say("undo: git checkout params.yaml")


if __name__ == "__main__":
    run_main(main)
