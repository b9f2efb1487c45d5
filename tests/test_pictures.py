"""docs/record_page.py: the pictures of the README can be made from a running service."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import CHROMIUM, REPOSITORY


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (Debian: apt-get install chromium)")
def test_the_script_records_a_drawing_with_predictions(service: str, tmp_path: Path) -> None:
    command = [sys.executable, "docs/record_page.py", "--url", service, "--folder", str(tmp_path)]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
    with Image.open(tmp_path / "drawing.gif") as recording:
        assert recording.n_frames > 40 and recording.size[0] == 760  # type: ignore[attr-defined]
        first = recording.convert("L").crop((380, 0, 760, 460)).histogram()
        recording.seek(recording.n_frames - 1)  # type: ignore[attr-defined]
        last = recording.convert("L").crop((380, 0, 760, 460)).histogram()
    assert sum(last[200:]) < sum(first[200:])  # predictions were shown: text and bars are dark
    for name in ("page-inside.png", "report.png"):
        with Image.open(tmp_path / name) as picture:
            assert picture.width == 1080 and picture.height >= 800
