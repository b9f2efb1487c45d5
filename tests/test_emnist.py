"""47 classes through the whole pipeline: synthetic EMNIST files, a model, the report, a service and its page."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import requests
import yaml
from playwright.sync_api import Browser, expect

from pipeline.files import read_json
from recognition.classifier import Classifier
from tests.conftest import Project, serve
from tests.emnist import CLASSES, NAME, draw_characters, write_files
from tests.serving.conftest import Tab, png
from tests.serving.test_page_views import check

pytestmark = pytest.mark.slow
Q = CLASSES.index("q")
PER_CLASS = {"train": 60, "test": 6}
# In one process, because the imports of each would take longer than the small stages
STAGES = """
from pipeline import compare, corrupt, demo_network, evaluate, fetch, package, prepare, register, train, validate
for stage in (fetch, validate, prepare, corrupt):
    stage.main()
for name in MODELS:
    train.main(name)
    evaluate.main(name)
for stage in (demo_network, compare, register, package):
    stage.main()
"""
AFTERWARDS = """
from pipeline import prepare
from pipeline.monitoring import feedback, monitor
feedback.main()
prepare.main()
monitor.main()
"""


def describe_files(project: Project) -> None:
    """Make the entry of the dataset describe the small files."""
    path = project.folder / "pipeline" / "data" / "datasets.yaml"
    content = yaml.safe_load(path.read_text())
    entry = content[NAME]
    entry["counts"] = {split: [count] * len(CLASSES) for split, count in PER_CLASS.items()}
    train, test = (float(draw_characters(count, seed)[0].mean()) for seed, count in enumerate(PER_CLASS.values()))
    entry["expected"]["mean_intensity"] = {"train": train, "test": test, "tolerance": 0.01}
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def choose(params: dict[str, Any]) -> None:
    params["data"] |= {"dataset": NAME, "fallback": None, "validation_share": 0.2, "tuning_share": 0.2}
    params["corrupt"] |= {"images": 100, "ood_samples": 200, "segments": 100}
    del params["models"]["cnn"]


@pytest.fixture(scope="module")
def characters(make_project: Callable[[str], Project]) -> Project:
    """A small project whose models know 47 classes."""
    project = make_project("characters")
    project.change(choose)
    describe_files(project)
    mirror = project.folder / "mirror"
    write_files(mirror / NAME, PER_CLASS)
    project.run("python", "-c", STAGES.replace("MODELS", "['mlp']"), DATA_MIRROR=str(mirror))
    return project


@pytest.fixture(scope="module")
def service(characters: Project) -> Iterator[str]:
    """The URL of the Bento of `characters`, which stores predictions."""
    tag = read_json(characters.folder / "reports" / "bento.json")["bento"]
    database = f"sqlite:///{characters.folder / 'digits.db'}"
    with serve(characters, tag, DIGITS_LOG_PREDICTIONS="true", DIGITS_DATABASE_URL=database) as url:
        yield url


@pytest.fixture(scope="module")
def drawn(characters: Project) -> bytes:
    """A picture of a q, dark on white, that no model was trained on: the one of twenty that the networks read best."""
    images, labels = draw_characters(20, seed=99)
    files = ("models/mlp/model.tflite", "data/derived/demo_network.tflite")
    networks = [Classifier(characters.folder / file) for file in files]
    shares = np.min([network.probabilities(images[labels == Q])[:, Q] for network in networks], axis=0)
    return png(255 - images[labels == Q][shares.argmax()], 8)


def test_the_report_has_readable_confusions_of_47_classes(characters: Project, browser: Browser) -> None:
    folder = characters.folder / "reports"
    confusion = (folder / "comparison.charts" / "confusion of mlp.svg").read_text()
    assert confusion.count(">q</text>") + confusion.count(">q</tspan>") >= 4  # on all four sides
    card = (folder / "mlp" / "model_card.md").read_text()
    assert "n, q, r, t." in card and "| q | " in card and "digit" not in card.split("## Limitations")[1].split("##")[0]
    for width in (360, 1280):
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.goto((folder / "comparison.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        chart = page.locator("figure.large svg")
        box = chart.bounding_box()
        assert box and box["width"] > 900  # 19 pixels for each class
        expect(page.get_by_role("heading", name="Most frequent confusions")).to_be_visible()
        assert page.locator("details tbody tr").count() == 47
        page.close()


def test_the_service_answers_with_indices_of_its_classes(characters: Project, service: str, drawn: bytes) -> None:
    served = requests.get(f"{service}/model", timeout=30).json()
    assert served["dataset"] == NAME and served["classes"] == CLASSES
    answer = requests.post(f"{service}/predict", data=drawn, timeout=30).json()
    assert answer["prediction"] == Q and len(answer["probabilities"]) == 47
    assert requests.post(f"{service}/explain?label=46", data=drawn, timeout=30).json()["label"] == 46
    assert requests.post(f"{service}/explain?label=47", data=drawn, timeout=30).status_code == 422
    refused = requests.post(f"{service}/predict_number", data=drawn, timeout=30)
    assert refused.status_code == 404 and refused.json()["code"] == "not_digits"
    for label, status in ((46, 204), (None, 204), (47, 422), ("q", 422)):
        body = {"request_id": answer["request_id"], "label": label}
        reply = requests.post(f"{service}/feedback", json=body, timeout=30)
        assert reply.status_code == status
    assert reply.json()["error"] == f"`label` is 'q', expected 0 to 46 or null; the class 'q' has the index {Q}"
    schema = requests.get(f"{service}/docs.json", timeout=30).json()["paths"]["/explain"]["post"]["parameters"][0]
    assert schema["schema"]["anyOf"][0]["maximum"] == 46


def test_the_commands_print_names_of_classes(characters: Project, service: str, drawn: bytes, tmp_path: Path) -> None:
    (tmp_path / "q.png").write_bytes(drawn)
    asked = characters.run("digits", "ask", str(tmp_path / "q.png"), "--url", service)
    assert asked.splitlines()[1].split()[1] == "q"
    characters.run("digits", "predict", str(tmp_path), "--output", str(tmp_path / "out.parquet"))
    (row,) = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert (row["prediction"], row["label"]) == (Q, "q")


def test_a_correction_on_the_page_becomes_training_data(
    characters: Project, service: str, browser: Browser, drawn: bytes, tmp_path: Path
) -> None:
    tab = Tab(browser, service)
    page = tab.open(models=1)
    expect(page.get_by_role("heading", level=1)).to_have_text("Draw a character")
    are_digits = 'async (classes) => (await import("/classes.js")).areDigits(classes)'
    assert page.evaluate(are_digits, [*"0123456789"]) and not page.evaluate(are_digits, [*"012"])
    for name in ("#modes", "#samples"):
        expect(page.locator(name)).to_be_hidden()
    (tmp_path / "q.png").write_bytes(drawn)
    page.set_input_files("#file", tmp_path / "q.png")
    expect(page.locator("#verdict")).to_have_text("Prediction: q")
    names = page.locator(".bars .class")
    expect(names).to_have_count(6)
    expect(names.first).to_have_text("q")
    expect(names.last).to_have_text("others")

    page.locator("#labels button").first.focus()  # one tab stop; the name of a class chooses it
    for key, focused in (("End", "t"), ("ArrowLeft", "r"), ("Home", "0"), ("ArrowRight", "1"), ("q", "q")):
        page.keyboard.press(key)
        expect(page.locator("#labels :focus")).to_have_text(focused)
    page.keyboard.press("Enter")
    expect(page.locator("#thanks")).to_have_text("Thank you. Label q is saved.")
    assert page.locator("#labels [tabindex='0']").count() == 1

    page.locator("#why summary").click()
    expect(page.locator("#why-say")).to_contain_text("q less likely")
    page.locator("#inside summary").click()
    expect(page.locator("#inside-say")).to_contain_text("Prediction: q")
    check(tab)
    tab.screenshot("emnist", full_page=True)
    assert tab.messages == []
    tab.close()

    said = characters.run("python", "-c", AFTERWARDS)
    assert said.startswith("1 labels: ") and "too little data: 3 pictures" in said
    summary = read_json(characters.folder / "reports" / "feedback.json")
    assert summary["learnt"] + summary["gate"] == 1
    exported = characters.folder / "data" / "feedback" / ("labels.npz" if summary["learnt"] else "gate.npz")
    with np.load(exported) as content:
        assert content["labels"].tolist() == [Q] and content["classes"].tolist() == CLASSES
    if summary["learnt"]:
        assert "1 corrections added to train" in said
