"""Apply a file of changed parameters, such as `profiles/long.yaml`, to params.yaml, whose comments stay.

python -m pipeline.training.override profiles/long.yaml && dvc repro
dvc exp run -n long $(python -m pipeline.training.override --arguments profiles/long.yaml)
"""

import io
import json
import tempfile
from pathlib import Path
from typing import Any

import click
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.console import PipelineError, run_main, say
from pipeline.files import write_text
from pipeline.params import load_params
from pipeline.paths import PARAMS


def leaves(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values of a nested mapping by dotted path."""
    found: dict[str, Any] = {}
    for key, value in content.items():
        found |= leaves(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return found


def merge(into: Any, changes: dict[str, Any]) -> None:
    """Put the values of `changes` into a nested mapping, in place; what they do not name stays."""
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = value


def apply(changes: dict[str, Any], path: Path = PARAMS) -> None:
    """Write the changes into `path`. Raises PipelineError, and leaves the file as it is, when they are not valid."""
    yaml = YAML()
    yaml.preserve_quotes, yaml.width = True, 1000
    content = yaml.load(path.read_text(encoding="utf-8"))
    merge(content, changes)
    text = io.StringIO()
    yaml.dump(content, text)
    with tempfile.TemporaryDirectory() as folder:  # params.yaml itself is never a file that is not valid
        tried = Path(folder) / path.name
        tried.write_text(text.getvalue(), encoding="utf-8")
        load_params(tried)
    write_text(path, text.getvalue())


def arguments(changes: dict[str, Any]) -> str:
    """The changes for `dvc exp run`, -S KEY=VALUE: `++` changes a key that is there and adds one that is not."""

    def word(value: Any) -> str:
        return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))

    return " ".join(f"-S ++{key}={word(value)}" for key, value in leaves(changes).items())


def read(path: Path) -> dict[str, Any]:
    """The mapping in an override file. Raises PipelineError when it is missing or none."""
    try:
        content = YAML(typ="safe").load(path)
    except FileNotFoundError:
        raise PipelineError(f"{path} is missing; profiles/ has some") from None
    except YAMLError as error:
        raise PipelineError(f"{path.name} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise PipelineError(f"{path.name} must be a mapping like params.yaml, with the keys to change")
    return content


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--arguments", "printed", is_flag=True, help="print them for dvc exp run; change nothing")
def main(file: Path, printed: bool) -> None:
    changes = read(file)
    if printed:
        say(arguments(changes))
        return
    apply(changes)
    say(f"params.yaml now has {file}: " + ", ".join(leaves(changes)))
    say("back to what it was: git checkout params.yaml")


if __name__ == "__main__":
    run_main(main)
