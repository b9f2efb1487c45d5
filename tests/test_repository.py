"""The repository's own promises: pins, declared dependencies, documented targets, and what it must not contain."""

import ast
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from pipeline.cli.commands import app
from pipeline.package import SHIPPED
from tests.conftest import REPOSITORY

DVC = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]
# Modules without influence on what a stage computes: where files lie, how they are written, what is printed, logged
PLUMBING = {f"pipeline.{name}" for name in ("files", "params", "settings", "paths", "console", "tracking")}
PLUMBING |= {"recognition.native_output"}
PACKAGES = ("pipeline", "recognition", "records")


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return [REPOSITORY / name for name in listed.splitlines() if (REPOSITORY / name).exists()]


def pins(name: str) -> dict[str, str]:
    lines = (REPOSITORY / name).read_text().splitlines()
    return dict(re.split(" [;\\\\]", line)[0].split("==") for line in lines if re.match(r"^[a-zA-Z0-9_.-]+==", line))


LOCKS = ("requirements.txt", "requirements-cluster.txt", "requirements-dev.txt", "requirements-image.txt")
LOCKS += ("serving/requirements.txt", "serving/requirements-cluster.txt")


@pytest.mark.parametrize("name", LOCKS)
def test_every_requirement_is_pinned_with_hashes_and_no_index_is_named(name: str) -> None:
    lines = (REPOSITORY / name).read_text().replace("\\\n", "").splitlines()
    lines = [line for line in lines if line and not line.lstrip().startswith("#")]
    pattern = re.compile(r"^[a-zA-Z0-9_.\[\]-]+==[^ ]+( ; [^\\]+?)?( +--hash=sha256:[0-9a-f]{64})+$")
    assert len(lines) > (30 if "cluster" in name else 50) and [line for line in lines if not pattern.match(line)] == []


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_has_what_its_list_names(name: str) -> None:
    listed = (REPOSITORY / name).with_suffix(".in").read_text()
    names = {re.sub("[._]", "-", line.lower()) for line in re.findall(r"^[a-zA-Z0-9_.-]+", listed, re.MULTILINE)}
    assert names - {"-c", "-r"} <= pins(name).keys()


def test_the_lists_agree() -> None:
    run, cluster, dev, image, serving, serving_cluster = map(pins, LOCKS)
    assert run.items() | cluster.items() <= dev.items() & image.items()
    assert serving.items() <= run.items() & serving_cluster.items()
    assert all(dev.get(name, version) == version for name, version in serving_cluster.items())
    assert all(run.get(name, version) == version for name, version in cluster.items())
    assert "ray" in cluster and not {"ray", "s3fs"} & run.keys()


def source(module: str) -> Path:
    return REPOSITORY / f"{module.replace('.', '/')}.py"


def imports(module: str) -> set[str]:
    """Our modules that a module imports, wherever the import stands."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source(module).read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in PACKAGES:
            named = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            found |= {name for name in named if source(name).exists()}
    return found


def needed(module: str) -> set[str]:
    """A module and everything it imports, except the plumbing."""
    found, waiting = set(), [module]
    while waiting:
        name = waiting.pop()
        if name not in found | PLUMBING:
            found.add(name)
            waiting += imports(name)
    return found


@pytest.mark.parametrize("stage", DVC)
def test_a_stage_declares_the_modules_that_it_runs(stage: str) -> None:
    definition = DVC[stage].get("do", DVC[stage])
    declared = {path for path in definition["deps"] if path.endswith(".py")}
    expected = {source(module).relative_to(REPOSITORY).as_posix() for module in needed(f"pipeline.{stage}")}
    if stage == "train":  # these draw a picture for MLflow; a new colour must not train again
        expected -= {"pipeline/reporting/charts.py", "pipeline/reporting/rendering.py"}
    if stage == "register":  # stored with the model, not imported
        expected |= {"pipeline/registry/pyfunc.py"}
    if stage == "package":  # ships these packages whole
        assert {*SHIPPED} <= {*definition["deps"]}
        expected = {path for path in expected if path.split("/")[0] not in SHIPPED}
    assert declared == expected


def test_only_what_trains_imports_tensorflow() -> None:
    heavy = {
        ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
        for path in (REPOSITORY / "pipeline").rglob("*.py")
        if re.search(r"^\s*(import|from) (tensorflow|keras)", path.read_text(), re.MULTILINE)
    }
    users = {stage for stage in DVC if needed(f"pipeline.{stage}") & heavy}
    assert users == {"train", "demo_network"}


def test_make_help_lists_every_target() -> None:
    said = subprocess.run(["make", "help"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    makefile = (REPOSITORY / "Makefile").read_text()
    rules = re.findall(r"^([a-z][a-z -]*):", makefile, re.MULTILINE)
    targets = {target for names in rules for target in names.split()}
    assert "run" in targets and targets == set(re.findall(r"^(\S+) +\w", said, re.MULTILINE))
    (phony,) = re.findall(r"^\.PHONY: (.*\\\n.*)", makefile, re.MULTILINE)
    assert targets == set(phony.replace("\\", "").split())


def test_clean_keeps_the_registry_the_log_and_the_data(tmp_path: Path) -> None:
    kept = {
        "Makefile", "mlflow.db", "digits.db", "served/current.json", "data/raw/a.gz", "mlartifacts/x", ".bentoml/y",
        ".dvc/cache/z", "reports/cnn/metrics.json", "pipeline/p.py",
    }  # fmt: skip
    for name in (*kept, "reports/comparison.html", "models/cnn/model.keras", "pipeline/__pycache__/p.pyc"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text((REPOSITORY / "Makefile").read_text() if name == "Makefile" else "")
    subprocess.run(["make", "clean"], cwd=tmp_path, check=True, capture_output=True)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == kept


def test_no_data_models_or_large_files_are_tracked() -> None:
    for path in tracked():
        assert path.suffix not in {".gz", ".npz", ".keras", ".tflite", ".h5", ".db", ".ipynb", ".parquet"}, path
        assert path.stat().st_size < 500_000, path


def test_no_machines_paths_are_tracked() -> None:
    homes = re.compile(r"(/home/|/Users/|/root/|(?<!\w)/tmp/\w)")
    for path in tracked():
        if path.suffix in {".py", ".yaml", ".yml", ".md", ".html", ".js", ".css", ".toml", ".txt", ".in", ""}:
            of_containers = ("Containerfile", "test_container.py", "test_kubernetes.py", "test_pipeline_image.py")
            if path == Path(__file__) or path.name in of_containers or path.parent.parent.name == "kubernetes":
                continue  # these name folders of the container
            assert not homes.search(path.read_text(encoding="utf-8")), path


def test_every_module_says_what_it_is_for() -> None:
    for folder in ("pipeline", "recognition", "records", "serving", "learn", "benchmarks"):
        for path in (REPOSITORY / folder).rglob("*.py"):
            assert ast.get_docstring(ast.parse(path.read_text())), path


def test_modules_are_short_and_folders_of_the_pipeline_small() -> None:
    for package in ("pipeline", "serving", "recognition", "records", "learn"):
        for path in (REPOSITORY / package).rglob("*.py"):
            assert len(path.read_text().splitlines()) <= 250, path
    folders = [
        path.parent for package in ("pipeline", "serving") for path in (REPOSITORY / package).glob("*/__init__.py")
    ]
    for folder in folders:
        assert len(list(folder.glob("*.py"))) <= 11, folder  # ten modules and __init__.py


def test_the_top_of_the_pipeline_holds_the_stages_and_six_shared_modules() -> None:
    shared = {"__init__", "params", "settings", "paths", "files", "console", "tracking"}
    assert {path.stem for path in (REPOSITORY / "pipeline").glob("*.py")} == {*DVC} | shared


def test_files_that_the_contributing_guide_names_exist() -> None:
    text = (REPOSITORY / "CONTRIBUTING.md").read_text()
    named = {words for words in re.findall(r"`([\w./-]+)`", text) if "/" in words or words.endswith((".py", ".yaml"))}
    assert len(named) > 25
    missing = {name for name in named if not (REPOSITORY / name).exists()}
    subpackages = {name for package in ("pipeline", "serving") for name in next(os.walk(REPOSITORY / package))[1]}
    assert missing <= {"screenshots/", *(f"{name}/" for name in subpackages)}


PAGES = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md")])


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_the_pages_lead_to_files_and_headings(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'<img src="([^"]+)"', text):
        if link.startswith(("https://", "http://", "../../")):
            continue  # ../../ leads to a page of GitHub
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=lambda page: page.name)
def test_make_targets_and_digits_commands_that_the_pages_name_exist(page: Path) -> None:
    text = page.read_text()
    code = re.findall(r"`([^`\n]+)`", text)
    code += [line for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    named = {found.groups() for part in code if (found := re.search(r"(?:^|\s)(make|digits) ([a-z][a-z-]*)", part))}
    targets = re.findall(r"^([a-z][a-z-]*):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    commands = get_command(app).commands  # type: ignore[attr-defined]
    known = {*(("make", target) for target in targets), *(("digits", command) for command in commands)}
    assert named <= known


def test_the_readme_is_a_front_page() -> None:
    assert len((REPOSITORY / "README.md").read_text().splitlines()) <= 200
