"""The DVC commands of the documentation, run in a small project as the documentation writes them."""

import re
import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from pipeline.files import read_json, sha256
from pipeline.tracking import flatten
from tests.conftest import REPOSITORY, Project
from tests.serving.conftest import SCREENSHOTS

pytestmark = pytest.mark.slow

REPORT = ("learning", "reliability", "robustness", "confusion of cnn", "confusion of mlp")  # some of the charts


def documented(file: str, heading: str) -> list[str]:
    """The commands of the code block under a heading."""
    found = re.search(rf"## {heading}\n.*?```bash\n(.*?)```", (REPOSITORY / file).read_text(), re.DOTALL)
    assert found is not None
    return found[1].splitlines()


@pytest.fixture(scope="module")
def committed(built_project: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of the small project, which no test has changed, in which `dvc.lock` and the metrics are committed."""
    copy = built_project.copy(tmp_path_factory.mktemp("dvc"))
    copy.git("add", "-A")
    copy.git("-c", "user.name=test", "-c", "user.email=test@example.org", "commit", "-qm", "results")
    return copy


@pytest.fixture(scope="module")
def outputs(committed: Project) -> dict[str, str]:
    """What the commands under "Compare two states of the project" print, by their first three words."""
    printed = {}
    for command in documented("docs/pipeline.md", "Compare two states of the project"):
        command = command.replace("epochs=12", "epochs=20")  # 12 short epochs are as many steps as the project has
        printed[" ".join(command.split()[:3])] = committed.run("bash", "-c", command)
    return printed


def test_an_experiment_runs_what_depends_on_the_parameter_and_is_compared(
    committed: Project, outputs: dict[str, str]
) -> None:
    ran = re.findall(r"Running stage '(.*)'", outputs["dvc exp run"])
    assert ran == ["train@cnn", "evaluate@cnn", "compare", "register", "package"]
    assert re.search(r"^params\.yaml +models\.cnn\.epochs +2 +20$", outputs["dvc params diff"], re.MULTILINE)
    metrics = flatten(read_json(committed.folder / "reports" / "cnn" / "metrics.json"))
    changed = re.findall(r"cnn/metrics\.json +(\S+) +\S+ +(-?[\d.]\S*)", outputs["dvc metrics diff"])
    assert changed and all(float(value) == pytest.approx(metrics[name], abs=1e-4) for name, value in changed)
    header, _, *rows = outputs["dvc exp show"].splitlines()
    columns = [cell.strip() for cell in header.split("|")]
    assert "reports/cnn/metrics.json:test.accuracy" in columns and "reports/mlp/metrics.json:test.accuracy" in columns
    assert not any("models." in column for column in columns)  # dropped
    assert len([row for row in rows if row.strip("| ")]) == 3  # workspace, commit, experiment


@pytest.mark.parametrize("command", ["show", "diff"])
def test_plots_open_without_a_network(
    committed: Project, outputs: dict[str, str], browser: Browser, tmp_path: Path, command: str
) -> None:
    assert "dvc_plots/index.html" in outputs[f"dvc plots {command}"]
    committed.run("dvc", "plots", command, "--out", str(tmp_path))
    context = browser.new_context(offline=True)
    page, requested = context.new_page(), []
    page.on("request", lambda request: requested.append(request.url))
    page.goto((tmp_path / "index.html").as_uri(), wait_until="load")
    shown = page.evaluate("[...document.images].map(image => [decodeURI(image.src), image.naturalWidth, image.width])")
    page.screenshot(path=SCREENSHOTS / f"dvc-plots-{command}.png")
    context.close()
    assert all(url.startswith("file:") for url in requested)
    assert all(natural > 0 and width > 300 for _, natural, width in shown)
    revisions = ("workspace",) if command == "show" else ("HEAD", "workspace")
    for revision in revisions:
        for chart in REPORT:
            assert any(name.endswith(f"/{revision}_reports_comparison.charts_{chart}.svg") for name, *_ in shown)


def test_a_clone_pulls_what_was_pushed(committed: Project, tmp_path: Path) -> None:
    (row,) = re.findall(
        r"\| DVC remote \| `(.*?)`; `(.*?)` in another clone", (REPOSITORY / "docs" / "customization.md").read_text()
    )
    push, pull = row
    assert "s3://bucket/path" in push
    committed.run("bash", "-c", push.replace("s3://bucket/path", str(tmp_path / "remote")))
    committed.git("add", "-A")
    committed.git("-c", "user.name=test", "-c", "user.email=test@example.org", "commit", "-qm", "experiment, remote")
    subprocess.run(["git", "clone", "--quiet", committed.folder, tmp_path / "clone"], check=True)
    clone = Project.__new__(Project)
    clone.folder = tmp_path / "clone"
    clone.run(*pull.split())
    for file in ("models/cnn/model.tflite", "data/prepared/test.npz", "reports/comparison.html"):
        assert sha256(clone.folder / file) == sha256(committed.folder / file)
    assert "Data and pipelines are up to date" in clone.run("dvc", "status", "compare")
