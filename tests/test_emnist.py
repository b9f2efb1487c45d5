"""47 classes through the whole pipeline: synthetic EMNIST files, a model, the report, a service and its page."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from pipeline.files import read_json
from tests.conftest import Project, serve
from tests.emnist import CLASSES, NAME, draw_characters, write_files

pytestmark = pytest.mark.slow
PER_CLASS = {"train": 60, "test": 6}
# In one process, because the imports of each would take longer than the small stages
STAGES = """
from pipeline import compare, corrupt, demo_network, evaluate, fetch, package, prepare, register, train, validate
for stage in (fetch, validate, prepare, corrupt):
    stage.main()
for name in MODELS:
    train.main(name)
    evaluate.main(name)
for stage in (demo_network, compare, register, package):
    stage.main()
"""


def describe_files(project: Project) -> None:
    """Make the entry of the dataset describe the small files."""
    path = project.folder / "pipeline" / "data" / "datasets.yaml"
    content = yaml.safe_load(path.read_text())
    entry = content[NAME]
    entry["counts"] = {split: [count] * len(CLASSES) for split, count in PER_CLASS.items()}
    train, test = (float(draw_characters(count, seed)[0].mean()) for seed, count in enumerate(PER_CLASS.values()))
    entry["expected"]["mean_intensity"] = {"train": train, "test": test, "tolerance": 0.01}
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def choose(params: dict[str, Any]) -> None:
    params["data"] |= {"dataset": NAME, "fallback": None, "validation_share": 0.2, "tuning_share": 0.2}
    params["corrupt"] |= {"images": 100, "ood_samples": 200, "segments": 100}
    del params["models"]["cnn"]


@pytest.fixture(scope="module")
def characters(make_project: Callable[[str], Project]) -> Project:
    """A small project whose models know 47 classes."""
    project = make_project("characters")
    project.change(choose)
    describe_files(project)
    mirror = project.folder / "mirror"
    write_files(mirror / NAME, PER_CLASS)
    project.run("python", "-c", STAGES.replace("MODELS", "['mlp']"), DATA_MIRROR=str(mirror))
    return project


@pytest.fixture(scope="module")
def service(characters: Project) -> Iterator[str]:
    """The URL of the Bento of `characters`, which stores predictions."""
    tag = read_json(characters.folder / "reports" / "bento.json")["bento"]
    with serve(characters, tag, DIGITS_LOG_PREDICTIONS="true") as url:
        yield url
