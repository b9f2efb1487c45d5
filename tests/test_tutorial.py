"""docs/tutorial.md as it is written: every file is saved, every command runs, and the service has the five classes."""

import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import pytest
import requests
from playwright.sync_api import Browser, expect

from pipeline.deployment.bento_server import free_port, wait_until_ready
from tests.conftest import REPOSITORY, Project

PAGE = (REPOSITORY / "docs" / "tutorial.md").read_text(encoding="utf-8")
BLOCK = re.compile(r'^```(bash|python|yaml)(?: title="([^"\n]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
SERVE = "digits serve\n"
CLASSES = ["circle", "square", "star", "triangle", "wave"]


class Block(NamedTuple):
    """A fenced block: a file if it has a title, otherwise commands or Python."""

    language: str
    title: str
    text: str


BLOCKS = [Block(*found) for found in BLOCK.findall(PAGE)]


class Reader:
    """Somebody who follows the tutorial in a new clone. Only the port differs, because 3000 may be in use."""

    def __init__(self, project: Project) -> None:
        self.project, self.port = project, free_port()
        self.outputs: dict[str, str] = {}
        self.url = f"http://127.0.0.1:{self.port}"

    def follow(self, block: Block) -> None:
        """Save a block, or run it and keep its output."""
        text = block.text.replace("localhost:3000", f"localhost:{self.port}")
        if block.title:
            path = self.project.folder / block.title
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
            return
        shell = ("bash", "-euo", "pipefail", "-c")
        self.outputs[block.text] = self.project.run(*(shell if block.language == "bash" else ("python", "-c")), text)

    def read(self, word: str) -> str:
        """The output of the only block that contains `word`."""
        (output,) = [output for text, output in self.outputs.items() if word in text]
        return output

    @contextmanager
    def serving(self) -> Iterator[None]:
        """`digits serve` in another terminal, until Ctrl-C."""
        command = [*SERVE.split(), "--port", str(self.port)]
        server = subprocess.Popen(command, cwd=self.project.folder, env=self.project.environment())
        try:
            wait_until_ready(server, self.url)
            yield
        finally:
            server.send_signal(signal.SIGINT)
            assert server.wait(30) == 0


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_tutorial_ends_with_a_service_for_the_readers_classes(
    make_project: Callable[[str], Project], browser: Browser
) -> None:
    project = make_project("tutorial")
    for name in ("params.yaml", "pipeline/data/datasets.yaml"):  # as in a clone, with the real defaults
        (project.folder / name).write_bytes((REPOSITORY / name).read_bytes())
    reader = Reader(project)
    served = [block.text for block in BLOCKS].index(SERVE)
    for block in BLOCKS[:served]:
        reader.follow(block)
    assert [path.name for path in sorted((project.folder / "data" / "drawings").iterdir())] == CLASSES
    assert "test images of 5 classes" in reader.read("digits import")
    accuracies = dict(line.split() for line in reader.read("accuracy").splitlines())
    assert accuracies.keys() == {"mlp", "cnn"} and min(map(float, accuracies.values())) > 0.95
    assert "## shapes: comparison of mlp, cnn" in reader.read("comparison.md")
    assert "shapes-classifier" in reader.read("digits champions")
    with reader.serving():
        for block in BLOCKS[served + 1 :]:
            reader.follow(block)
        assert requests.get(f"{reader.url}/model", timeout=30).json()["classes"] == CLASSES
        lines = [line.split() for line in reader.read("import requests").splitlines()]
        assert [line[0] for line in lines] == CLASSES
        assert sum(line[0] == line[2] for line in lines) >= 4
        rows = [line.split() for line in reader.read("digits ask").splitlines()]
        assert [row[1] for row in rows] == ["prediction", "star", "wave"]
        page = browser.new_page()
        page.goto(reader.url)
        for card in ("mlp", "cnn"):
            expect(page.locator(".model", has_text=card).locator(".bars li > span:first-child")).to_have_text(CLASSES)
        page.set_input_files("input[type=file]", project.folder / "data" / "drawings" / "star" / "000.png")
        expect(page.get_by_text("Both models predict star")).to_be_visible(timeout=30_000)
        page.close()
