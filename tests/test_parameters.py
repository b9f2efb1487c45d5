"""dvc.yaml declares every parameter that a stage reads; the reads are recorded while the stages run."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from pipeline.files import read_json
from tests.conftest import REPOSITORY, Project

pytestmark = pytest.mark.slow

DVC = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]
STAGES = ["fetch", "validate", "prepare", "corrupt", "train@mlp", "train@cnn", "demo_network", "evaluate@mlp"]
STAGES += ["evaluate@cnn", "compare", "register", "package"]
DATASETS = "pipeline/data/datasets.yaml"
CHOSEN, FALLBACK = "fashion-mnist", "optdigits"
Reads = dict[str, dict[str, dict[str, bool]]]


@pytest.fixture(scope="module")
def reads(make_project: Callable[[str], Project]) -> Reads:
    """What each stage reads, by file, while no mirror answers: all stages after `fetch` use the fallback."""
    project = make_project("parameters")

    def edit(params: dict[str, Any]) -> None:
        params["data"]["dataset"] = CHOSEN
        for training in (*params["models"].values(), params["demo_network"]):
            training |= {"epochs": 1, "minimum_steps": 1}  # what a training reads does not depend on its length

    project.change(edit)
    path = project.folder / DATASETS
    content = yaml.safe_load(path.read_text())
    content[CHOSEN]["mirrors"] = ["http://127.0.0.1:9/"]
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    project.run("python", "-m", "tests.recorded_parameters", "reads.json", *STAGES)
    recorded: Reads = read_json(project.folder / "reads.json")
    return recorded


def declared(definition: dict[str, Any], key: str) -> dict[str, list[str]]:
    """Keys that a stage declares, by file. `key`: the model of this stage."""
    found: dict[str, list[str]] = {"params.yaml": [], DATASETS: []}
    for entry in definition.get("params", []):
        for file, names in (entry if isinstance(entry, dict) else {"params.yaml": [entry]}).items():
            found[file] += [name.replace("${key}", key).replace("${data.dataset}", CHOSEN) for name in names]
    return found


def undeclared(stage: str, stages: dict[str, Any], reads: Reads) -> set[str]:
    """Keys that a stage reads and does not declare.

    A stage that reads an entry of datasets.yaml declares it for the chosen dataset and for the fallback, because either
    may be in use. Only `fetch` always reads the chosen one.
    """
    name, _, key = stage.partition("@")
    keys = declared(stages[name].get("do", stages[name]), key)
    missing = set()
    for file, paths in reads.get(stage, {}).items():
        for path, is_value in paths.items():
            rest = path.partition(".")[2]
            entries = [CHOSEN] if name == "fetch" else [CHOSEN, FALLBACK]
            for wanted in [f"{dataset}.{rest}" for dataset in entries] if file == DATASETS else [path]:
                above = any(wanted == known or wanted.startswith(f"{known}.") for known in keys[file])
                below = any(known.startswith(f"{wanted}.") for known in keys[file])
                if not (above or (below and not is_value)):
                    missing.add(wanted)
    return missing


def without_each(stages: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Stage, key and the stages without the declaration of this key."""
    for name in stages:
        for index, entry in enumerate(stages[name].get("do", stages[name]).get("params", [])):
            for key in entry[DATASETS] if isinstance(entry, dict) else [entry]:
                changed = copy.deepcopy(stages)
                entries = changed[name].get("do", changed[name])["params"]
                if isinstance(entry, dict):
                    entries[index][DATASETS].remove(key)
                else:
                    del entries[index]
                yield name, key, changed


def test_every_stage_was_recorded(reads: Reads) -> None:
    assert {stage.partition("@")[0] for stage in STAGES} == set(DVC)
    assert reads["demo_network"]["params.yaml"]["demo_network.augmentation.smoothness"]
    assert reads["train@cnn"][DATASETS] == {f"{FALLBACK}.classes": True}
    assert not {path for path in reads["train@cnn"]["params.yaml"] if path.startswith("models.mlp")}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_the_parameters_that_it_reads(stage: str, reads: Reads) -> None:
    assert undeclared(stage, DVC, reads) == set()


@pytest.mark.parametrize(("name", "key", "changed"), without_each(DVC), ids=lambda value: str(value)[:40])
def test_every_declaration_is_needed(name: str, key: str, changed: dict[str, Any], reads: Reads) -> None:
    assert any(undeclared(stage, changed, reads) for stage in STAGES if stage.partition("@")[0] == name)
