"""Stage `package`: the registered models inside a Bento, which has answered known digits before it counts."""

import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from pipeline import registry
from pipeline.bento_server import serving
from pipeline.files import read_json, sha256, write_json
from pipeline.params import load_params
from pipeline.paths import BENTOML_HOME, REPORTS, ROOT
from pipeline.terminal import PipelineError, say, stage


def main() -> None:
    os.environ["BENTOML_HOME"] = str(BENTOML_HOME)
    tolerance = load_params().package.probability_tolerance
    registered = read_json(REPORTS / "registered.json")
    champion, models = collect(registered["model"])
    check_answers(models, tolerance)
    tags = {name: save_model(registered["model"], name, model) for name, model in models.items()}
    packaged = {
        "champion": champion,
        "models": {
            name: {"tag": tags[name], "version": model.version, "digest": model.card["digest"]}
            for name, model in models.items()
        },
    }
    tag = build(packaged, registered["dataset"])
    try:
        answer_known_digits(tag, models, tolerance)
    except PipelineError:
        import bentoml

        bentoml.bentos.delete(tag)
        raise
    write_json(REPORTS / "bento.json", {"bento": tag, "dataset": registered["dataset"], **packaged})
    say(f"{tag}: {', '.join(f'{name} {model.version}' for name, model in models.items())}; champion is {champion}")


def collect(model: str) -> tuple[str, dict[str, registry.Registered]]:
    """The champion's name, and what is served under each entry's name.

    An entry is served at the version behind its alias, but the champion's entry at the champion's version: a newer one
    was refused by the gate.
    """
    current = registry.by_alias(model, registry.CHAMPION)
    if current is None:
        raise PipelineError(f"{model} has no champion; {registry.REPAIR}")
    champion = registry.download(model, current.version)
    models = {champion.name: champion}
    for name in load_params().models:
        if name not in models and (version := registry.by_alias(model, name)) is not None:
            models[name] = registry.download(model, version.version)
    return champion.name, {name: models[name] for name in sorted(models, key=_order)}


def _order(name: str) -> int:
    order = list(load_params().models)
    return order.index(name) if name in order else len(order)


def check_answers(models: dict[str, registry.Registered], tolerance: float) -> None:
    """Raise PipelineError when a model from the registry is not the file that was evaluated, or answers otherwise."""
    import numpy as np

    from pipeline.inference import Classifier

    for name, model in models.items():
        file = model.folder / "model.tflite"
        if sha256(file) != model.card["digest"]:
            raise PipelineError(f"{name} {model.version}: expected sha256 {model.card['digest']}, found {sha256(file)}")
        with np.load(model.folder / "known_digits.npz") as known:
            answers = Classifier(file).probabilities(known["images"])
            difference = float(np.abs(answers - known["probabilities"]).max())
        if difference > tolerance:
            raise PipelineError(
                f"{name} version {model.version} answers otherwise than when it was evaluated: a probability differs "
                f"by {difference:.3g}, expected {tolerance:g} or less"
            )


def save_model(registered_model: str, name: str, model: registry.Registered) -> str:
    """Put the version of the entry `name` into BentoML's model store, once; returns its tag."""
    import bentoml

    tag = f"{registered_model}-{name}:v{model.version}-{model.card['digest'][:12]}"
    try:
        bentoml.models.get(tag)
    except bentoml.exceptions.NotFound:
        card = model.card
        labels = {"dataset": card["dataset"], "entry": name, "version": model.version}
        metadata = {key: card[key] for key in ("digest", "run_id", "commit", "metrics", "cost")}
        with bentoml.models.create(tag, labels=labels, metadata=metadata) as stored:
            for file in registry.CARRIED:
                if (model.folder / file).exists():  # a version from before there were cards is served without one
                    shutil.copy(model.folder / file, stored.path_of(file))
    return tag


def shared_modules() -> set[str]:
    """The modules of `pipeline` that the service imports, and those that these import."""
    found: set[str] = set()
    waiting = list((ROOT / "serving").glob("*.py"))
    while waiting:
        imports = re.findall(r"^from pipeline\.(\w+) import", waiting.pop().read_text(encoding="utf-8"), re.MULTILINE)
        new = set(imports) - found
        found |= new
        waiting += [ROOT / "pipeline" / f"{module}.py" for module in new]
    return found


def build(packaged: dict[str, Any], dataset: str) -> str:
    """Build the Bento from just the files that it needs; returns its tag."""
    import bentoml

    with tempfile.TemporaryDirectory() as folder:
        context = Path(folder)
        shutil.copytree(
            ROOT / "serving", context / "serving", ignore=shutil.ignore_patterns("__pycache__", "packaged.json")
        )
        (context / "pipeline").mkdir()
        for module in ("__init__", *sorted(shared_modules())):
            shutil.copy(ROOT / "pipeline" / f"{module}.py", context / "pipeline")
        shutil.copy(REPORTS / "comparison.html", context / "serving" / "report.html")
        write_json(context / "serving" / "packaged.json", packaged)
        bento = bentoml.build(
            "serving.service:Digits",
            name="digits",
            build_ctx=str(context),
            include=["serving/**", "pipeline/**"],
            labels={"dataset": dataset, "champion": packaged["champion"]},
            models=[entry["tag"] for entry in packaged["models"].values()],
        )
    return str(bento.tag)


def answer_known_digits(tag: str, models: dict[str, registry.Registered], tolerance: float) -> None:
    """Serve the Bento for a moment and hold its answers to known digits against the recorded ones."""
    import numpy as np
    import requests

    with serving(tag) as url:
        for name, model in models.items():
            with np.load(model.folder / "known_digits.npz") as known:
                body = {"images": known["images"].tolist(), "model": name}
                response = requests.post(f"{url}/predict_pixels", json=body, timeout=30)
                if response.status_code != 200:
                    raise PipelineError(
                        f"{tag}: a known digit of {name} got {response.status_code}: {response.text[:200]}"
                    )
                found = np.array([row["probabilities"] for row in response.json()["results"]])
                difference = float(np.abs(found - known["probabilities"]).max())
            if difference > tolerance:
                raise PipelineError(f"{tag}: {name} answers a known digit otherwise, by {difference:.3g}")


if __name__ == "__main__":
    stage(main)
