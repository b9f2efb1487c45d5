"""MLflow's pages of a small project in a real browser, as a user sees them who follows the printed address."""

import re
from collections.abc import Iterator

import psutil
import pytest
from playwright.sync_api import Browser, Page, expect

from pipeline.deployment.bento_server import free_port
from pipeline.files import read_json
from tests.conftest import Project
from tests.serving.conftest import SCREENSHOTS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def address(project: Project) -> Iterator[str]:
    """The address of the experiment that `digits mlflow` prints."""
    port = free_port()
    process = project.start("digits", "mlflow", "--port", str(port))
    assert process.stdout is not None
    printed = ""
    for line in process.stdout:
        printed += line
        if "Application startup complete" in line:
            break
    found = re.search(r"optdigits: (http://localhost:\S+)", printed)
    assert found is not None, printed
    yield found[1]
    family = [*psutil.Process(process.pid).children(recursive=True), process]
    for member in family:
        member.kill()
    process.wait()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of a browser that never opened MLflow."""
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    yield context.new_page()
    context.close()


def test_the_experiment_opens_on_its_runs_and_describes_them(page: Page, address: str) -> None:
    page.goto(address)
    expect(page.get_by_role("heading", name="Runs")).to_be_visible(timeout=30_000)
    assert "/runs?" in page.url
    expect(page.get_by_text("Models trained on this dataset.")).to_be_visible()
    page.screenshot(path=SCREENSHOTS / "mlflow-runs.png")
    page.get_by_role("link", name="cnn", exact=True).first.click()
    expect(page.get_by_text(re.compile("Training of cnn on .*: test accuracy .*95% interval"))).to_be_visible(
        timeout=30_000
    )


def test_the_registered_model_and_its_versions_are_described_and_compared(
    page: Page, address: str, project: Project
) -> None:
    registered = read_json(project.folder / "reports" / "registered.json")
    root = address.split("#")[0]
    page.goto(f"{root}#/models/{registered['model']}?workflowType=machine_learning")
    expect(page.get_by_text(f"Champion: version {registered['champion']}")).to_be_visible(timeout=30_000)
    page.get_by_role("checkbox").first.check(force=True)  # all versions
    page.screenshot(path=SCREENSHOTS / "mlflow-model.png")
    page.get_by_role("button", name="Compare", exact=True).last.click()
    expect(page.get_by_text("test/accuracy", exact=True)).to_be_visible(timeout=30_000)
    expect(page.get_by_text("optimizer.learning_rate", exact=True)).to_be_visible()
    page.goto(f"{root}#/models/{registered['model']}/versions/{registered['champion']}?workflowType=machine_learning")
    expect(page.get_by_text(re.compile("test accuracy .*95% interval .*above the quality bar"))).to_be_visible(
        timeout=30_000
    )
    page.screenshot(path=SCREENSHOTS / "mlflow-version.png")
