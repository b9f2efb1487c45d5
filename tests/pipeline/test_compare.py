"""The comparison report of constructed results, in a real browser: one model, three models, long names."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Browser

from pipeline import compare
from pipeline.data.datasets import load_dataset
from pipeline.data.splits import Split, save_split
from pipeline.evaluation.corruptions import CORRUPTIONS
from pipeline.evaluation.metrics import compute_metrics
from pipeline.evaluation.ood_samples import KINDS
from pipeline.files import read_json, write_json
from pipeline.params import Params, load_params
from pipeline.reporting.charts import UNITS
from tests.conftest import drawn_digits

SCREENSHOTS = Path(os.environ.get("SCREENSHOTS", "screenshots"))
Report = Callable[[str, list[str]], Path]


def write_results(labels: np.ndarray, errors: int, dataset: str, folder: Path) -> None:
    """Results of a model that misclassifies the first `errors` images of each split, as `evaluate` writes them."""
    probabilities = np.full((len(labels), 10), 0.01, np.float32) + 0.9 * np.eye(10, dtype=np.float32)[labels]
    probabilities[:errors] = np.roll(probabilities[:errors], 1, axis=1)
    entry = load_dataset(dataset)
    if entry.contested_labels:
        entry = entry.model_copy(update={"contested_labels": [0]})
    split = Split(dataset, np.zeros((len(labels), 28, 28), np.uint8), labels)
    splits = dict.fromkeys(("test", "val", "calibration"), split)
    evaluation = compute_metrics(dict.fromkeys(splits, probabilities), splits, entry, 0.5, load_params().evaluate)
    rates = ["false_rejections_test", "false_rejections_val", "accepted", *(f"{k}_accepted" for k in KINDS)]
    evaluation["metrics"]["robustness"] = {"mean_error": 0.3, **dict.fromkeys(CORRUPTIONS, 0.3)}
    derived = {"accuracy": 0.9, "ece": 0.01, "coverage_above_threshold": 0.9, "accuracy_above_threshold": 0.99}
    evaluation["metrics"] |= {"corrupted": {**derived, "error_unseen": 0.3}, "forms": derived}
    evaluation["seen_corruptions"] = ["translate"]
    evaluation["metrics"]["out_of_distribution"] = dict.fromkeys(rates, 0.01)
    curve = [{"amount": 0.0, "error": 0.1}, {"amount": 1.0, "error": 0.2}]
    write_json(
        folder / "evaluation.json", {**evaluation, "digest": "0" * 64, "sensitivity": dict.fromkeys(UNITS, curve)}
    )
    cost = {"parameters": 10, "multiply_adds": 1000 + errors, "bytes": 5000, "format": "x"}
    write_json(folder / "cost.json", cost)
    shares = np.full(len(labels), 0.5, np.float32)
    arrays = {"corruption_accuracy": shares, "ood_rejected": np.arange(200) >= 10}
    np.savez(folder / "predictions.npz", val=probabilities, test=probabilities, **arrays)


@pytest.fixture
def report(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Report:
    """Writes the report for models of a dataset; each misclassifies ten images more than the one before."""

    def make(dataset: str, names: list[str]) -> Path:
        images, labels = drawn_digits(30)
        for split in ("train", "tune", "val", "test"):
            save_split(split, Split(dataset, images, labels))
        for index, name in enumerate(names):
            write_results(labels, 2 + 10 * index, dataset, workspace / "evaluations" / name)
            columns = {key: [0.5, 0.25] for key in ("loss", "val_loss", "accuracy", "val_accuracy")}
            (workspace / "models" / name).mkdir(parents=True, exist_ok=True)
            pd.DataFrame({"epoch": [0, 1], **columns}).to_csv(workspace / "models" / name / "history.csv")
        (workspace / "data" / "derived").mkdir(exist_ok=True)
        np.savez(workspace / "data" / "derived" / "corrupted.npz", **dict.fromkeys(CORRUPTIONS, images[:1]))
        save_split("forms", Split(dataset, images, labels), workspace / "data" / "derived")
        known = load_params()
        content = known.model_dump() | {"models": {name: known.models["cnn"].model_dump() for name in names}}
        monkeypatch.setattr(compare, "load_params", lambda: Params.model_validate(content))
        compare.main()
        return workspace / "reports"

    return make


@pytest.mark.parametrize(
    ("dataset", "names"),
    [
        ("mnist", ["only"]),
        ("mnist", ["mlp", "cnn", "wide"]),
        ("fashion-mnist", ["a-model-whose-name-is-quite-long", "cnn"]),
    ],
    ids=["one model", "three models", "long names"],
)
def test_the_report_in_a_browser(report: Report, browser: Browser, dataset: str, names: list[str]) -> None:
    folder = report(dataset, names)
    for width, scheme in ((360, "light"), (360, "dark"), (1280, "light"), (1280, "dark")):
        page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        seen: list[str] = []
        page.on("console", lambda message, seen=seen: seen.append(message.text))
        page.on(
            "request", lambda request, seen=seen: request.url.startswith(("file:", "data:")) or seen.append(request.url)
        )
        page.goto((folder / "comparison.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("[...document.images].filter(image => !image.naturalWidth).length") == 0
        charts = page.evaluate("[...document.querySelectorAll('svg')].map(svg => svg.getBoundingClientRect().height)")
        assert len(charts) == 11 + len(names) and min(charts) > 100
        missing = (
            "[...document.querySelectorAll('svg use')].filter(u => !document.querySelector(u.href.baseVal)).length"
        )
        assert page.evaluate(missing) == 0
        SCREENSHOTS.mkdir(exist_ok=True)
        page.screenshot(path=SCREENSHOTS / f"report-{len(names)}-{dataset}-{width}-{scheme}.png", full_page=True)
        page.close()
        assert [url for url in seen if not url.startswith(("file:", "data:"))] == []


def test_the_report_has_no_external_links(report: Report) -> None:
    page = (report("mnist", ["mlp", "cnn"]) / "comparison.html").read_text()
    assert not re.search(r'(src|href)="(?!#|data:)|url\((?!#)|@import|<script|<link', page)
    assert set(re.findall(r"https?://[^\"' <]+", page)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }


def test_the_headline_comes_first_and_images_show_correct_predictions(report: Report) -> None:
    folder = report("mnist", ["mlp", "cnn"])
    comparison = read_json(folder / "comparison.json")
    page, short = (folder / "comparison.html").read_text(), (folder / "comparison.md").read_text()
    assert comparison["headline"].startswith("Use mlp")
    assert page.index(comparison["headline"]) < page.index("<table") and comparison["headline"] in short
    only_mlp = page.split("<h2>Only mlp is correct</h2>")[1].split("<h2>")[0]
    assert only_mlp.count("<img") == 10 and only_mlp.count("✓") == only_mlp.count("✗") == 10
    assert "None." in page.split("<h2>Only cnn is correct</h2>")[1]
    assert page.split("<h2>Most confident errors of cnn</h2>")[1].split("<h2>")[0].count("<img") == 12
    assert len(list((folder / "comparison.charts").glob("*.svg"))) == 13


def test_reference_models_appear_in_the_charts(report: Report, workspace: Path) -> None:
    entry = {"name": "LeNet-5", "accuracy": 0.9905, "multiply_adds": 341_000, "bytes": 240_000}
    (workspace / "docs").mkdir()
    (workspace / "docs" / "references.json").write_text(json.dumps({"models": [entry, {**entry, "dataset": "KMNIST"}]}))
    charts = report("mnist", ["mlp"]) / "comparison.charts"
    assert (charts / "size.svg").read_text().count("LeNet-5") == 1
    assert "LeNet-5" in (charts / "multiply-adds.svg").read_text()


def test_the_report_has_the_same_bytes_every_time(report: Report, workspace: Path) -> None:
    first = (report("mnist", ["mlp"]) / "comparison.html").read_bytes()
    compare.main()
    assert (workspace / "reports" / "comparison.html").read_bytes() == first
