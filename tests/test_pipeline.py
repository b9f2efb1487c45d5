"""The whole pipeline, run for real on small data by `dvc repro` in copies of the repository."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import requests
import yaml

from pipeline.data.idx import RAW_FILES, write_idx
from pipeline.deployment.bento_server import free_port
from pipeline.files import read_json, sha256
from tests.conftest import Project, drawn_digits

pytestmark = pytest.mark.slow

MEASURED = ("run.json", "latency.json")  # run ids and times, which are no outputs of DVC


def ran(output: str) -> list[str]:
    """The stages that DVC says it ran."""
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]


def products(project: Project) -> dict[str, str]:
    """sha256 of everything that the stages wrote, by path; what a killed write left begins with a dot."""
    files = (
        path for name in ("data", "models", "evaluations", "reports") for path in (project.folder / name).rglob("*")
    )
    return {
        str(path.relative_to(project.folder)): sha256(path) for path in files if path.is_file() and path.name[0] != "."
    }


def test_every_stage_runs_and_leaves_what_it_promises(project: Project) -> None:
    stages = ran(project.log)
    assert stages[:3] == ["fetch", "validate", "prepare"] and stages[-3:] == ["compare", "register", "package"]
    assert sorted(stages[3:-3]) == [
        "corrupt", "demo_network", "evaluate@cnn", "evaluate@mlp", "train@cnn", "train@mlp",
    ]  # fmt: skip
    registered = read_json(project.folder / "reports" / "registered.json")
    assert registered["model"] == "optdigits-classifier"
    assert read_json(project.folder / "reports" / "outcome.json")["event"] == "promoted"
    assert sorted(registered["versions"]) == ["cnn", "mlp"]
    metrics = read_json(project.folder / "reports" / "cnn" / "metrics.json")
    assert (
        list(metrics) == ["test", "val", "out_of_distribution", "robustness", "corrupted", "forms"]
        and next(iter(metrics["test"])) == "accuracy"
    )
    assert 0.3 < metrics["test"]["accuracy"] <= 1 and 0 < metrics["val"]["threshold"] <= 1
    comparison = read_json(project.folder / "reports" / "comparison.json")
    assert comparison["dataset"] == "optdigits" and comparison["selection"]["winner"] in ("mlp", "cnn")
    assert read_json(project.folder / "data" / "raw" / "source.json")["fallback"] is False


def test_nothing_but_the_pipelines_own_words_is_printed(project: Project) -> None:
    for chatter in ("WARNING", "Warning", "INFO", "TensorSpec", "oneDNN", "cuda", "\r", "it/s"):
        assert chatter not in project.log


def test_git_sees_nothing_but_the_lock_and_the_metrics(project: Project) -> None:
    assert set(project.git("status", "--porcelain", "-uall").split()) - {"??", "M"} == {
        "dvc.lock", "reports/cnn/metrics.json", "reports/mlp/metrics.json",
    }  # fmt: skip


def test_reports_open_offline_and_show_their_pictures(project: Project) -> None:
    for name in ("comparison.html", "validation.html"):
        page = (project.folder / "reports" / name).read_text()
        linked = [part for part in ('src="http', 'href="http', "url(http", "@import", "<script") if part in page]
        assert linked == []
    page = (project.folder / "reports" / "comparison.html").read_text()
    assert page.count("<svg") == 13 and page.count("data:image/png") >= 24
    assert read_json(project.folder / "reports" / "comparison.json")["headline"] in page
    assert "| test accuracy |" in (project.folder / "reports" / "comparison.md").read_text()


def test_runs_are_tracked_with_all_that_belongs_to_them(project: Project) -> None:
    script = """
import json, mlflow
mlflow.set_tracking_uri("sqlite:///mlflow.db")
client = mlflow.MlflowClient()
run = client.get_run(json.load(open("models/cnn/run.json"))["run_id"])
folders = ("", "model_files", "evaluation", "report")
artifacts = {a.path for folder in folders for a in client.list_artifacts(run.info.run_id, folder)}
print(json.dumps({
    "experiment": client.get_experiment(run.info.experiment_id).name, "status": run.info.status, "tags": run.data.tags,
    "measured": [open(client.download_artifacts(run.info.run_id, f"report/{page}.html")).read().count("<td>Latency")
                 for page in ("comparison", "model_card")],
    "params": run.data.params, "epochs": len(client.get_metric_history(run.info.run_id, "val_accuracy")),
    "metrics": run.data.metrics, "artifacts": sorted(artifacts), "inputs": len(run.inputs.dataset_inputs),
    "models": [m.name for m in client.search_logged_models([run.info.experiment_id])],
    "aliases": client.get_registered_model("optdigits-classifier").aliases,
    "experiment_tags": client.get_experiment(run.info.experiment_id).tags,
    "versions": {v.tags["name"]: [v.description, sorted(v.tags), client.get_run(v.run_id).data.tags, {
        m.key: m.value for m in client.get_logged_model(v.source.removeprefix("models:/")).metrics}]
        for v in client.search_model_versions("name='optdigits-classifier'")},
    "described": client.get_registered_model("optdigits-classifier").description,
    "report": [a.path for a in client.list_artifacts(
        client.get_model_version_by_alias("optdigits-classifier", "champion").run_id, "report")],
}))
"""
    run = json.loads(project.run("python", "-W", "ignore", "-c", script).splitlines()[-1])
    assert run["experiment"] == "optdigits" and run["status"] == "FINISHED"
    assert run["tags"]["git_commit"] == project.git("rev-parse", "HEAD")
    assert len(run["tags"]["data_digest"]) == 64
    assert run["params"]["optimizer.learning_rate"] == "0.005"
    assert run["epochs"] == 2 and {"test/accuracy", "robustness/mean_error"} <= set(run["metrics"])
    costs = ("cpu_seconds", "wall_seconds", "latency_median_us", "latency_p99_us")
    assert {f"cost/{name}" for name in costs} <= set(run["metrics"])
    assert {"learning_curves.png", "model_summary.txt", "training.json", "model_files/model.keras",
            "model_files/model.tflite", "model_files/run.json", "evaluation/evaluation.json",
            "evaluation/latency.json", "report/comparison.html", "report/charts", "report/model_card.md",
            "report/model_card.html",
            "report/metrics.json"} <= set(run["artifacts"])  # fmt: skip
    assert run["inputs"] == 1 and sorted(run["models"]) == ["cnn", "cnn-keras", "mlp", "mlp-keras"]
    assert {"report/comparison.html", "report/comparison.md"} <= set(run["report"])
    assert set(run["aliases"]) == {"champion", "mlp", "cnn"}
    assert run["measured"] == [2, 2]  # median and 99th percentile
    assert run["experiment_tags"]["mlflow.experimentKind"] == "custom_model_development"
    assert run["experiment_tags"]["mlflow.note.content"].startswith("Models trained on this dataset.")
    assert run["described"].startswith("**Champion: [version ")
    for name, (description, tags, run_tags, metrics) in run["versions"].items():
        test = read_json(project.folder / "reports" / name / "metrics.json")["test"]
        interval = f"(95% interval {test['accuracy_low']:.2%} to {test['accuracy_high']:.2%})"
        assert description.startswith(f"{name}: test accuracy {test['accuracy']:.2%} {interval}, above the quality bar")
        assert f"Training of `{name}` on " in run_tags["mlflow.note.content"]
        assert interval in run_tags["mlflow.note.content"] and "model_card.html" in run_tags["mlflow.note.content"]
        assert len(tags) <= 5  # and those of later events
        assert metrics["test/accuracy"] == test["accuracy"] and not any(key.startswith("system/") for key in metrics)


def test_the_champion_loads_anywhere_without_tensorflow(project: Project, tmp_path: Path) -> None:
    script = f"""
import sys
import mlflow, numpy as np
mlflow.set_tracking_uri("sqlite:///{project.folder}/mlflow.db")
model = mlflow.pyfunc.load_model("models:/optdigits-classifier@champion")
answers = model.predict(np.zeros((3, 28, 28), np.uint8))
assert answers.shape == (3, 10) and abs(answers.sum(1) - 1).max() < 0.01, answers
assert "tensorflow" not in sys.modules
print("fine")
"""
    done = subprocess.run(
        ["python", "-W", "ignore", "-c", script],
        cwd=tmp_path,
        env=project.environment(),
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "fine", done.stderr


def test_an_unchanged_pipeline_runs_nothing(project: Project) -> None:
    assert ran(project.repro()) == []


def test_only_copies_of_the_report_have_measured_times(project: Project) -> None:
    bento = read_json(project.folder / "reports" / "bento.json")["bento"].replace(":", "/")
    packaged = project.folder / ".bentoml" / "bentos" / bento / "src" / "serving" / "report.html"
    report = project.folder / "reports" / "comparison.html"
    assert "Latency" in packaged.read_text() and "Latency" not in report.read_text()


def test_packaging_again_keeps_an_intact_bento_and_replaces_a_damaged_one(project: Project) -> None:
    def package() -> tuple[str, Path, str]:
        project.repro("--single-item", "--force", "package")
        return packaged()

    def packaged() -> tuple[str, Path, str]:
        tag = read_json(project.folder / "reports" / "bento.json")["bento"]
        folder = project.folder / ".bentoml" / "bentos" / tag.replace(":", "/")
        return tag, folder, yaml.safe_load((folder / "bento.yaml").read_text())["creation_time"]

    lock = (project.folder / "dvc.lock").read_bytes()
    before = packaged()
    tag, folder, created = before
    assert package() == before
    style = folder / "src" / "serving" / "page" / "style.css"
    style.write_text(style.read_text()[:100])
    mended = package()
    assert mended[0] == tag and mended[2] != created
    assert style.read_bytes() == (project.folder / "serving" / "page" / "style.css").read_bytes()
    (folder / "bento.yaml").unlink()  # as a killed `package` leaves it
    completed = package()
    assert completed[0] == tag and completed[2] != mended[2]
    assert (project.folder / "dvc.lock").read_bytes() == lock


KILLS = {  # the sign that a stage is in the middle of its work: its first file, or the first row in a table of MLflow
    "fetch": "data/raw/*.gz", "validate": "reports/validation.json", "prepare": "data/prepared/*.npz",
    "corrupt": "data/derived/*.npz", "train@mlp": "metrics", "evaluate@mlp": "evaluations/mlp/*.json",
    "compare": "reports/comparison.*", "register": "model_versions", "package": ".bentoml/models/*",
}  # fmt: skip


@pytest.fixture(scope="module")
def again(make_project: Callable[[str], Project]) -> Project:
    """A second small project, run from nothing, but killed in the middle of most stages and started again."""
    made = make_project("again")
    for stage, sign in KILLS.items():
        kill_in(made, stage, sign)
    assert "package" in ran(made.repro())
    return made


def test_a_killed_run_completes_and_gives_the_same_bytes(built_project: Project, again: Project) -> None:
    one, two = products(built_project), products(again)
    assert one.keys() == two.keys()
    differing = {path for path in one if one[path] != two[path]}
    assert {path for path in differing if not path.endswith(MEASURED)} == set()
    assert (again.folder / "dvc.lock").read_bytes() == built_project.lock


@pytest.fixture(scope="module")
def pushed(again: Project) -> Project:
    """The second project, committed, and pushed to a remote that its clones know."""
    again.run("dvc", "remote", "add", "--default", "store", str(again.folder.with_name("remote")))
    again.run("dvc", "push")
    again.git("add", "-A")
    again.git("-c", "user.name=test", "-c", "user.email=test@example.org", "commit", "-qm", "run from nothing")
    return again


@pytest.mark.parametrize("source", ["remote", "shared cache"])
def test_a_clone_trains_nothing(built_project: Project, pushed: Project, tmp_path: Path, source: str) -> None:
    subprocess.run(["git", "clone", "--quiet", pushed.folder, tmp_path / "clone"], check=True)
    clone = Project.__new__(Project)
    clone.folder = tmp_path / "clone"
    (clone.folder / "dvc.lock").write_bytes(built_project.lock)  # of another run than the one that filled the cache
    if source == "remote":
        clone.run("dvc", "pull", "--allow-missing")
    else:
        clone.run("dvc", "cache", "dir", "--local", str(pushed.folder / ".dvc" / "cache"))
    output = clone.repro()
    assert ran(output) == ["fetch", "register", "package"]
    assert clone.git("status", "--porcelain") == ""  # dvc.lock is the same
    assert not (clone.folder / "models" / "cnn" / "run.json").exists()
    script = "from pipeline.tracking import connect; c = connect(); print([r.data.tags['recreated_from'] for r in "
    script += "c.search_runs([c.get_experiment_by_name('optdigits').experiment_id])])"
    assert '["DVC\'s cache", "DVC\'s cache"]' in clone.run("python", "-c", script)


def test_a_third_model_runs_only_itself_and_what_follows(project: Project) -> None:
    before = (project.folder / "params.yaml").read_text()  # tests/test_dvc_commands.py changes a model

    def edit(params: dict[str, Any]) -> None:
        params["models"]["wide"] = {**params["models"]["mlp"], "arguments": {"widths": [96]}}

    project.change(edit)
    output = project.repro()
    assert ran(output) == ["train@wide", "evaluate@wide", "compare", "register", "package"]
    assert set(read_json(project.folder / "reports" / "bento.json")["models"]) == {"mlp", "cnn", "wide"}
    assert "wide" in (project.folder / "reports" / "comparison.html").read_text()

    (project.folder / "params.yaml").write_text(before)
    output = project.repro()
    assert ran(output) == ["compare", "register", "package"]  # the folders of the third model are still there
    registered = read_json(project.folder / "reports" / "registered.json")
    assert registered["versions"] == {"cnn": registered["versions"]["cnn"], "mlp": registered["versions"]["mlp"]}


def test_serving_says_what_to_open_and_ends_with_ctrl_c(project: Project) -> None:
    port = free_port()
    command = ["python", "-m", "pipeline.deployment.serve", "--port", str(port)]
    server = project.start(*command)
    assert server.stdout is not None
    lines = iter(server.stdout.readline, "")
    assert any(f"Open http://localhost:{port} " in line for line in lines)
    answer = requests.get(f"http://127.0.0.1:{port}/model", timeout=10)
    assert answer.json()["dataset"] == "optdigits"
    refused = project.run(*command, status=1)
    assert "choose another port: --port, or make serve PORT=" in refused
    family = psutil.Process(server.pid).children(recursive=True)
    server.send_signal(signal.SIGINT)
    assert "stopping" in "".join(lines)
    assert server.wait(20) == 0
    psutil.wait_procs(family, 10)
    assert not any(process.is_running() for process in family)


def with_bars(project: Project, bar: float) -> None:
    """Set the quality bar of the small project's dataset."""
    path = project.folder / "pipeline" / "data" / "datasets.yaml"
    content = yaml.safe_load(path.read_text())
    content["optdigits"]["quality_bar"] = {"default": bar}
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


@pytest.fixture
def copied(built_project: Project, tmp_path: Path) -> Project:
    """A copy of the small project for a test that damages it."""
    return built_project.copy(tmp_path / "project")


def check(project: Project, status: int = 0) -> str:
    return project.run("python", "-m", "pipeline.deployment.check", status=status)


@pytest.mark.parametrize("lost", [("mlflow.db", "mlartifacts"), ("mlartifacts",)])
def test_a_lost_store_is_noticed_and_mended(copied: Project, lost: tuple[str, ...]) -> None:
    assert check(copied) == ""
    for name in lost:
        shutil.move(copied.folder / name, copied.folder / f"{name}.lost")
    assert ran(copied.repro()) == []
    said = check(copied, status=1)
    assert said.startswith("error: ") and len(said.splitlines()) == 1
    output = copied.run(*said.split("register again: ")[1].split())
    assert ran(output) == ["register", "package"]
    assert ("promoted: " if "mlflow.db" in lost else "updated: ") in output
    assert check(copied) == ""


def test_below_the_bar_nothing_becomes_champion_and_the_champion_stays(copied: Project) -> None:
    with_bars(copied, 1.0)
    copied.change(lambda params: params["models"].pop("cnn"))  # it knows all 145 validation images
    output = copied.repro("register")
    assert "below the quality bar" in output and "unchanged: no model reaches the quality bar" in output
    assert read_json(copied.folder / "reports" / "registered.json")["champion"] is not None
    (copied.folder / "mlflow.db").unlink()
    refused = copied.run("dvc", "repro", "--single-item", "--force", "register", status=None)
    assert "error: no model reaches the quality bar of optdigits and there is no champion" in refused
    assert "ERROR: failed to reproduce 'register'" in refused


def kill_in(project: Project, stage: str, sign: str) -> None:
    """Start `dvc repro`, wait for a stage's sign (see KILLS), and kill it with all its children."""
    log = project.folder.with_suffix(".log")
    with log.open("w") as output:
        process = subprocess.Popen(
            ["dvc", "repro"], cwd=project.folder, env=project.environment(), stdout=output,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    while not (any(project.folder.glob(sign)) if "/" in sign else has_rows(project.folder / "mlflow.db", sign)):
        assert process.poll() is None, log.read_text()
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert ran(log.read_text())[-1] == stage


def has_rows(path: Path, table: str) -> bool:
    """Returns whether a table of an SQLite database exists and has rows."""
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            return connection.execute(f"select 1 from {table}").fetchone() is not None
    except sqlite3.OperationalError:  # neither the file nor the table exists yet
        return False


@pytest.fixture
def fashion_mirror(tmp_path: Path) -> Path:
    """Files of Fashion-MNIST's form, under its name."""
    for (images_file, labels_file), seed in zip(RAW_FILES.values(), (1, 2), strict=True):
        images, labels = drawn_digits(200, seed)
        order = np.random.default_rng(seed).permutation(len(labels))
        write_idx(tmp_path / "fashion-mnist" / images_file, images[order])
        write_idx(tmp_path / "fashion-mnist" / labels_file, labels[order])
    return tmp_path


def test_another_dataset_is_one_parameter(make_project: Callable[[str], Project], fashion_mirror: Path) -> None:
    project = make_project("fashion")
    project.change(lambda params: params["data"].update(dataset="fashion-mnist", fallback=None, validation_share=0.2))
    refused = project.run("python", "-m", "pipeline.fetch", status=1, DATA_MIRROR=str(fashion_mirror))
    assert "train-images-idx3-ubyte.gz: expected md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d, found md5:" in refused

    entry_of_files(project, fashion_mirror / "fashion-mnist")
    output = project.repro("corrupt", DATA_MIRROR=str(fashion_mirror))  # tests/test_emnist.py has the stages after it
    assert ran(output) == ["fetch", "validate", "prepare", "corrupt"]
    assert "Fashion-MNIST" in (project.folder / "reports" / "validation.html").read_text()
    counts = [len(np.load(project.folder / f"data/prepared/{name}.npz")["labels"]) for name in ("train", "tune", "val")]
    assert sum(counts) == 2000  # no pen strokes of digits

    blank = fashion_mirror / "fashion-mnist" / "train-images-idx3-ubyte.gz"
    images = drawn_digits(200, 1)[0]
    images[123] = 0
    write_idx(blank, images)
    entry_of_files(project, fashion_mirror / "fashion-mnist")
    stopped = project.run("dvc", "repro", status=None, DATA_MIRROR=str(fashion_mirror))
    assert "error: maximum: expected: no image is blank" in stopped and "train 123" in stopped
    assert ran(stopped) == ["fetch", "validate"]


def entry_of_files(project: Project, folder: Path) -> None:
    """Make the dataset's entry describe the files in `folder`."""
    path = project.folder / "pipeline" / "data" / "datasets.yaml"
    content = yaml.safe_load(path.read_text())
    entry = content["fashion-mnist"]
    entry["files"] = {file.name: {"checksum": f"sha256:{sha256(file)}"} for file in folder.iterdir()}
    entry["counts"] = {"train": [200] * 10, "test": [200] * 10}
    entry["expected"]["mean_intensity"] = {"train": 12.4, "test": 12.4, "tolerance": 0.2}
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def test_without_a_mirror_the_fallback_is_loud_and_temporary(make_project: Callable[[str], Project]) -> None:
    project = make_project("offline")
    project.change(lambda params: params["data"].update(dataset="fashion-mnist"))
    path = project.folder / "pipeline" / "data" / "datasets.yaml"
    content = yaml.safe_load(path.read_text())
    content["fashion-mnist"]["mirrors"] = ["http://127.0.0.1:9/"]
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    output = project.repro("prepare")
    assert "!!! NO MIRROR OF FASHION-MNIST CAN BE REACHED" in output and "optdigits: 1," in output
    assert read_json(project.folder / "data" / "raw" / "source.json") | {"files": {}} == {
        "dataset": "optdigits", "mirror": "scikit-learn", "fallback": True, "files": {},
    }  # fmt: skip
    project.change(lambda params: params["data"].update(dataset="optdigits"))
    assert project.run("python", "-m", "pipeline.data.fallback") == ""
    assert "fetch" in ran(project.repro("prepare"))
    assert read_json(project.folder / "data" / "raw" / "source.json")["fallback"] is False
    project.change(lambda params: params["data"].update(dataset="fashion-mnist", fallback=None))
    refused = project.run("dvc", "repro", "fetch", status=None)
    assert "error: no mirror of fashion-mnist can be reached and data.fallback is null" in refused


def test_another_ood_threshold_reaches_the_service_as_an_update(built_project: Project, tmp_path: Path) -> None:
    project, served = built_project.copy(tmp_path / "project"), tmp_path / "served"
    before = read_json(project.folder / "reports" / "registered.json")
    project.change(lambda params: params["evaluate"].update(false_rejection_rate=0.3))
    log = project.repro(DIGITS_MODEL_DIR=str(served))
    assert "Running stage 'evaluate@cnn'" in log and "Running stage 'train" not in log
    after = read_json(project.folder / "reports" / "registered.json")
    outcome = read_json(project.folder / "reports" / "outcome.json")
    assert outcome["event"] == "updated" and "it has the model file of version" in outcome["reason"]
    assert set(after["versions"].values()).isdisjoint(before["versions"].values())
    current = read_json(served / "current.json")
    for name, entry in current["models"].items():
        assert entry["version"] == after["versions"][name]
        card = read_json(served / entry["folder"] / "model.json")
        evaluated = read_json(project.folder / "evaluations" / name / "ood_score.json")
        first = read_json(built_project.folder / "evaluations" / name / "ood_score.json")
        assert card["not_a_digit"]["threshold"] == evaluated["threshold"] < first["threshold"]
        assert card["digest"] == sha256(project.folder / "models" / name / "model.tflite")
    project.change(lambda params: params["evaluate"].update(false_rejection_rate=0.01))
    project.repro()
    again = read_json(project.folder / "reports" / "registered.json")
    assert again == before  # the versions of the first run, and its champion
    assert (project.folder / "dvc.lock").read_bytes() == built_project.lock
