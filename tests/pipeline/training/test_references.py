"""Reference models: built as described, trained on few images, tracked in MLflow, written for the comparison."""

import hashlib
from typing import Any

import numpy as np
import pytest
import yaml

from pipeline import tracking
from pipeline.console import PipelineError
from pipeline.data.datasets import load_dataset
from pipeline.data.idx import RAW_FILES, write_idx
from pipeline.files import read_json, write_json
from pipeline.paths import REFERENCES, ROOT
from pipeline.reporting.comparison import load_references as compared_references
from pipeline.reporting.rendering import render
from pipeline.training import architectures, references
from pipeline.training.references import load_references
from tests.conftest import drawn_digits

PARAMETERS = {  # counted by hand from the descriptions
    "mlp-64": 784 * 64 + 64 + 64 * 10 + 10,
    "mlp-128": 784 * 128 + 128 + 128 * 10 + 10,
    "mlp-512": 407_050,
    "mlp-512-512": 784 * 512 + 512 + 512 * 512 + 512 + 512 * 10 + 10,
    "mlp-128-256": 784 * 128 + 128 + 128 * 256 + 256 + 256 * 10 + 10,
    "cnn-32-64": 9 * 32 + 32 + 9 * 32 * 64 + 64 + 12 * 12 * 64 * 128 + 128 + 128 * 10 + 10,
    "cnn-32-64-dropout": 9 * 32 + 32 + 9 * 32 * 64 + 64 + 5 * 5 * 64 * 128 + 128 + 128 * 10 + 10,
    "cnn-32-64-norm": 9 * 32 + 5 * 32 + 9 * 32 * 64 + 5 * 64 + 5 * 5 * 64 * 128 + 128 + 128 * 10 + 10,
    "cnn-32-64-64": 9 * 32 + 32 + 9 * 32 * 64 + 64 + 9 * 64 * 64 + 64 + 3 * 3 * 64 * 64 + 64 + 64 * 10 + 10,
}


@pytest.fixture
def raw(workspace, monkeypatch):
    """Raw files in MNIST's format and an empty store for runs."""
    monkeypatch.setattr(tracking, "checkout", lambda: workspace)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr("pipeline.train.tf.config.threading.set_intra_op_parallelism_threads", lambda count: None)
    for seed, (images_file, labels_file) in enumerate(RAW_FILES.values()):
        images, labels = drawn_digits(30, seed)
        order = np.random.default_rng(seed).permutation(len(labels))
        write_idx(workspace / "data" / "raw" / images_file, images[order])
        write_idx(workspace / "data" / "raw" / labels_file, labels[order])
    write_json(workspace / "data" / "raw" / "source.json", {"dataset": "mnist"})
    return workspace


def test_selected_models_are_trained_tracked_and_written(raw, capsys) -> None:
    write_json(raw / "docs" / "references.json", {"quick": False, "models": []})
    (raw / "docs" / "references.md").write_text("measured\n")
    references.main(["mlp-64", "cnn-32-64-dropout"], quick=True)
    assert read_json(raw / "docs" / "references.json") == {"quick": False, "models": []}
    assert (raw / "docs" / "references.md").read_text() == "measured\n"
    content = read_json(raw / "reports" / "references-quick.json")
    rows = {row["name"]: row for row in content["models"]}
    assert content["quick"] and list(rows) == ["mlp-64", "cnn-32-64-dropout"]
    row = rows["mlp-64"]
    assert row["parameters"] == 784 * 64 + 64 + 64 * 10 + 10 and row["multiply_adds"] == 784 * 64 + 64 * 10
    assert 0 <= row["accuracy"] <= 1 and row["bytes"] > 50_000 and row["stated"] == "about 95%"
    line = f"mlp-64: {row['accuracy']:.2%} of 300 test images correct (published: about 95%)"
    output = capsys.readouterr().out
    assert line in output and "results: reports/references-quick.json and reports/references-quick.md" in output
    page = (raw / "reports" / "references-quick.md").read_text()
    assert "`--quick`" in page and f"| mlp-64 | about 95% | {100 * row['accuracy']:.2f}% |" in page
    client = tracking.connect()
    runs = client.search_runs([client.get_experiment_by_name("mnist").experiment_id])
    assert {run.info.run_name: run.data.metrics["test/accuracy"] for run in runs} == {
        name: row["accuracy"] for name, row in rows.items()
    }
    assert all(run.data.tags["reference"] == run.info.run_name for run in runs)


def test_earlier_results_are_kept_and_our_models_are_added(raw, monkeypatch) -> None:
    measured: dict[str, Any] = {
        "described": "", "open": None, "stated": "none", "accuracy": 0.5, "cpu_seconds": 1, "seconds": 1,
        "precision": "float32", "parameters": 1, "multiply_adds": 1, "bytes": 1000,
    }  # fmt: skip
    monkeypatch.setattr(references, "train", lambda *arguments: measured)
    references.main(["cnn-32-64"])
    references.main(["mlp-128"])
    assert [row["name"] for row in read_json(raw / "docs" / "references.json")["models"]] == ["mlp-128", "cnn-32-64"]
    assert "(this project)" not in (raw / "docs" / "references.md").read_text()
    write_json(raw / "reports" / "cnn" / "metrics.json", {"test": {"accuracy": 0.9876}})
    (raw / "models" / "cnn").mkdir(parents=True)
    (raw / "models" / "cnn" / "model.tflite").write_bytes(b"model")
    write_json(raw / "models" / "cnn" / "run.json", {"digest": hashlib.sha256(b"model").hexdigest(), "cpu_seconds": 77})
    write_json(raw / "evaluations" / "cnn" / "cost.json", {"parameters": 5, "multiply_adds": 6, "bytes": 7000})
    references.main(table=True)
    page = (raw / "docs" / "references.md").read_text()
    assert "| **cnn** (this project) | | 98.76% | 77 | 5 | 6 | 7 kB |" in page and "| mlp-128 | none | 50.00% |" in page


def test_an_unknown_name_is_an_error_with_the_known_names(raw) -> None:
    with pytest.raises(PipelineError, match="unknown model mlp-63; known: mlp-128, mlp-64"):
        references.main(["mlp-63"])


@pytest.mark.parametrize("name", load_references())
def test_a_reference_is_built_as_described(name: str) -> None:
    settings = load_references()[name]
    network = architectures.build(settings.architecture, 10, settings.arguments)
    assert network.count_params() == PARAMETERS[name]
    assert ("convolution" in settings.described) == name.startswith("cnn")


def test_the_comparison_depends_on_the_references() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    assert REFERENCES.relative_to(ROOT).as_posix() in stages["compare"]["deps"]


def test_the_tracked_results_are_complete_and_in_the_page() -> None:
    content = read_json(REFERENCES)
    names = [row["name"] for row in content["models"]]
    assert not content["quick"] and names == list(load_references())
    drawn = compared_references(load_dataset("mnist"))
    assert all(0.9 < row["accuracy"] < 1 and row["multiply_adds"] > 0 and row["bytes"] > 0 for row in drawn)
    page = (ROOT / "docs" / "references.md").read_text()
    assert all(f"{100 * row['accuracy']:.2f}%" in page for row in drawn)
    published = [line for line in page.splitlines() if "(this project)" not in line]
    rendered = render("references.md", rows=content["models"], own=[], title="MNIST", quick=False)
    assert published == rendered.splitlines()
