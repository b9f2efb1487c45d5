"""Print learn/mathematics.md and learn/course.md as a PDF: python learn/build.py [--output learn/mathematics.pdf]

Markdown becomes one page of HTML, KaTeX sets the formulas, Chromium prints it. On Debian:
apt-get install chromium libjs-katex fonts-lmodern
"""

import html
import re
import shutil
import tempfile
from pathlib import Path

import click
from markdown_it import MarkdownIt

FOLDER = Path(__file__).resolve().parent
SOURCES = ("mathematics.md", "course.md")
KATEX = Path("/usr/share/javascript/katex")
FONT = Path("/usr/share/texmf/fonts/opentype/public/lm/lmroman10-regular.otf")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")

NUMBERED = re.compile(r"```math\n([^`]*)```\n\n\*\*Formula (\d+)\*\* · \[`([^`]*)`\]\([^)]*\)\n")
DISPLAY = re.compile(r"```math\n([^`]*)```\n")
INLINE = re.compile(r"\$`([^`]*)`\$")
KEPT = re.compile(r"\N{OBJECT REPLACEMENT CHARACTER}(\d+);")
KEPT_BLOCK = re.compile(r"<p>(\N{OBJECT REPLACEMENT CHARACTER}\d+;)</p>")
EXAMPLE = re.compile(r"<h3>In numbers</h3>.*?(?=<h2|\Z)", re.DOTALL)
HEADING = re.compile(r"<h([12])>(.*?)</h\1>")
LINK = re.compile(r'<a href="(?!https?:)([^"]*)">(.*?)</a>', re.DOTALL)

# KaTeX stops at the first formula that it cannot set, and says which.
RENDER = """() => document.querySelectorAll('.tex').forEach(place => {
  const tex = place.textContent;
  const options = {displayMode: place.tagName === 'DIV', throwOnError: true, strict: 'error'};
  try { katex.render(tex, place, options); }
  catch (error) { throw new Error(error.message + ' in: ' + tex); }
})"""


@click.command()
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), default=FOLDER / "mathematics.pdf")
def main(output: Path) -> None:
    """Print the mathematics and the learners' path as one PDF."""
    browser = require_tools()
    sources = [FOLDER / name for name in SOURCES if (FOLDER / name).exists()]
    body = "".join(chapter(path.read_text(encoding="utf-8")) for path in sources)
    print_page(document(body), output, browser)
    click.echo(f"{output}: {output.stat().st_size / 1e6:.1f} MB")


def require_tools() -> str:
    """The browser to print with. One line and exit status 1 when something is missing."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    needed = {
        "chromium": browser,
        "libjs-katex": (KATEX / "katex.min.js").exists(),
        "fonts-lmodern": FONT.exists(),
    }
    if missing := [package for package, found in needed.items() if not found]:
        raise click.ClickException(f"missing; on Debian run: apt-get install {' '.join(missing)}")
    return str(browser)


def chapter(markdown: str) -> str:
    """One Markdown file as HTML, its formulas as `.tex` elements still to be set."""
    formulas: list[str] = []  # kept out of the way of Markdown, which would read their backslashes

    def keep(element: str) -> str:
        formulas.append(element)
        return f"\N{OBJECT REPLACEMENT CHARACTER}{len(formulas) - 1};"

    text = NUMBERED.sub(lambda m: keep(numbered(*m.groups())) + "\n", markdown)
    text = DISPLAY.sub(lambda m: keep(f'<div class="tex">{html.escape(m[1].strip())}</div>') + "\n", text)
    text = INLINE.sub(lambda m: keep(f'<span class="tex">{html.escape(m[1])}</span>'), text)
    body = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    body = KEPT_BLOCK.sub(r"\1", body)
    body = KEPT.sub(lambda m: formulas[int(m[1])], body)
    body = EXAMPLE.sub(lambda m: f'<section class="example">{m[0]}</section>', body)
    return f"<article>{LINK.sub(inside, body)}</article>"


def numbered(tex: str, number: str, function: str) -> str:
    """A formula with its number at the margin and its function below."""
    content = html.escape(f"{tex.strip()} \\tag{{{number}}}")
    name = html.escape(function.removeprefix("learn/from_scratch/").replace(".py: ", "."))
    return f'<div class="formula"><div class="tex">{content}</div><code>{name}</code></div>'


def inside(link: re.Match[str]) -> str:
    """A link within the repository: to the other chapter where it leads there, otherwise its words alone."""
    if link[1] in SOURCES and (FOLDER / link[1]).exists():
        return f'<a href="#{anchor(first_heading(FOLDER / link[1]))}">{link[2]}</a>'
    return link[2]


def first_heading(path: Path) -> str:
    return path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")


def anchor(heading: str) -> str:
    return re.sub(r"\W+", "-", re.sub(r"<[^>]*>", "", heading).lower()).strip("-")


def document(body: str) -> str:
    """The whole page: style, contents, chapters. It lies in `learn/`, so that the figures are found."""
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


def print_page(page: str, output: Path, browser: str) -> None:
    """Print HTML as a PDF with bookmarks. Raises when a formula cannot be set or a figure is missing."""
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
            raise click.ClickException(f"figures are missing: {', '.join(missing)}")
        tab.evaluate("document.fonts.ready.then(() => 0)")
        tab.pdf(path=output, prefer_css_page_size=True, print_background=True, outline=True, tagged=True)
        chromium.close()


if __name__ == "__main__":
    main()
