"""Print learn/mathematics.md and learn/course.md as a PDF: python learn/build.py [--output learn/mathematics.pdf]

The script converts Markdown to one HTML page, KaTeX renders the formulas, and Chromium prints the page. On Debian:
apt-get install chromium libjs-katex fonts-lmodern
"""

import html
import re
import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from markdown_it import MarkdownIt

FOLDER = Path(__file__).resolve().parent
SOURCES = ("mathematics.md", "course.md")
KATEX = Path("/usr/share/javascript/katex")
FONT = Path("/usr/share/texmf/fonts/opentype/public/lm/lmroman10-regular.otf")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")

NUMBERED = re.compile(r"```math\n([^`]*)```\n\n\*\*Formula (\d+)\*\* · \[`([^`]*)`\]\([^)]*\)\n")
DISPLAY = re.compile(r"```math\n([^`]*)```\n")
INLINE = re.compile(r"\$`([^`]*)`\$")
PLACEHOLDER = re.compile(r"\N{OBJECT REPLACEMENT CHARACTER}(\d+);")
PLACEHOLDER_BLOCK = re.compile(r"<p>(\N{OBJECT REPLACEMENT CHARACTER}\d+;)</p>")
EXAMPLE = re.compile(r"<h3>Worked example</h3>.*?(?=<h2|\Z)", re.DOTALL)
HEADING = re.compile(r"<h([12])>(.*?)</h\1>")
LINK = re.compile(r'<a href="(?!https?:)([^"]*)">(.*?)</a>', re.DOTALL)

# Renders every formula; the first formula with an error stops the script with a message that contains it.
RENDER = """() => document.querySelectorAll('.tex').forEach(element => {
  const tex = element.textContent;
  const options = {displayMode: element.tagName === 'DIV', throwOnError: true, strict: 'error'};
  try { katex.render(tex, element, options); }
  catch (error) { throw new Error(error.message + ' in: ' + tex); }
})"""


def main(
    output: Annotated[Path, typer.Option(dir_okay=False, help="PDF file to write.")] = FOLDER / "mathematics.pdf",
) -> None:
    """Print learn/mathematics.md and learn/course.md as one PDF."""
    browser = find_browser()
    body = "".join(chapter((FOLDER / name).read_text(encoding="utf-8")) for name in SOURCES)
    write_pdf(document(body), output, browser)
    print(f"{output}: {output.stat().st_size / 1e6:.1f} MB")


def find_browser() -> str:
    """Return the path of the browser. Exits with the missing Debian packages."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    requirements = {
        "chromium": browser,
        "libjs-katex": (KATEX / "katex.min.js").exists(),
        "fonts-lmodern": FONT.exists(),
    }
    if missing := [package for package, found in requirements.items() if not found]:
        raise SystemExit(f"error: required packages are missing; on Debian run: apt-get install {' '.join(missing)}")
    return str(browser)


def chapter(markdown: str) -> str:
    """Convert one Markdown file to HTML. Formulas become `.tex` elements, which KaTeX renders later."""
    text, formulas = hide_formulas(markdown)
    body = show_formulas(MarkdownIt("commonmark", {"html": True}).enable("table").render(text), formulas)
    body = EXAMPLE.sub(lambda m: f'<section class="example">{m[0]}</section>', body)
    return f"<article>{LINK.sub(resolve_local_link, body)}</article>"


def hide_formulas(markdown: str) -> tuple[str, list[str]]:
    """Replace formulas by placeholders, because Markdown changes backslashes. Returns the text and the elements."""
    formulas: list[str] = []

    def placeholder(element: str) -> str:
        formulas.append(element)
        return f"\N{OBJECT REPLACEMENT CHARACTER}{len(formulas) - 1};"

    text = NUMBERED.sub(lambda m: placeholder(numbered_formula(*m.groups())) + "\n", markdown)
    text = DISPLAY.sub(lambda m: placeholder(f'<div class="tex">{html.escape(m[1].strip())}</div>') + "\n", text)
    text = INLINE.sub(lambda m: placeholder(f'<span class="tex">{html.escape(m[1])}</span>'), text)
    return text, formulas


def show_formulas(body: str, formulas: list[str]) -> str:
    """Replace the placeholders of `hide_formulas` in HTML by the elements of the formulas."""
    return PLACEHOLDER.sub(lambda m: formulas[int(m[1])], PLACEHOLDER_BLOCK.sub(r"\1", body))


def numbered_formula(tex: str, number: str, function: str) -> str:
    """Return a display formula with its number in the margin and the name of its function below."""
    content = html.escape(f"{tex.strip()} \\tag{{{number}}}")
    name = html.escape(function.removeprefix("learn/from_scratch/").replace(".py: ", "."))
    return f'<div class="formula"><div class="tex">{content}</div><code>{name}</code></div>'


def resolve_local_link(link: re.Match[str]) -> str:
    """Turn a link to the other text into a link inside the PDF, and any other local link into plain text."""
    if link[1] in SOURCES:
        return f'<a href="#{anchor(first_heading(FOLDER / link[1]))}">{link[2]}</a>'
    return link[2]


def first_heading(path: Path) -> str:
    return path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")


def anchor(heading: str) -> str:
    return re.sub(r"\W+", "-", re.sub(r"<[^>]*>", "", heading).lower()).strip("-")


def document(body: str) -> str:
    """Return the HTML page: styles, table of contents, chapters. The base URL is `learn/`, where the figures are."""
    contents = "".join(
        f'<li class="level-{level}"><a href="#{anchor(text)}">{text}</a></li>' for level, text in HEADING.findall(body)
    )
    body = HEADING.sub(lambda m: f'<h{m[1]} id="{anchor(m[2])}">{m[2]}</h{m[1]}>', body)
    first, rest = body.split("</h1>", 1)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><base href="{FOLDER.as_uri()}/">'
        f"<title>{html.escape(first_heading(FOLDER / SOURCES[0]))}</title>"
        f'<link rel="stylesheet" href="{KATEX.as_uri()}/katex.min.css">'
        f'<link rel="stylesheet" href="print.css">'
        f'<script src="{KATEX.as_uri()}/katex.min.js"></script></head>'
        f"<body>{first}</h1><nav><ol>{contents}</ol></nav>{rest}</body></html>"
    )


def write_pdf(page: str, output: Path, browser: str) -> None:
    """Print an HTML page as a PDF with bookmarks.

    Raises playwright's Error if KaTeX rejects a formula, and ClickException if a figure is missing.
    """
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = Path(folder) / "page.html"
        path.write_text(page, encoding="utf-8")
        chromium = playwright.chromium.launch(
            executable_path=browser, args=["--no-sandbox", "--disable-background-networking"]
        )
        tab = chromium.new_page()
        tab.goto(path.as_uri())
        tab.evaluate(RENDER)
        if missing := tab.evaluate("[...document.images].filter(i => !i.naturalWidth).map(i => i.src)"):
            raise SystemExit(f"error: figures are missing: {', '.join(missing)}")
        tab.evaluate("document.fonts.ready.then(() => 0)")
        tab.pdf(path=output, prefer_css_page_size=True, print_background=True, outline=True, tagged=True)
        chromium.close()


if __name__ == "__main__":
    typer.run(main)
