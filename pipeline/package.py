"""Stage `package`: packages the registered models as a Bento and verifies its answers to known digits.

The Bento's version is a digest of its content, so the same content has the same tag on every machine.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.console import PipelineError, run_main, say
from pipeline.deployment.bento_server import serving
from pipeline.files import read_json, sha256, write_json, write_text
from pipeline.paths import BENTOML_HOME, DEMO_NETWORK, REPORTS, ROOT
from pipeline.registry import versions
from pipeline.reporting.measurements import comparison_page
from recognition.model import CARD_FILE, FILES, Model

SHIPPED = ("serving", "recognition", "records")  # packages that the Bento contains, whole
REPORT = Path("serving", "report.html")
ORIGIN = ("run_id", "commit")  # keys of a model's card that tell where it was trained, not what it answers
VERSION_LENGTH = 16  # hexadecimal digits
VERIFIED = "verified"  # empty file in a Bento's folder: it is complete, and its answers were right


def main() -> None:
    os.environ["BENTOML_HOME"] = str(BENTOML_HOME)
    import bentoml

    registered = read_json(REPORTS / "registered.json")
    champion, models = versions.served(registered["model"])
    packaged = {
        "champion": champion,
        "models": {
            name: {"tag": store(registered["model"], model), "version": model.version, "digest": model.digest}
            for name, model in models.items()
        },
    }
    tag = build(packaged, models)
    verified = Path(bentoml.bentos.get(tag).path, VERIFIED)
    try:
        verify(tag, models)
    except PipelineError:
        if not verified.exists():  # a service may run from a Bento that was verified before
            bentoml.bentos.delete(tag)
        raise
    verified.touch()
    write_json(REPORTS / "bento.json", {"bento": tag, "dataset": registered["dataset"], **packaged})
    say(f"{tag}: {', '.join(f'{name} {model.version}' for name, model in models.items())}; champion is {champion}")


def store(registered_model: str, model: Model) -> str:
    """Copy a version into BentoML's model store, unless identical files are there. Returns its tag."""
    import bentoml

    tag = f"{registered_model}-{model.name}:v{model.version}-{model.content_digest[:12]}"
    files = {file: model.folder / file for file in FILES if (model.folder / file).exists()}
    if not keep(bentoml.models, tag, files):
        labels = {"dataset": model.card["dataset"], "entry": model.name, "version": model.version}
        metadata = {key: model.card[key] for key in ("digest", "run_id", "commit", "metrics", "cost")}
        with bentoml.models.create(tag, labels=labels, metadata=metadata) as stored:
            for file, path in files.items():
                shutil.copy(path, stored.path_of(file))
    return tag


def keep(items: Any, tag: str, files: Mapping[str, Path]) -> bool:
    """Whether a store of BentoML has an item with identical `files` (by relative path) in its folder.

    `items`: `bentoml.models` or `bentoml.bentos`. Any other item with this tag is deleted: it is incomplete, because
    its creation was killed, or of another registry.
    """
    from bentoml.exceptions import BentoMLException, NotFound

    try:
        folder = Path(items.get(tag).path)
        if all((folder / name).is_file() and sha256(folder / name) == sha256(path) for name, path in files.items()):
            return True
    except NotFound:
        return False
    except BentoMLException:
        pass  # incomplete
    items.delete(tag)
    return False


def build(packaged: dict[str, Any], models: dict[str, Model]) -> str:
    """Build the Bento, unless it is there. Returns its tag.

    `packaged`: champion, and tag, version and digest of each of the `models`.
    """
    import bentoml

    with tempfile.TemporaryDirectory() as folder:
        context = Path(folder)
        for package in SHIPPED:
            ignore = shutil.ignore_patterns("__pycache__", "packaged.json")
            shutil.copytree(ROOT / package, context / package, ignore=ignore)
        shutil.copy(DEMO_NETWORK, context / "serving" / "page")
        shutil.copy(REPORTS / "comparison.html", context / REPORT)
        write_json(context / "serving" / "packaged.json", packaged)
        files = {path.relative_to(context).as_posix(): path for path in context.rglob("*") if path.is_file()}
        version = content_digest(files, models)[:VERSION_LENGTH]
        tag = f"digits:{version}"
        (context / VERIFIED).touch()
        shipped = {f"src/{name}": path for name, path in files.items() if path != context / REPORT}
        if keep(bentoml.bentos, tag, {**shipped, VERIFIED: context / VERIFIED}):  # the measured times may differ
            return tag
        write_text(context / REPORT, comparison_page())
        bentoml.build(
            "serving.service:Digits",
            name="digits",
            version=version,
            build_ctx=str(context),
            include=[f"{package}/**" for package in SHIPPED],
            labels={"dataset": models[packaged["champion"]].card["dataset"], "champion": packaged["champion"]},
            models=[entry["tag"] for entry in packaged["models"].values()],
        )
    return tag


def content_digest(files: Mapping[str, Path], models: Mapping[str, Model]) -> str:
    """sha256 of the packages' files (by relative path) and of all that the models consist of, except their origin."""
    content: dict[str, Any] = {name: sha256(path) for name, path in files.items()}
    for name, model in models.items():
        content |= {
            f"{name}/{file}": sha256(model.folder / file)
            for file in FILES
            if file != CARD_FILE and (model.folder / file).exists()
        }
        content[f"{name}/{CARD_FILE}"] = {key: value for key, value in model.card.items() if key not in ORIGIN}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def verify(tag: str, models: dict[str, Model]) -> None:
    """Serve the Bento and compare its answers to known digits with those recorded. Raises PipelineError."""
    import numpy as np
    import requests

    isolated = {name: None for name in os.environ if name.startswith("DIGITS_")}
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
