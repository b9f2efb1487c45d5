"""Run stages in one process and record which parameters and dataset entries each of them reads.

python -m tests.recorded_parameters OUTPUT.json STAGE[@NAME] ...

Writes {stage: {file: {path: whether a value was read; false: only a section on the way to a value}}}.
"""

import importlib
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from pipeline import params
from pipeline.data import datasets
from pipeline.paths import DATASETS, PARAMS, ROOT

Place = tuple[str, str]  # file, dotted path
reads: dict[str, dict[str, dict[str, bool]]] = defaultdict(lambda: defaultdict(dict))
places: dict[int, tuple[Place, Any]] = {}  # by id; keeps each object, so that no other one gets its id
stage = ""


def record(place: Place, value: bool) -> None:
    file, path = place
    reads[stage][file][path] = reads[stage][file].get(path, False) or value


class Entries(dict[str, Any]):
    """A mapping of names to settings: its names are a value, one entry is a section."""

    place: Place

    def __iter__(self) -> Iterator[str]:
        record(self.place, True)
        return super().__iter__()

    def keys(self) -> Any:
        record(self.place, True)
        return super().keys()

    def items(self) -> Any:
        record(self.place, True)
        return super().items()

    def values(self) -> Any:
        record(self.place, True)
        return super().values()


def watch(found: Any, file: str, path: str) -> Any:
    """Returns the object, whose reads are recorded from now on, with all settings in it."""
    if isinstance(found, params.Settings):
        for name, value in list(found.__dict__.items()):
            found.__dict__[name] = watch(value, file, f"{path}.{name}".lstrip("."))
        places[id(found)] = (file, path), found
    elif isinstance(found, dict) and any(isinstance(value, params.Settings) for value in found.values()):
        entries = Entries({name: watch(value, file, f"{path}.{name}".lstrip(".")) for name, value in found.items()})
        entries.place = file, path
        return entries
    return found


def parse_settings(path: Path, kind: Any, content: Any, parse: Callable[..., Any] = params.parse_settings) -> Any:
    parsed, file = parse(path, kind, content), path.relative_to(ROOT).as_posix()
    if path == DATASETS:  # the names of all datasets shape nothing
        return {name: watch(entry, file, name) for name, entry in parsed.items()}
    return watch(parsed, file, "")


def get_attribute(settings: params.Settings, name: str) -> Any:
    found = object.__getattribute__(settings, name)
    if id(settings) in places and name in type(settings).model_fields:
        file, path = places[id(settings)][0]
        record((file, f"{path}.{name}".lstrip(".")), not isinstance(found, params.Settings | Entries))
    return found


def model_dump(settings: params.Settings, **options: Any) -> dict[str, Any]:
    if id(settings) in places:
        record(places[id(settings)][0], True)
    return BaseModel.model_dump(settings, **options)


def model_copy(settings: params.Settings, **options: Any) -> params.Settings:
    copy = BaseModel.model_copy(settings, **options)
    if id(settings) in places:
        places[id(copy)] = places[id(settings)][0], copy
    return copy


def main(output: str, *stages: str) -> None:
    global stage
    for module in (params, datasets):
        setattr(module, "parse_settings", parse_settings)  # noqa: B010  # mypy forbids the plain assignment
    for method in (model_dump, model_copy):
        setattr(params.Settings, method.__name__, method)
    setattr(params.Settings, "__getattribute__", get_attribute)  # noqa: B010
    for stage in stages:
        name, _, key = stage.partition("@")
        importlib.import_module(f"pipeline.{name}").main(*([key] if key else []))
    Path(output).write_text(json.dumps(reads))


if __name__ == "__main__":
    assert PARAMS.parent == Path.cwd()
    main(*sys.argv[1:])
