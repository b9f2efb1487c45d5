"""Writes the table of settings in docs/operations.md from the code; --check fails if the table is out of date.

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
OTHER_VARIABLES = {  # read by the pipeline or by libraries: default, meaning
    "DATA_MIRROR": ("", "folder or URL with the dataset's files, tried before the published mirrors"),
    "MLFLOW_TRACKING_URI": ("sqlite:///mlflow.db", "MLflow store or server; unset: a file in the root of the checkout"),
    "CUDA_VISIBLE_DEVICES": ("", "GPUs that training may use; -1: none, train on the CPU (read by TensorFlow)"),
    "DIGITS_PROCESSES": ("", "trainings or batch parts at a time on this machine; unset: as many as its cores allow"),
    "RAY_ADDRESS": ("", "Ray cluster that runs trainings and batch predictions, as host:port; unset: this machine"),
    "AWS_ENDPOINT_URL": ("", "address of the S3 server for `s3://`; unset: Amazon's (read by botocore)"),
    "DIGITS_NO_FALLBACK": ("", "if set, unreachable mirrors are an error, as with `data.fallback: null`"),
    "VERSION": ("", "`make promote`: version to promote"),
    "REASON": ("", "`make promote`, `make rollback`: reason, recorded in the promotion history"),
    "GITHUB_ACTOR": ("", "user recorded in the promotion history (set by GitHub Actions); unset: the system user"),
    "FORWARDED_ALLOW_IPS": ("127.0.0.1", "proxies trusted to report the client's address (read by uvicorn)"),
    "AWS_ACCESS_KEY_ID": ("", "name of the key for S3; AWS_SECRET_ACCESS_KEY is the key itself (read by botocore)"),
    "OTEL_TRACES_EXPORTER": (
        "none",
        "exporters of traces, like console or otlp (read by OpenTelemetry)",
    ),
    "BENTOML_PORT": ("3000", "port of the service in the container (read by BentoML)"),
}
MAKE_VARIABLES = {
    "HOST": "`make run`, `make serve`: address to listen on",
    "PORT": "`make run`, `make serve`: port of the service",
    "MLFLOW_PORT": "`make mlflow`: port of the MLflow UI",
    "PYTHON": "Python 3.11 or 3.12 that creates .venv",
    "AUDIT": "`make audit`: arguments of pip-audit",
    "PYTEST": "`make test`, `make coverage`: arguments of pytest",
    "WORKERS": "`make test`, `make coverage`: number of pytest processes",
    "PIPELINE_BASE_IMAGE": "`make pipeline-image`: base image, with git, and Python 3.11 as `python3`",
    "BASE_IMAGE": "`make image`: base image, with Python 3.11 as `python3`",
    "VARIANT": "`make image`: default, or cluster, with the packages for S3 and Redis",
}


def environment_variables() -> list[tuple[str, str, str]]:
    """Returns name, default and meaning of every environment variable."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = "" if field.default is None else str(field.default)
        shown = default.lower() if isinstance(field.default, bool) else default
        rows.append((variable(name), shown, field.description or ""))
    return rows + [(name, *texts) for name, texts in OTHER_VARIABLES.items()]


def make_variables() -> list[tuple[str, str, str]]:
    """Returns name, default and meaning of the Makefile's public variables."""
    found = re.findall(r"^(\w+) \?= ?(.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return [
        (f"make {name}=", "" if "$(" in default else default, MAKE_VARIABLES[name])
        for name, default in found
        if name in MAKE_VARIABLES
    ]


def params() -> list[tuple[str, str, str]]:
    """Returns key, value and comment of every leaf of params.yaml.

    Of the models, only the first is listed. `sweep.ranges` is one row: its keys are those of a model.
    """
    rows: list[tuple[str, str, str]] = []
    path: list[tuple[int, str]] = []
    for line in (ROOT / "params.yaml").read_text().splitlines():
        if not (parts := re.fullmatch(r"( *)([\w-]+):(?: ([^#]*?))?(?: +# (.*))?", line)):
            continue
        depth, name, value, comment = len(parts[1]), parts[2], parts[3] or "", parts[4] or ""
        path = [*(item for item in path if item[0] < depth), (depth, name)]
        key = ".".join(item[1] for item in path)
        if (value or comment) and not key.startswith("sweep.ranges."):
            rows.append((key, value, comment))
    first = next(name.split(".")[1] for name, _, _ in rows if name.startswith("models."))
    selected = [row for row in rows if not row[0].startswith("models.") or row[0].split(".")[1] == first]
    return [(name.replace(f"models.{first}", "models.NAME"), value, comment) for name, value, comment in selected]


def table() -> str:
    """Returns the table as Markdown."""
    rows = [*environment_variables(), *make_variables(), *params()]
    lines = ["| setting | default | meaning |", "|---|---|---|"]
    lines += [
        f"| `{name}` | {f'`{value}`' if value else ''} | {text.replace('|', '/')} |" for name, value, text in rows
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    head, tail = text.split(START)[0], text.split(END)[1]
    updated = f"{head}{START}\n{table()}\n{END}{tail}"
    if "--check" not in sys.argv:
        GUIDE.write_text(updated, encoding="utf-8")
    elif updated != text:
        raise SystemExit("docs/operations.md: the table of settings is out of date; run: python docs/settings.py")


if __name__ == "__main__":
    main()
