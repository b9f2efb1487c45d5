"""Every benchmark runs, in its smallest form, on the small project."""

import csv
import json
import re
import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.peers.work import MAX_BODY_BYTES
from benchmarks.worst_requests import ROUTES, requests_for
from recognition.decoding import MAX_PIXELS, decode_image
from serving.prediction_log.rows import PICTURE_BYTES
from tests.conftest import Project

pytestmark = pytest.mark.slow
# Not LitServe, which needs benchmarks/requirements.txt, and not MLflow's server, which is slow to start
SERVERS = "digits,the same,FastAPI,BentoML,bare ASGI"


@pytest.fixture
def handwriting(project: Project, tmp_path: Path) -> Path:
    """A folder as benchmarks/handwriting.py reads it: three test images as files, and one as a number."""
    with np.load(project.folder / "data" / "prepared" / "test.npz") as test:
        images, labels = test["images"][:3], test["labels"][:3]
    for name, image in zip("abc", images, strict=True):
        Image.fromarray(255 - np.pad(image, 14)).resize((224, 224)).save(tmp_path / f"{name}.png")
    with (tmp_path / "digits.csv").open("w", newline="") as table:
        rows = [(f"{name}.png", label, "w1", 0) for name, label in zip("abc", labels, strict=True)]
        csv.writer(table).writerows([("file", "label", "source", "paper"), *rows])
    (tmp_path / "numbers.csv").write_text(f"file,truth\na.png,{labels[0]}\n")
    return tmp_path


@pytest.mark.parametrize("target", ["service", "model"])
def test_handwriting(project: Project, service: str, handwriting: Path, target: str) -> None:
    asked = ("--url", service) if target == "service" else ("--model", "cnn")
    said = project.run("python", "-m", "benchmarks.handwriting", "--data", str(handwriting), *asked)
    assert re.search(r"small sources, screen +\d of +3 +\d", said) and re.search(r"whole numbers +\d of +1", said)


def test_page(project: Project, service: str) -> None:
    said = project.run("python", "benchmarks/page.py", "--url", service, "--throttle", "1")
    result = json.loads(said)
    assert result["frames"] > 10 and result["first_paint_kB"] > 10 and result["stroke_end_to_answer_ms"]["worst"] > 0


def test_serving(project: Project, tmp_path: Path) -> None:
    if shutil.which("wrk") is None:
        pytest.skip("wrk is not installed (Debian: apt-get install wrk)")
    smallest = ("--rounds", "1", "--seconds", "1", "--starts", "1", "--json", str(tmp_path / "serving.json"))
    said = project.run(
        "python", "benchmarks/serving.py", "--only", SERVERS, *smallest, PEERS_PYTHON=sys.executable
    )  # fmt: skip
    result = json.loads((tmp_path / "serving.json").read_text())
    assert {row["server"] for row in result["starts"]} == {row["server"] for row in result["loads"]}
    assert len(result["starts"]) == 6 and all(row["per_second"] > 0 for row in result["loads"])
    assert not any(row["errors"] for row in result["loads"])
    both = {(row["server"], row["load"]) for row in result["loads"]}
    peers = ("FastAPI for speed", "BentoML, batchable")
    assert {(peer, load) for peer in peers for load in ("pixels", "PNG file", "drawing")} < both
    assert all(0 < row["p50_ms"] <= row["p99_ms"] for row in result["loads"])
    assert "| pixels | 64 | digits (BentoML) |" in said and "/metrics: " in said


def test_limits(project: Project, tmp_path: Path) -> None:
    if shutil.which("wrk") is None:
        pytest.skip("wrk is not installed (Debian: apt-get install wrk)")
    result = tmp_path / "limits.json"
    routes = ("/predict_pixels", "/feedback", "/model")
    said = project.run(
        "python", "-m", "benchmarks.limits", "--seconds", "2", "--json", str(result), "--routes", *routes,
        DIGITS_DEADLINE_SECONDS="120",  # beside other tests, an answer may take longer than the default allows
    )  # fmt: skip
    rows = json.loads(result.read_text())["rows"]
    assert [row["route"] for row in rows] == ["none", *routes] and said.count("\n| /") == len(routes)
    assert rows[1]["request"].startswith(("256 images", "990,000")) and rows[3]["request"] == "GET"
    assert all(row["per_second"] > 0 for row in rows[2:])  # a large body may take longer than the attack
    for row in rows:
        assert all(0 < row[f"{path} p50"] <= row[f"{path} p99"] for path in ("/livez", "/predict"))
        assert row["/livez failed"] == row["/predict failed"] == 0
        met = row["/livez p99"] <= 250 and row["/predict p99"] <= 1000
        assert row["aims"] == ("met" if met else "missed")


def test_the_worst_requests_stay_within_the_limits_of_the_service() -> None:
    for route in ROUTES:
        requests = requests_for(route)
        assert requests and all(len(request.body) <= MAX_BODY_BYTES for request in requests)
    pictures = [decode_image(request.body) for request in requests_for("/predict")]
    assert len(pictures) >= 5 and all(picture.width * picture.height == MAX_PIXELS for picture in pictures)


def test_stores(project: Project, postgres_url: str, tmp_path: Path) -> None:
    result, mlflow_db = tmp_path / "stores.json", tmp_path / "mlflow.db"
    stores = ("--database-url", postgres_url, "--tracking-uri", f"sqlite:///{mlflow_db}")
    smallest = ("--seconds", "1", "--processes", "1", "2", "--json", str(result))
    said = project.run("python", "-m", "benchmarks.stores", *stores, *smallest)
    rows = json.loads(result.read_text())
    kinds = [
        ("postgresql", "pictures", 1),
        ("postgresql", "pictures", 2),
        ("MLflow", "trials", 1),
        ("MLflow", "trials", 2),
    ]
    assert [(row["store"], row["kind"], row["processes"]) for row in rows] == kinds
    assert all(row["per_second"] > 0 for row in rows) and said.count("\n| ") == len(rows)
    assert all(PICTURE_BYTES < row["bytes_each"] < 10 * PICTURE_BYTES for row in rows[:2])
    with closing(sqlite3.connect(mlflow_db)) as database:
        (runs,) = database.execute("select count(*) from runs where status = 'FINISHED'").fetchone()
    assert runs >= 3


def test_training(project: Project) -> None:
    said = project.run("python", "-m", "benchmarks.training", "--epochs", "1", "--without", "pytorch")
    assert re.search(r"default CNN +1\.00 epochs", said) and re.search(r"plain CNN, Keras +1\.00 epochs", said)
    assert "| test accuracy | unit | default CNN | plain CNN, Keras |" in said


def test_numbers(project: Project, tmp_path: Path) -> None:
    said = project.run("python", "-m", "benchmarks.written_numbers", "cnn", "--pages", "2", "--save", str(tmp_path))
    for kind in ("clean", "touching", "photographed"):
        assert re.search(
            rf"{kind} +\d+ of +\d+ numbers exact: [\d.]+% .*; digits by edit distance: -?[\d.]+% of \d+", said
        )
        assert len([*tmp_path.glob(f"{kind}_*.png")]) == 2
