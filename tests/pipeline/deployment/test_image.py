"""`make image` packs the models that the registry serves now. A script replaces docker and keeps the build context."""

import shutil
from pathlib import Path

import pytest

from pipeline.files import read_json
from tests.conftest import Project
from tests.test_pipeline import ran

pytestmark = pytest.mark.slow

DOCKER = """#!/usr/bin/env bash
case "$1" in
  image) echo 1000 ;;  # the size of an image
  build) rm -rf "$BUILT" && cp -r "${@: -1}/bento" "$BUILT" ;;
esac
"""
# The packages of the service are the same for all Bentos, and take long to install
BUILD = """
import sys
from pipeline.deployment import image
def install(requirements, packages):
    print(f"installing {requirements.name}: {'redis==' in requirements.read_text()}")
image.install = install
image.main(base_image="x", variant=image.Variant(sys.argv[1]))
"""
PROMOTION = ("python", "-m", "pipeline.registry.promotion")


@pytest.fixture
def copy(project: Project, tmp_path: Path) -> Project:
    """A copy of the small project and its stores, with the replacement of docker in `bin/`."""
    made = Project.__new__(Project)
    made.folder = shutil.copytree(project.folder, tmp_path / "project", symlinks=True)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "docker").write_text(DOCKER)
    (tmp_path / "bin" / "docker").chmod(0o755)
    return made


def build(project: Project, variant: str = "default") -> tuple[str, dict[str, str]]:
    """Runs `make image`. Returns its output, and the champion and all versions in the image."""
    bin_folder, built = project.folder.with_name("bin"), project.folder.with_name("built")
    path = f"{bin_folder}:{project.environment()['PATH']}"
    output = project.run("python", "-c", BUILD, variant, PATH=path, BUILT=str(built))
    packaged = read_json(built / "src" / "serving" / "packaged.json")
    versions = {name: entry["version"] for name, entry in packaged["models"].items()}
    assert len(list((built / "models").iterdir())) == len(versions)
    return output, {"champion": packaged["champion"], **versions}


def test_the_image_has_the_models_that_are_served_now(copy: Project) -> None:
    registered = read_json(copy.folder / "reports" / "registered.json")
    versions, first = registered["versions"], read_json(copy.folder / "reports" / "bento.json")["champion"]
    other = next(name for name in versions if name != first)
    expected = {"champion": first, **versions}
    output, built = build(copy)
    assert built == expected and "packaging" not in output
    assert "installing requirements.txt: False" in output  # the default image stays small
    output, _ = build(copy, "cluster")
    assert "installing requirements-cluster.txt: True" in output

    copy.run(*PROMOTION, "promote", versions[other], "--reason", "test")
    output, built = build(copy)
    assert built == expected | {"champion": other} and f"packaging {other} as champion" in output

    copy.run(*PROMOTION, "rollback")
    output, built = build(copy)
    assert built == expected and f"packaging {first} as champion" in output
    assert read_json(copy.folder / "reports" / "bento.json")["champion"] == first
    assert ran(copy.repro()) == []


def test_without_a_registry_the_bento_is_built_as_it_is(copy: Project) -> None:
    (copy.folder / "mlflow.db").unlink()
    bento = read_json(copy.folder / "reports" / "bento.json")
    output, built = build(copy)
    assert "the registry has no champion" in output and f"building the image of {bento['bento']} as it is" in output
    assert built == {"champion": bento["champion"], **{name: e["version"] for name, e in bento["models"].items()}}
