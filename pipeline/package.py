"""Stage `package`: the registered models inside a Bento, which has answered known digits before it counts."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from pipeline.console import PipelineError, run_main, say
from pipeline.deployment.bento_server import serving
from pipeline.files import read_json, sha256, write_json
from pipeline.params import load_params
from pipeline.paths import BENTOML_HOME, DEMO_NETWORK, REPORTS, ROOT
from pipeline.registry import versions

SHIPPED = ("serving", "recognition", "records")  # packages of the Bento, whole


def main() -> None:
    os.environ["BENTOML_HOME"] = str(BENTOML_HOME)
    tolerance = load_params().package.probability_tolerance
    registered = read_json(REPORTS / "registered.json")
    champion, models = versions.served(registered["model"])
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


def check_answers(models: dict[str, versions.Registered], tolerance: float) -> None:
    """Raise PipelineError when a model from the registry is not the file that was evaluated, or answers otherwise."""
    import numpy as np

    from recognition.classifier import Classifier

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


def save_model(registered_model: str, name: str, model: versions.Registered) -> str:
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
            for file in versions.CARRIED:
                if (model.folder / file).exists():  # a version from before there were cards is served without one
                    shutil.copy(model.folder / file, stored.path_of(file))
    return tag


def build(packaged: dict[str, Any], dataset: str) -> str:
    """Build the Bento from just the files that it needs; returns its tag."""
    import bentoml

    with tempfile.TemporaryDirectory() as folder:
        context = Path(folder)
        ignore = shutil.ignore_patterns("__pycache__", "packaged.json")
        for package in SHIPPED:
            shutil.copytree(ROOT / package, context / package, ignore=ignore)
        shutil.copy(DEMO_NETWORK, context / "serving" / "page")
        shutil.copy(REPORTS / "comparison.html", context / "serving" / "report.html")
        write_json(context / "serving" / "packaged.json", packaged)
        bento = bentoml.build(
            "serving.service:Digits",
            name="digits",
            build_ctx=str(context),
            include=[f"{package}/**" for package in SHIPPED],
            labels={"dataset": dataset, "champion": packaged["champion"]},
            models=[entry["tag"] for entry in packaged["models"].values()],
        )
    return str(bento.tag)


def answer_known_digits(tag: str, models: dict[str, versions.Registered], tolerance: float) -> None:
    """Serve the Bento for a moment and hold its answers to known digits against the recorded ones."""
    import numpy as np
    import requests

    packaged_alone = dict.fromkeys(("DIGITS_API_KEY", "DIGITS_LOG_PREDICTIONS", "DIGITS_MODEL_DIR"), "")
    with serving(tag, packaged_alone) as url:
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
    run_main(main)
