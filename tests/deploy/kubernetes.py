"""The manifests of deploy/kubernetes as kubectl renders them, with secrets made up for the tests."""

import base64
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import REPOSITORY

FOLDER = REPOSITORY / "deploy" / "kubernetes"
OVERLAYS = ("trial", "production")
Manifest = dict[str, Any]


@dataclass(frozen=True)
class Rendered:
    """The objects of an overlay; generated names are without the hash of the content."""

    text: str
    objects: tuple[Manifest, ...]

    def all(self, *kinds: str) -> list[Manifest]:
        return [found for found in self.objects if found["kind"] in kinds]

    def one(self, kind: str, name: str) -> Manifest:
        (found,) = (found for found in self.all(kind) if plain(found["metadata"]["name"]) == name)
        return found

    def pods(self) -> dict[str, Manifest]:
        """The template of every pod, by the name of its Deployment, Job or CronJob."""
        found = {}
        for workload in self.all("Deployment", "Job", "CronJob"):
            spec = workload["spec"]["jobTemplate"]["spec"] if workload["kind"] == "CronJob" else workload["spec"]
            found[workload["metadata"]["name"]] = spec["template"]
        return found

    def data(self, name: str) -> dict[str, str]:
        """The values of a generated ConfigMap, or the keys of a Secret."""
        (found,) = (found for found in self.all("ConfigMap", "Secret") if plain(found["metadata"]["name"]) == name)
        return dict(found["data"])


def plain(name: str) -> str:
    """A name without the hash that kustomize adds."""
    return re.sub(r"-[a-z0-9]{10}$", "", name)


def kubectl() -> str:
    program = shutil.which("kubectl")
    if program is None:
        pytest.skip("kubectl is not installed (Debian: apt-get install kubernetes-client)")
    return program


@cache
def render(overlay: str, folder: Path) -> Rendered:
    """Renders an overlay in a copy of deploy/ in `folder`, with the secrets that the trial makes."""
    program = kubectl()
    copy = folder / "deploy"
    if not copy.exists():
        ignored = shutil.ignore_patterns("secret.env", "stores.env", "s3.json")
        shutil.copytree(REPOSITORY / "deploy", copy, ignore=ignored)
        subprocess.run(["bash", str(copy / "kubernetes" / "trial" / "make-secrets")], check=True)
        shutil.copy(copy / "kubernetes" / "trial" / "secret.env", copy / "kubernetes" / "production")
    command = [program, "kustomize", str(copy / "kubernetes" / overlay)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return Rendered(done.stdout, tuple(yaml.safe_load_all(done.stdout)))


def environment(container: Manifest) -> dict[str, Any]:
    """What a container sets, by name: a value or a reference."""
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container.get("env", [])}


def values(rendered: Rendered, container: Manifest, **fields: str) -> dict[str, str]:
    """The environment of a container as the kubelet makes it; `fields`: values that the cluster knows."""
    maps = [rendered.data(plain(entry["configMapRef"]["name"])) for entry in container.get("envFrom", [])]
    known = {name: value for data in maps for name, value in data.items()}
    own: dict[str, str] = {}
    for name, value in environment(container).items():
        if isinstance(value, str):
            own[name] = re.sub(r"\$\((\w+)\)", lambda found: own[found[1]], value)
        elif "fieldRef" in value:
            own[name] = fields[name]
        elif "configMapKeyRef" in value:
            own[name] = rendered.data(plain(value["configMapKeyRef"]["name"]))[value["configMapKeyRef"]["key"]]
        else:
            encoded = rendered.data(plain(value["secretKeyRef"]["name"]))[value["secretKeyRef"]["key"]]
            own[name] = base64.b64decode(encoded).decode()
    return known | own


def references(value: Any) -> list[tuple[str, str]]:
    """The kinds and names of ConfigMaps and Secrets that a part of a manifest names."""
    found = []
    if isinstance(value, dict):
        for key, part in value.items():
            if key in ("configMapKeyRef", "configMapRef", "configMap"):
                found.append(("ConfigMap", part["name"]))
            elif key in ("secretKeyRef", "secretRef"):
                found.append(("Secret", part["name"]))
            elif key == "secretName":
                found.append(("Secret", part))
            found += references(part)
    for part in value if isinstance(value, list) else []:
        found += references(part)
    return found
