"""What several tests share: a small project that has really been run, its service, and a workspace to run stages in."""

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
import pytest
import sqlalchemy as sql
import yaml
from filelock import FileLock
from numpy.typing import NDArray
from playwright.sync_api import Browser, sync_playwright

from records import database
from tests.postgres import postgres, postgres_url
from tests.redis import redis
from tests.s3 import s3

__all__ = ["postgres", "postgres_url", "redis", "s3"]
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")  # the tests expect the numbers of a CPU
os.environ.setdefault("DIGITS_PROCESSES", "1")  # other processes would not see what a test patches
REPOSITORY = Path(__file__).resolve().parent.parent
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NOT_COPIED = {".git", ".venv", ".bentoml", "data", "models", "evaluations", "mlartifacts", "mlflow.db", "digits.db"}
NOT_COPIED |= {"served", "site", "sweep.db", "mutants"}
CHANGING = ("digits.db-", ".coverage")  # files that may disappear while they are copied
LONGEST = ["test_pipeline.py", "test_tutorial.py", "test_promotion.py"]  # only the first waits for the small project
LONGEST += ["test_references.py", "test_train.py", "test_sweep.py"]  # nor do these, while it is built
LONGEST += ["test_retrain.py", "test_ray.py", "test_feedback_loop.py", "test_benchmarks.py", "test_dvc_commands.py"]
LONGEST += ["test_backup_of_servers.py", "test_workflows.py", "test_emnist.py", "test_erase.py", "test_parameters.py"]
LONGEST += ["test_page_views.py", "test_image.py", "test_container.py", "test_containerize.py"]
Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skips", action="store_true", help="report skipped tests as failed")
    parser.addoption("--alone", choices=["only", "without"], help="select or deselect the tests marked `alone`")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Select by --alone. The longest modules come first, so that the workers end at about the same time."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))
    if wanted := config.getoption("alone"):
        alone = {item for item in items if item.get_closest_marker("alone")}
        unwanted = alone if wanted == "without" else set(items) - alone
        config.hook.pytest_deselected(items=[item for item in items if item in unwanted])
        items[:] = [item for item in items if item not in unwanted]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return without_skips((yield), item.config)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return without_skips((yield), collector.config)


def without_skips(report: Report, config: pytest.Config) -> Report:
    """With --no-skips, turns the report of a skipped test or module into that of a failed one."""
    if report.skipped and config.getoption("no_skips"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome, report.longrepr = "failed", f"{report.nodeid} is not to be skipped: {reason}"  # type: ignore
    return report


ignore_corrections = shutil.ignore_patterns("*.npz", "*.dvc")


class Project:
    """A copy of the repository in a folder of its own, with smaller models, as a person would have cloned it."""

    log = ""  # the output of its first `dvc repro`
    lock = b""  # the dvc.lock that it wrote

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        ignore = shutil.ignore_patterns("__pycache__", ".*_cache", "*.pyc")
        for item in REPOSITORY.iterdir():
            if item.name in NOT_COPIED or item.name.endswith("_cache") or item.name.startswith(CHANGING):
                continue
            if item.is_dir():
                shutil.copytree(item, folder / item.name, ignore=ignore)
            else:
                shutil.copy(item, folder / item.name)
        for left in (".dvc/cache", ".dvc/tmp", "reports"):
            shutil.rmtree(folder / left, ignore_errors=True)
        shutil.copytree(REPOSITORY / "data" / "feedback", folder / "data" / "feedback", ignore=ignore_corrections)
        (folder / "dvc.lock").unlink(missing_ok=True)
        self.change(shrink)
        lower_bars(folder)
        self.git("init", "-q")
        self.git("add", "-A")
        self.git("-c", "user.name=test", "-c", "user.email=test@example.org", "commit", "-qm", "small project")

    def copy(self, folder: Path) -> "Project":
        """Copy the project with its stores. The absolute paths in MLflow's database follow."""
        made = Project.__new__(Project)
        made.folder, made.log = Path(shutil.copytree(self.folder, folder, symlinks=True, dirs_exist_ok=True)), self.log
        made.lock = self.lock
        with closing(sqlite3.connect(self.folder / "mlflow.db")) as database:
            statements = "\n".join(database.iterdump())
        (folder / "mlflow.db").unlink()
        with closing(sqlite3.connect(folder / "mlflow.db")) as database:
            database.executescript(statements.replace(str(self.folder), str(folder)))
        return made

    def reuse_stages(self, other: "Project") -> None:
        """Take over another project's DVC cache: stages with the same code, parameters and data do not run again."""
        shutil.copytree(other.folder / ".dvc" / "cache", self.folder / ".dvc" / "cache")

    def git(self, *arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=self.folder, check=True, capture_output=True, text=True
        ).stdout.strip()

    def change(self, edit: Callable[[dict[str, Any]], None]) -> None:
        """Apply `edit` to the content of params.yaml."""
        path = self.folder / "params.yaml"
        content = yaml.safe_load(path.read_text())
        edit(content)
        path.write_text(yaml.safe_dump(content, sort_keys=False))

    def environment(self, **more: str) -> dict[str, str]:
        own = {"DATA_MIRROR", "MLFLOW_TRACKING_URI", "BENTOML_HOME", "PYTHONPATH", "VERSION", "REASON"}
        own |= {"MAKEFLAGS", "MAKELEVEL", "MLFLOW_REGISTRY_URI"}  # set where make runs the tests; the last by MLflow
        prefixes = ("DIGITS_", "GITHUB_")
        kept = {name: text for name, text in os.environ.items() if name not in own and not name.startswith(prefixes)}
        return {**kept, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **more}

    def run(self, *command: str, status: int | None = 0, **environment: str) -> str:
        """Run a command in the project; its output. Fails unless it ends with `status` (None: any)."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment(**environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=800,
        )
        assert status is None or done.returncode == status, f"{command} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def start(self, *command: str, **environment: str) -> subprocess.Popen[str]:
        """Start a command in the project; its output can be read from the process."""
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment(**environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def repro(self, *arguments: str, **environment: str) -> str:
        return self.run("dvc", "repro", *arguments, **environment)


def shrink(params: dict[str, Any]) -> None:
    """The embedded dataset and short training: everything else as in the repository."""
    params["data"]["dataset"] = "optdigits"
    for model in params["models"].values():
        model |= {"epochs": 2, "minimum_steps": 240, "batch_size": 64, "threads": 1}
    params["models"]["mlp"]["arguments"] = {"widths": [64]}
    params["models"]["cnn"]["arguments"] = {"filters": [8, 8, 16, 32]}
    params["demo_network"] |= {"epochs": 2, "minimum_steps": 240, "batch_size": 64}
    params["evaluate"]["latency_calls"] = 20
    # One image of 144 is 0.7 points: tolerances that few images can decide about
    params["selection"] |= {"tolerance": 0.05, "corrupted_tolerance": 0.1, "ood_tolerance": 0.2, "minimum_images": 50}
    params["monitor"]["uncertain"] = 0.3  # few tuning images set the confidence threshold, and the test images differ
    params["corrupt"] |= {
        "validation_images": 50,
        "sensitivity_images": 50,
        "forms": 66,
        "ood_samples": 400,
        "segments": 600,
    }


def lower_bars(folder: Path) -> None:
    """Quality bars that shortly trained models reach."""
    path = folder / "pipeline" / "data" / "datasets.yaml"
    content = yaml.safe_load(path.read_text())
    for entry in content.values():
        entry["quality_bar"] = {"default": 0.3}
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


@pytest.fixture(scope="session")
def make_project(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Project]:
    """Makes a small project that was not run yet."""

    def make(name: str) -> Project:
        return Project(tmp_path_factory.mktemp(name))

    return make


@pytest.fixture(scope="session")
def built_project(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Project:
    """A small project after `dvc repro`, run once for all workers. Tests change copies only.

    The folder is `TEST_PROJECT` where it is set, so that several runs of pytest share it.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent  # each worker has a folder of its own below
    folder = Path(os.environ.get("TEST_PROJECT", shared)) / "built"
    log = folder.with_suffix(".log")
    with FileLock(folder.with_suffix(".lock")):
        if not log.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a worker that failed
            folder.mkdir()
            log.write_text(Project(folder).repro())
    made = Project.__new__(Project)
    made.folder, made.log, made.lock = folder, log.read_text(), (folder / "dvc.lock").read_bytes()
    return made


@pytest.fixture(scope="session")
def project(built_project: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A small project after `dvc repro`, one for each worker. Tests leave its parameters as they found them."""
    return built_project.copy(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="session")
def service(project: Project) -> Iterator[str]:
    """The URL of the small project's built Bento, served for real."""
    from pipeline.files import read_json

    with serve(project, read_json(project.folder / "reports" / "bento.json")["bento"]) as url:
        yield url


@contextmanager
def serve(project: Project, tag: str, **environment: str) -> Iterator[str]:
    """Serve a Bento of a project's own store while the block runs; gives its URL."""
    from pipeline.deployment.bento_server import serving

    with serving(tag, environment, project.folder / ".bentoml") as url:
        yield url


def avoid_the_end_of_a_minute() -> None:
    """Waits for the next minute if this one is almost over: rates in memory count by minutes of the clock."""
    if (left := 60 - time.time() % 60) < 15:
        time.sleep(left + 0.1)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty database, which DIGITS_DATABASE_URL names; each test runs on both kinds."""
    url = f"sqlite:///{tmp_path / 'digits.db'}"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_url")
    monkeypatch.setenv("DIGITS_DATABASE_URL", url)
    return url


@pytest.fixture
def engine(database_url: str) -> Iterator[sql.Engine]:
    """The database of `database_url`, with its tables."""
    opened = database.connect(database.parse_url(database_url))
    database.migrate(opened)
    yield opened
    opened.dispose()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Real Chromium."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def digits() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Forty images like MNIST's, uint8 (40, 28, 28), four of each class, with their labels."""
    return drawn_digits(4)


def drawn_digits(per_class: int, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Simple pictures that tell ten classes apart: a bar whose place and length depend on the class, with noise."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(10), per_class).astype(np.uint8)
    images = np.zeros((len(labels), 28, 28), np.uint8)
    for image, label in zip(images, labels, strict=True):
        row, column = 4 + 2 * int(label), 4 + int(random.integers(0, 3))
        image[row - 1 : row + 2, column : column + 8 + int(label)] = random.integers(150, 256, (3, 8 + int(label)))
        image[12:16, 20:23] = random.integers(100, 256, (4, 3))
    return images, labels


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that takes the place of the repository's root for every path of `pipeline.paths`."""
    from pipeline import paths

    names = [
        name for name, value in vars(paths).items() if isinstance(value, Path) and name not in ("PARAMS", "DATASETS")
    ]
    old = {name: getattr(paths, name) for name in names}
    replaced = {
        name: tmp_path / value.relative_to(paths.ROOT)
        for name, value in old.items()
        if name not in ("ROOT", "TEMPLATES")
    }
    modules: list[ModuleType] = [
        module for name, module in list(sys.modules.items()) if name == "pipeline" or name.startswith("pipeline.")
    ]
    for module in modules:
        for name, value in replaced.items():
            if getattr(module, name, None) == old[name]:
                monkeypatch.setattr(module, name, value)
    replaced["RAW"].mkdir(parents=True)
    return tmp_path
