"""The service against its own description: schemathesis asks every route with good, bad and odd requests."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent.parent
pytestmark = pytest.mark.slow


def test_the_service_is_as_described(service: str, tmp_path: Path) -> None:
    command = [
        Path(sys.executable).with_name("schemathesis"),
        "run",
        f"{service}/docs.json",
        "--checks",
        "all",
        "--max-examples",
        "25",
    ]
    told = subprocess.run(
        [*command, "--generation-deterministic", "--no-color"],
        cwd=tmp_path,  # it leaves its examples in the working directory
        env={**os.environ, "SCHEMATHESIS_HOOKS": "tests.serving.schemathesis_hooks", "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert told.returncode == 0, "\n".join(line[:300] for line in told.stdout.splitlines())
    assert "unsupported" not in told.stdout.lower()
    selected, tested = (line.split(":")[1].strip() for line in told.stdout.splitlines() if line.startswith("  ")
        and line.strip().startswith(("Selected:", "Tested:")))  # fmt: skip
    assert selected == f"{tested}/{tested}"
