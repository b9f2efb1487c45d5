"""Writes the table of settings into docs/operations.md from the code; with --check, fails where it is not up to date.

python docs/settings.py [--check]
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from serving.settings import Settings, variable  # noqa: E402

GUIDE = ROOT / "docs" / "operations.md"
START, END = "<!-- settings: written by docs/settings.py -->\n", "<!-- end of settings -->\n"
OTHERS = {  # read by the pipeline or by libraries: default and meaning
    "DATA_MIRROR": ("", "folder or URL that is asked first for the dataset's files"),
    "MLFLOW_TRACKING_URI": ("sqlite:///mlflow.db", "MLflow's store or server; in the checkout's root unless set"),
    "DIGITS_NO_FALLBACK": ("", "set: unreachable mirrors are an error, as with `data.fallback: null` (`make retrain`)"),
    "VERSION": ("", "of `make promote`: the version to make champion"),
    "REASON": ("", "of `make promote` and `make rollback`: why; the ledger keeps it"),
    "GITHUB_ACTOR": ("", "whom the ledger names instead of the machine's user (set by GitHub Actions)"),
    "FORWARDED_ALLOW_IPS": ("127.0.0.1", "proxies whose word on a client's address is taken (read by uvicorn)"),
    "BENTOML_PORT": ("3000", "port of the container (read by BentoML)"),
}
MAKE = {"HOST", "PORT", "MLFLOW_PORT", "PYTHON", "PYTEST"}


def environment() -> list[tuple[str, str, str]]:
    """Every environment variable: name, default, meaning."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = "" if field.default is None else str(field.default)
        shown = default.lower() if isinstance(field.default, bool) else default
        rows.append((variable(name), shown, field.description or ""))
    return rows + [(name, *words) for name, words in OTHERS.items()]


def make_variables() -> list[tuple[str, str, str]]:
    """Variables of the Makefile that callers may set."""
    found = re.findall(r"^(\w+) \?= ?(.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return [(f"make {name}=", "" if "$(" in value else value, "") for name, value in found if name in MAKE]


def params() -> list[tuple[str, str, str]]:
    """Every leaf of params.yaml with its value and comment; of the models, which are alike, the first."""
    rows: list[tuple[str, str, str]] = []
    path: list[tuple[int, str]] = []
    for line in (ROOT / "params.yaml").read_text().splitlines():
        if not (parts := re.fullmatch(r"( *)([\w-]+):(?: ([^#]*?))?(?: +# (.*))?", line)):
            continue
        depth, name, value, comment = len(parts[1]), parts[2], parts[3] or "", parts[4] or ""
        path = [*(item for item in path if item[0] < depth), (depth, name)]
        names = [item[1] for item in path]
        if value or comment:
            rows.append((".".join(names), value, comment))
    first = next(name.split(".")[1] for name, _, _ in rows if name.startswith("models."))
    chosen = [row for row in rows if not row[0].startswith("models.") or row[0].split(".")[1] == first]
    return [(name.replace(f"models.{first}", "models.NAME"), value, comment) for name, value, comment in chosen]


def table() -> str:
    """The table in Markdown."""
    rows = [*environment(), *make_variables(), *params()]
    lines = ["| setting | default | meaning |", "|---|---|---|"]
    lines += [
        f"| `{name}` | {f'`{value}`' if value else ''} | {words.replace('|', '/')} |" for name, value, words in rows
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    head, tail = text.split(START)[0], text.split(END)[1]
    fresh = f"{head}{START}\n{table()}\n{END}{tail}"
    if "--check" in sys.argv:
        if fresh != text:
            raise SystemExit("docs/operations.md: its table of settings is old; run: python docs/settings.py")
    else:
        GUIDE.write_text(fresh, encoding="utf-8")


if __name__ == "__main__":
    main()
