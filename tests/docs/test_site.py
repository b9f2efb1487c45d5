"""The documentation site as `make docs` builds it: links, resources, formulas, diagrams, generated reference."""

import functools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from playwright.sync_api import Browser, Page
from typer.main import get_command

from learn.build import KATEX
from pipeline.cli.commands import app
from pipeline.tracking import flatten
from serving.api.application import create_app
from serving.settings import Settings, variable
from serving.telemetry import metrics
from tests.conftest import REPOSITORY
from tests.test_repository import tracked

LOADED = {"stylesheet", "icon", "preload", "modulepreload", "prefetch", "preconnect", "dns-prefetch", "manifest"}
ADDRESSES = ("href", "src", "srcset", "poster", "data")
MARKDOWN = re.compile("[\ue000\ue001\ufffc]|```|\\*\\*[A-Z]|^(- |\\d+\\. |\\| )|\\]\\(", re.MULTILINE)
NO_KATEX = "KaTeX is not installed (Debian: apt-get install libjs-katex)"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not (KATEX / "katex.min.js").exists(), reason=NO_KATEX)]


def build(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: text for name, text in os.environ.items() if name not in ("SITE_URL", "SOURCE_URL")}
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=REPOSITORY, env=kept | environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


class Document(HTMLParser):
    """The links, the loaded resources, the ids and the visible text of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.links, self.resources, self.ids, self.text = set[str](), set[str](), set[str](), ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value for name, value in attrs if value is not None}
        addresses = {given[name] for name in ADDRESSES if name in given}
        loads = tag not in ("a", "link") or (tag == "link" and set(given.get("rel", "").split()) & LOADED)
        self.links |= addresses
        self.resources |= addresses if loads else set()
        self.ids |= {given[name] for name in ("id", "name") if name in given}

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    build(folder)
    return folder


@pytest.fixture(scope="module")
def documents(site: Path) -> dict[Path, Document]:
    found = {path: Document(path) for path in sorted(site.rglob("*.html"))}
    assert len(found) > 24
    return found


def reference(documents: dict[Path, Document], name: str) -> str:
    """The text of a reference page."""
    (text,) = [document.text for path, document in documents.items() if path.parts[-3:-1] == ("reference", name)]
    return text


def test_every_internal_link_leads_to_a_file_and_a_heading(site: Path, documents: dict[Path, Document]) -> None:
    for path, document in documents.items():
        for link in document.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            name = unquote(parts.path)
            target = site / name.lstrip("/") if name.startswith("/") else path.parent / name if name else path
            target = (target / "index.html" if target.is_dir() else target).resolve()
            assert target.is_file(), f"{path.relative_to(site)}: {link}"
            if parts.fragment and target.suffix == ".html":
                assert unquote(parts.fragment) in documents[target].ids, f"{path.relative_to(site)}: {link}"


def test_nothing_is_loaded_from_another_host(site: Path, documents: dict[Path, Document]) -> None:
    resources = {link for document in documents.values() for link in document.resources}
    for style in site.rglob("*.css"):
        found = re.findall(r"url\(([^)]*)\)|@import ([^;]*);", style.read_text(encoding="utf-8"))
        links = {(first or second).strip("\"'") for first, second in found}
        for link in links:
            assert link.startswith(("data:", "#")) or (style.parent / urlsplit(link).path).is_file(), (style, link)
        resources |= links
    assert len(resources) > 50
    assert [link for link in resources if urlsplit(link).netloc or urlsplit(link).scheme not in ("", "data")] == []


@pytest.mark.parametrize("link", ["usage.md#nothing", "nothing.md"])
def test_a_broken_link_fails_the_build(tmp_path: Path, link: str) -> None:
    for path in tracked():
        (tmp_path / path.relative_to(REPOSITORY)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / path.relative_to(REPOSITORY))
    with (tmp_path / "docs" / "pipeline.md").open("a") as page:
        page.write(f"\n[broken]({link})\n")
    command = [sys.executable, "-m", "mkdocs", "build"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1 and "Aborted with 1 warnings" in done.stdout
    assert f"'pipeline.md' contains a link '{link}'" in done.stderr


def test_links_to_files_of_the_repository_lead_to_its_web_address(tmp_path: Path) -> None:
    build(tmp_path, SITE_URL="https://example.org/digits/", SOURCE_URL="https://example.org/me/digits")
    page = Document(tmp_path / "operations" / "index.html")
    assert "https://example.org/me/digits/blob/main/deploy/nginx.conf" in page.links
    assert (tmp_path / "404.html").read_text().count('href="/digits/assets/') > 0
    assert "https://example.org/digits/tutorial/" in (tmp_path / "sitemap.xml").read_text()


def test_no_page_shows_markdown_or_placeholders(documents: dict[Path, Document]) -> None:
    for path in documents:
        content = re.sub(r"<(pre|code|script)\b.*?</\1>", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert not MARKDOWN.search(content), path


def test_the_reference_covers_the_code(documents: dict[Path, Document]) -> None:
    commands = reference(documents, "commands")
    for name in get_command(app).commands:  # type: ignore[attr-defined]
        assert f"Usage: digits {name}" in commands
    settings = reference(documents, "settings")
    assert [name for name in Settings.model_fields if variable(name) not in settings] == []
    parameters = reference(documents, "parameters")
    params: dict[str, Any] = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    params["models"] = params["models"]["cnn"]
    keys = {name.partition(".")[2] for name in flatten(params)}
    keys = {key for key in keys if not key.startswith(("arguments.", "ranges."))}  # of any name
    assert len(keys) > 70 and [key for key in keys if key not in parameters] == []
    api = reference(documents, "api")
    routes = create_app(Settings()).routes
    paths = {route.path for route in routes if getattr(route, "include_in_schema", False)}  # type: ignore[attr-defined]
    assert len(paths) >= 10 and [path for path in paths if path not in api] == []
    names = set(re.findall(r"# TYPE (digits_\w+) ", metrics.exposition().decode()))
    names = {name for name in names if not name.endswith("_created")}  # the time of a counter's creation
    assert len(names) > 10 and [name for name in names if name not in reference(documents, "metrics")] == []


def test_the_diagrams_have_the_labels_of_the_mermaid_text(documents: dict[Path, Document]) -> None:
    for source, name in (("README.md", "overview"), ("docs/retraining.md", "retraining")):
        (mermaid,) = re.findall(r"```mermaid\n(.*?)```", (REPOSITORY / source).read_text(encoding="utf-8"), re.DOTALL)
        labels = re.findall(r'"([^"]+)"', mermaid) + re.findall(r"[\[({]+([^\[\](){}\"]+)[\])}]+", mermaid)
        (page,) = [document.text for path, document in documents.items() if path.parts[-2] == name]
        assert len(labels) > 8 and [label for label in labels if label not in page] == []


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def open_page(site: Path, browser: Browser) -> Iterator[Callable[[str, int], tuple[Page, list[str]]]]:
    """Opens a page of the served site at a width; gives it with its errors and its requests to other hosts."""
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        own = f"http://127.0.0.1:{server.server_port}/"
        allowed = (own, "data:", "blob:")

        def open_at(path: str, width: int) -> tuple[Page, list[str]]:
            page, problems = browser.new_page(viewport={"width": width, "height": 800}), list[str]()
            page.on(
                "request", lambda request: None if request.url.startswith(allowed) else problems.append(request.url)
            )
            page.on("console", lambda message: problems.append(message.text))
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.goto(own + path)
            page.wait_for_load_state("networkidle")
            return page, problems

        yield open_at
        server.shutdown()


def test_pages_fit_phones_and_work_without_other_hosts(
    site: Path, documents: dict[Path, Document], open_page: Callable[[str, int], tuple[Page, list[str]]]
) -> None:
    for path in documents:
        if path.name == "index.html":
            page, problems = open_page(path.relative_to(site).as_posix(), 390)
            assert problems == [], path
            assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
            page.close()


def test_formulas_are_rendered(open_page: Callable[[str, int], tuple[Page, list[str]]]) -> None:
    page, problems = open_page("learn/mathematics/", 1280)
    formulas = page.locator(".tex").count()
    assert formulas > 300 and page.locator(".tex .katex-html").count() == formulas
    assert page.locator(".katex-error").count() == 0 and problems == []


def test_the_search_finds_a_setting(open_page: Callable[[str, int], tuple[Page, list[str]]]) -> None:
    page, _ = open_page("", 1280)
    search = page.get_by_role("textbox", name="Search")
    search.click()
    search.press_sequentially("DIGITS_DRAIN_FILE")
    page.locator(".md-search-result__link").first.wait_for(state="attached", timeout=60_000)
    addresses = page.locator(".md-search-result__link").evaluate_all("links => links.map(link => link.href)")
    assert any("/reference/settings/" in address for address in addresses)
