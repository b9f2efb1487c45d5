"""Hooks of MkDocs: pages from outside docs/, the generated reference, links between them, formulas."""

import html
import posixpath
import re
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from mkdocs.utils import get_relative_url

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import diagrams  # noqa: E402  (beside this file; MkDocs puts its folder on the search path)
import reference  # noqa: E402

from learn.build import KATEX, first_heading, hide_formulas, show_formulas  # noqa: E402

OUTSIDE = {  # path on the site: file of the repository
    "overview.md": "README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "learn/course.md": "learn/course.md",
    "learn/mathematics.md": "learn/mathematics.md",
    "icon.svg": "serving/page/icon.svg",
}
TEXT_OF_ROOT = re.compile(r"^\[!\[.*\n", re.MULTILINE)  # badges of README.md
SETTINGS = re.compile(r"<!-- settings: .*<!-- end of settings -->\n", re.DOTALL)
SETTINGS_LINKS = (
    "The reference lists all [settings](reference/settings.md) and [parameters](reference/parameters.md).\n"
)
CODE = re.compile(r"^ *```.*?^ *```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
HIDDEN = re.compile("\ue000(\\d+)\ue001")
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
IMAGE = re.compile(r'<img src="([^"]+)"[^>]* alt="([^"]*)">')
PICTURE = re.compile(r'<picture>\s*<source [^>]*srcset="([^"]+)">\s*<img alt="([^"]*)" src="([^"]+)">\s*</picture>')
MERMAID = re.compile(r"^```mermaid$.*?^```$", re.MULTILINE | re.DOTALL)
ITEM = re.compile(r"\d+\. ")
RENDER = (
    "document.querySelectorAll('.tex').forEach(element => katex.render(element.textContent, element, "
    "{displayMode: element.tagName === 'DIV', throwOnError: false}));\n"
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from outside docs/, the figures of learn/, the generated reference and KaTeX."""
    if not (KATEX / "katex.min.js").exists():
        raise PluginError("KaTeX is missing; on Debian run: apt-get install libjs-katex")
    outside = {**OUTSIDE, **{path: path for path in figures()}}
    for name, path in outside.items():
        files.append(File.generated(config, name, abs_src_path=str(ROOT / path)))
    for name, content in reference.pages().items():
        files.append(File.generated(config, f"reference/{name}.md", content=content))
    style = re.sub(r",url\([^)]*\.(woff|ttf)\) format\('\w+'\)", "", (KATEX / "katex.min.css").read_text())
    files.append(File.generated(config, "katex/katex.min.css", content=style))
    files.append(File.generated(config, "katex/render.js", content=RENDER))
    for part in [KATEX / "katex.min.js", *(KATEX / "fonts").glob("*.woff2")]:
        files.append(File.generated(config, f"katex/{part.relative_to(KATEX)}", abs_src_path=str(part)))
    return files


def figures() -> list[str]:
    return [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "learn" / "figures").glob("*.svg"))]


def names_on_site() -> dict[str, str]:
    """Paths on the site by file of the repository."""
    documents = [path for path in (ROOT / "docs").rglob("*") if path.suffix in (".md", ".png", ".gif", ".svg")]
    names = {f"docs/{name}": name for name in (path.relative_to(ROOT / "docs").as_posix() for path in documents)}
    return names | {path: path for path in figures()} | {path: name for name, path in OUTSIDE.items()}


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite a page for the site: links, formulas, the figures for light and dark pages."""
    markdown = SETTINGS.sub(SETTINGS_LINKS, TEXT_OF_ROOT.sub("", markdown))
    if draw := diagrams.DIAGRAMS.get(page.file.src_uri):
        markdown = MERMAID.sub(lambda _: draw(), markdown)
    markdown = PICTURE.sub(r"![\2](\3#only-light) ![\2](\1#only-dark)", markdown)
    if page.is_homepage:
        page.meta["hide"] = ["navigation", "toc"]
    if page.file.src_uri.startswith("learn/"):
        markdown, page.meta["formulas"] = hide_formulas(markdown)
    code: list[str] = []

    def hide(found: re.Match[str]) -> str:
        code.append(found[0])
        return f"\ue000{len(code) - 1}\ue001"

    def rewrite(found: re.Match[str]) -> str:
        target = site_target(found[3], page, config)
        if target:
            named = ROOT / posixpath.dirname(repository_path(page.file.src_uri)) / found[3].partition("#")[0]
            text = first_heading(named) if found[2].endswith(".md") and named.is_file() else found[2]
            return f"{found[1]}[{text}]({target})"
        return found[2]  # a file of the repository, whose web address is not known

    markdown = LINK.sub(rewrite, CODE.sub(hide, markdown))
    markdown = IMAGE.sub(lambda found: f"![{found[2]}]({site_target(found[1], page, config)})", markdown)
    markdown = HIDDEN.sub(lambda found: code[int(found[1])], markdown)
    return indent_list_items(markdown)


def site_target(target: str, page: Page, config: MkDocsConfig) -> str | None:
    """The address of a link's target on the site, from the page; None: a file that is not on the site."""
    if re.match(r"[a-z]+:|#", target):
        return target
    path, _, anchor = target.partition("#")
    own = repository_path(page.file.src_uri)
    found = posixpath.normpath(posixpath.join(posixpath.dirname(own), path))
    name = names_on_site().get(found)
    if name is None:
        if not found.startswith("..") and not (ROOT / found).exists():
            return target  # MkDocs reports it
        source = config.extra["source"]
        return f"{source}/{found.lstrip('./') if found.startswith('..') else f'blob/main/{found}'}" if source else None
    return posixpath.relpath(name, posixpath.dirname(page.file.src_uri) or ".") + (f"#{anchor}" if anchor else "")


def repository_path(src_uri: str) -> str:
    return OUTSIDE.get(src_uri, f"docs/{src_uri}")


def indent_list_items(markdown: str) -> str:
    """Write numbered lists as Python-Markdown needs them.

    What belongs to an item is indented by four spaces instead of three, and a blank line ends an item with paragraphs.
    """
    lines: list[str] = []
    in_item, in_code, has_paragraphs = False, False, False
    for line in markdown.split("\n"):
        if not in_item and line.startswith("```"):
            in_code = not in_code
        if line.strip() and not line.startswith(" ") and not in_code:
            if in_item and has_paragraphs and ITEM.match(line) and lines[-1].strip():
                lines.append("")
            in_item, has_paragraphs = bool(ITEM.match(line)), False
        has_paragraphs |= not line.strip()
        lines.append(f" {line}" if in_item and line.startswith("   ") else line)
    return "\n".join(lines)


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Put the formulas back, and load KaTeX on the pages that have some."""
    for heading in [heading for title in page.toc for heading in title.children]:
        heading.children = [child for child in heading.children if child.title != "Worked example"]
    formulas = page.meta.get("formulas")
    if not formulas:
        return content

    def address(name: str) -> str:
        return html.escape(get_relative_url(f"katex/{name}", page.url))

    return (
        f'<link rel="stylesheet" href="{address("katex.min.css")}">{show_formulas(content, formulas)}'
        f'<script src="{address("katex.min.js")}"></script><script src="{address("render.js")}"></script>'
    )
