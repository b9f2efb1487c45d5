"""Measured times: they count for the model that they belong to, and only copies of the report show them."""

import os
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from pipeline.files import sha256, write_json, write_text
from pipeline.reporting import measurements
from pipeline.reporting.rendering import render

SCREENSHOTS = Path(os.environ.get("SCREENSHOTS", "screenshots"))
RUN = {"run_id": "a1", "cpu_seconds": 1226, "wall_seconds": 630}
LATENCY = {"latency_median_us": 81.6, "latency_p99_us": 120.2}


@pytest.fixture
def measured(workspace: Path) -> Path:
    """`mlp` with all measurements, `wide` with those of another model file, `cnn` with a file of an earlier version."""
    for name in ("mlp", "cnn", "wide"):
        (workspace / "models" / name).mkdir(parents=True)
        (workspace / "models" / name / "model.tflite").write_text(name)
    digest = sha256(workspace / "models" / "mlp" / "model.tflite")
    for name in ("mlp", "wide"):
        write_json(workspace / "models" / name / "run.json", {"digest": digest, **RUN})
        write_json(workspace / "evaluations" / name / "latency.json", {"digest": digest, **LATENCY})
    write_json(workspace / "models" / "cnn" / "run.json", RUN)
    return workspace


def test_measurements_count_for_the_model_file_that_they_name(measured: Path) -> None:
    assert measurements.read_run("mlp") == RUN and measurements.read_latency("mlp") == LATENCY
    for name in ("cnn", "wide", "unknown"):
        assert measurements.read_run(name) == {} and measurements.read_latency(name) == {}
    (measured / "models" / "mlp" / "model.tflite").write_text("restored from the cache")
    assert measurements.read_run("mlp") == {} and measurements.read_latency("mlp") == {}


def test_a_page_without_measurements_gets_no_table(measured: Path) -> None:
    assert measurements.with_measurements("<p><!-- measurements --></p>", ["cnn", "wide"]) == "<p></p>"


def test_make_report_opens_a_copy_with_the_times(
    measured: Path, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(measurements.webbrowser, "open", opened.append)
    page = render("model_card.html", title="Report", body="")
    write_text(measured / "reports" / "comparison.html", page)
    write_json(measured / "reports" / "comparison.json", {"models": {"mlp": {}, "cnn": {}}})
    measurements.main()
    assert opened == [(measured / "reports" / "report.html").as_uri()]
    for width, scheme in ((360, "dark"), (1280, "light")):
        tab = browser.new_page(viewport={"width": width, "height": 500}, color_scheme=scheme)
        tab.goto(opened[0])
        rows = [row.split("\t") for row in tab.locator("tr").all_inner_texts()]
        assert rows == [
            ["Measurement", "mlp", "cnn"],
            ["Training (CPU-seconds)", "1,226", "–"],
            ["Training (seconds of wall time)", "630", "–"],
            ["Latency of one image (median, µs)", "82", "–"],
            ["Latency of one image (99th percentile, µs)", "120", "–"],
        ]
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        SCREENSHOTS.mkdir(exist_ok=True)
        tab.screenshot(path=SCREENSHOTS / f"measurements-{width}-{scheme}.png")
        tab.close()
    assert (measured / "reports" / "comparison.html").read_text() == page
