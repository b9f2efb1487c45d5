"""Stage `package`: packages the registered models as a Bento and verifies its answers to known digits."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from pipeline.console import PipelineError, run_main, say
from pipeline.deployment.bento_server import serving
from pipeline.files import read_json, write_json
from pipeline.paths import BENTOML_HOME, DEMO_NETWORK, REPORTS, ROOT
from pipeline.registry import versions
from recognition.model import FILES, Model

SHIPPED = ("serving", "recognition", "records")  # packages that the Bento contains, whole


def main() -> None:
    os.environ["BENTOML_HOME"] = str(BENTOML_HOME)
    registered = read_json(REPORTS / "registered.json")
    champion, models = versions.served(registered["model"])
    packaged = {
        "champion": champion,
        "models": {
            name: {"tag": store(registered["model"], model), "version": model.version, "digest": model.digest}
            for name, model in models.items()
        },
    }
    tag = build(packaged, registered["dataset"])
    try:
        verify(tag, models)
    except PipelineError:
        import bentoml

        bentoml.bentos.delete(tag)
        raise
    write_json(REPORTS / "bento.json", {"bento": tag, "dataset": registered["dataset"], **packaged})
    say(f"{tag}: {', '.join(f'{name} {model.version}' for name, model in models.items())}; champion is {champion}")


def store(registered_model: str, model: Model) -> str:
    """Copy a version into BentoML's model store, unless it is there. Returns its tag."""
    import bentoml

    tag = f"{registered_model}-{model.name}:v{model.version}-{model.content_digest[:12]}"
    try:
        bentoml.models.get(tag)
    except bentoml.exceptions.NotFound:
        labels = {"dataset": model.card["dataset"], "entry": model.name, "version": model.version}
        metadata = {key: model.card[key] for key in ("digest", "run_id", "commit", "metrics", "cost")}
        with bentoml.models.create(tag, labels=labels, metadata=metadata) as stored:
            for file in FILES:
                if (model.folder / file).exists():
                    shutil.copy(model.folder / file, stored.path_of(file))
    return tag


def build(packaged: dict[str, Any], dataset: str) -> str:
    """Build the Bento. Returns its tag. `packaged`: champion, and tag, version and digest of each model."""
    import bentoml

    with tempfile.TemporaryDirectory() as folder:
        context = Path(folder)
        for package in SHIPPED:
            ignore = shutil.ignore_patterns("__pycache__", "packaged.json")
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


def verify(tag: str, models: dict[str, Model]) -> None:
    """Serve the Bento and compare its answers to known digits with those recorded. Raises PipelineError."""
    import numpy as np
    import requests

    isolated = dict.fromkeys(("DIGITS_API_KEY", "DIGITS_LOG_PREDICTIONS", "DIGITS_MODEL_DIR"), "")
    with serving(tag, isolated) as url:
        for name, model in models.items():
            body = {"images": model.known_digits[0].tolist(), "model": name}
            response = requests.post(f"{url}/predict_pixels", json=body, timeout=30)
            if response.status_code != 200:
                raise PipelineError(f"{tag}: a known digit of {name} got {response.status_code}: {response.text[:200]}")
            found = np.array([row["probabilities"] for row in response.json()["results"]])
            if not model.matches_known_digits(found):
                raise PipelineError(f"{tag}: {name} answers a known digit differently than its evaluation recorded")


if __name__ == "__main__":
    run_main(main)
