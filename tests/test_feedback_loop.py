"""A real service: predictions are logged, labelled, monitored, reviewed and used for training."""

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import requests
import sqlalchemy as sql

from pipeline.files import read_json
from records import database
from serving.prediction_log.request_ids import RequestIds
from tests.conftest import Project, serve
from tests.serving.test_service import picture

pytestmark = pytest.mark.slow
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def deployment(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """URLs of a service with two workers and prediction logging, and of its database."""
    url = f"sqlite:///{tmp_path_factory.mktemp('log') / 'digits.db'}"
    tag = read_json(project.folder / "reports" / "bento.json")["bento"]
    settings = {"DIGITS_DATABASE_URL": url, "DIGITS_LOG_PREDICTIONS": "true", "DIGITS_WORKERS": "2"}
    with serve(project, tag, **settings) as service:
        yield service, url


@pytest.fixture(scope="module")
def images(project: Project) -> np.ndarray:
    with np.load(project.folder / "data" / "prepared" / "test.npz") as content:
        return np.asarray(content["images"])


def rows(url: str, query: sql.Select) -> list[sql.Row]:
    engine = database.connect(database.parse_url(url))
    database.migrate(engine)  # the service creates the tables with its first rows
    with engine.connect() as connection:
        return list(connection.execute(query).all())


def empty(url: str) -> None:
    """Delete the rows of other tests."""
    engine = database.connect(database.parse_url(url))
    database.migrate(engine)
    with engine.begin() as connection:
        for table in (database.pictures, database.predictions, database.labels, database.reviews):
            connection.execute(table.delete())


def logged(url: str, request_id: str, pictures: int = 1) -> list[sql.Row]:
    """Wait until all pictures of a request are logged. Returns its predictions."""
    found = database.pictures.select().where(database.pictures.c.request_id == request_id)
    end = time.monotonic() + 60
    while len(rows(url, found)) < pictures:
        assert time.monotonic() < end, f"{request_id} is not in the log"
        time.sleep(0.1)
    return rows(url, database.predictions.select().where(database.predictions.c.request_id == request_id))


def label(service: str, request_id: object, value: object) -> requests.Response:
    return requests.post(f"{service}/feedback", json={"request_id": request_id, "label": value}, timeout=60)


def ask(service: str, images: np.ndarray) -> list[dict]:
    answer = requests.post(f"{service}/predict_pixels", json={"images": images.tolist()}, timeout=60)
    assert answer.headers["digits-logged"] == "pixels"
    return answer.json()["results"]


def test_every_route_logs_its_predictions(deployment: tuple[str, str], images: np.ndarray) -> None:
    service, url = deployment
    answer = requests.post(f"{service}/compare", data=picture(), timeout=60)
    assert answer.headers["digits-logged"] == "pixels"
    body = answer.json()
    found = {row.model: row for row in logged(url, body["request_id"])}
    assert found.keys() == {"mlp", "cnn"}
    for name, row in found.items():
        expected = body["results"][name]
        assert (row.route, row.version, row.prediction) == ("/compare", expected["version"], expected["prediction"])
        assert (row.confidence, row.uncertain, row.reason) == (
            pytest.approx(expected["confidence"]), expected["uncertain"], expected["reason"],
        )  # fmt: skip
        assert row.latency_ms > 0 and re.fullmatch("[0-9a-f]{32}", row.client)
    (kept,) = rows(url, database.pictures.select().where(database.pictures.c.request_id == body["request_id"]))
    assert np.frombuffer(kept.pixels, np.uint8).reshape(28, 28).tolist() == body["pixels"]
    one = requests.post(f"{service}/predict?model=mlp", data=picture(), timeout=60)
    assert one.headers["digits-logged"] == "pixels"
    assert [row.model for row in logged(url, one.json()["request_id"])] == ["mlp"]
    number = requests.post(f"{service}/predict_number", data=picture(), timeout=60).json()
    assert number["digits"] and len(logged(url, number["request_id"], len(number["digits"]))) == len(number["digits"])
    several = ask(service, images[:3])
    assert [row["request_id"][48:] for row in several] == ["-0", "-1", "-2"]
    found_rows = logged(url, several[0]["request_id"][:48], 3)
    assert [row.prediction for row in sorted(found_rows, key=lambda row: row.position)] == [
        r["prediction"] for r in several
    ]
    refused = requests.post(f"{service}/predict", data=b"no picture", timeout=60)
    assert refused.status_code == 415 and "digits-logged" not in refused.headers


def test_metrics_cover_all_workers(deployment: tuple[str, str], images: np.ndarray) -> None:
    service, url = deployment
    row = {"time": sql.func.now(), "status": 1, "figures": {"off_centre": {"effect": 3.0, "threshold": 1.0}}}
    engine = database.connect(database.parse_url(url))
    database.migrate(engine)
    with engine.begin() as connection:
        connection.execute(database.monitoring.insert().values(row))
    metrics = requests.get(f"{service}/metrics", timeout=60).text
    before = value(metrics, "digits_log_pictures_total")
    for _ in range(8):
        last = ask(service, images[:5])[0]["request_id"][:48]
    logged(url, last, 5)
    end = time.monotonic() + 90
    while value(metrics, "digits_log_pictures_total") < before + 40 or value(metrics, "digits_monitor_effect") != 3:
        assert time.monotonic() < end, metrics
        time.sleep(0.5)
        metrics = requests.get(f"{service}/metrics", timeout=60).text


def test_postgresql_serves_the_log_the_monitor_and_deletion(
    project: Project, images: np.ndarray, postgres_url: str
) -> None:
    tag = read_json(project.folder / "reports" / "bento.json")["bento"]
    settings = {"DIGITS_DATABASE_URL": postgres_url, "DIGITS_LOG_PREDICTIONS": "true", "DIGITS_WORKERS": "2"}
    with serve(project, tag, **settings) as service:
        request_id = ask(service, images[:1])[0]["request_id"]
        assert label(service, request_id, 7).status_code == 204
        assert len(logged(postgres_url, request_id)) == 1
    assert [row.label for row in rows(postgres_url, database.labels.select())] == [7]
    assert "too little data" in project.run(
        "python", "-m", "pipeline.monitoring.monitor", status=11, DIGITS_DATABASE_URL=postgres_url
    )
    erase = ("python", "-m", "pipeline.monitoring.erase", request_id)
    deleted = project.run(*erase, DIGITS_DATABASE_URL=postgres_url)
    assert "rows deleted" in deleted and "VACUUM FULL" in deleted
    assert not rows(postgres_url, database.pictures.select()) and not rows(postgres_url, database.labels.select())


def test_labels_are_kept_changed_and_withdrawn(deployment: tuple[str, str], images: np.ndarray) -> None:
    service, url = deployment
    for value in (7, 8, None, 9):  # the first label follows at once: the service waits for the row
        if value == 7:
            request_id = ask(service, images[:1])[0]["request_id"]
        assert label(service, request_id, value).status_code == 204
    given = rows(
        url, database.labels.select().where(database.labels.c.request_id == request_id).order_by(database.labels.c.id)
    )
    assert [row.label for row in given] == [7, 8, None, 9]
    counted = rows(url, database.current_labels().where(database.labels.c.request_id == request_id))
    assert [row.label for row in counted] == [9]
    assert label(service, request_id, 9.0).status_code == 204  # JSON has one kind of number
    several = ask(service, images[:2])
    assert label(service, several[1]["request_id"], 3).status_code == 204
    whole = label(service, several[1]["request_id"].rpartition("-")[0], 3)
    assert whole.status_code == 422 and "several answers" in whole.json()["error"]


def test_invalid_feedback_is_rejected_with_the_expected_values(deployment: tuple[str, str], images: np.ndarray) -> None:
    service, _ = deployment
    request_id = ask(service, images[:1])[0]["request_id"]
    for unknown in ("0" * 32, f"{request_id}-1", "no id", ""):
        assert label(service, unknown, 3).status_code == 404, unknown
    for made in (RequestIds().create(), request_id[:-1] + ("0" if request_id[-1] != "0" else "1")):
        assert label(service, made, 3).json()["code"] == "unknown_request_id"
    for wrong in (10, -1, "3", 3.5, True, [3]):
        answer = label(service, request_id, wrong)
        assert answer.status_code == 422 and "0 to 9 or null" in answer.json()["error"], wrong
    for body in ([], {"request_id": request_id}, {"request_id": 3, "label": 3}, {"request_id": "", "label": 3, "x": 1}):
        assert requests.post(f"{service}/feedback", json=body, timeout=60).status_code == 422, body
    assert requests.post(f"{service}/feedback", data=b"{", headers=JSON, timeout=60).status_code == 400
    for headers in ({}, {"content-type": "text/plain"}):
        assert requests.post(f"{service}/feedback", data=b"{}", headers=headers, timeout=60).status_code == 415


def test_without_a_log_labels_are_rejected(service: str, images: np.ndarray) -> None:
    answer = requests.post(f"{service}/predict_pixels", json={"images": images[:1].tolist()}, timeout=60)
    assert "digits-logged" not in answer.headers
    refused = label(service, answer.json()["results"][0]["request_id"], 3)
    assert refused.status_code == 404 and "nothing is being logged" in refused.json()["error"]


def test_an_unavailable_database_fails_no_prediction(project: Project, images: np.ndarray) -> None:
    tag = read_json(project.folder / "reports" / "bento.json")["bento"]
    gone = {"DIGITS_DATABASE_URL": "postgresql://me:secret-word@127.0.0.1:9/digits", "DIGITS_LOG_PREDICTIONS": "true"}
    with serve(project, tag, **gone) as service:
        request_id = [ask(service, images[:1]) for _ in range(5)][-1][0]["request_id"]
        end, metrics = time.monotonic() + 60, ""
        while not value(metrics, "digits_log_failures_total") or value(metrics, "digits_log_waiting_pictures") != 5:
            assert time.monotonic() < end, metrics
            time.sleep(0.2)
            metrics = requests.get(f"{service}/metrics", timeout=60).text
        refused = label(service, request_id, 3)
        assert refused.status_code == 503 and "secret-word" not in refused.text


def value(metrics: str, name: str) -> float:
    """Returns the sum of a metric's samples in Prometheus's text format."""
    found = re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", metrics, re.MULTILINE)
    return sum(map(float, found))


def test_a_killed_service_loses_at_most_the_last_second(project: Project, images: np.ndarray, tmp_path: Path) -> None:
    tag = read_json(project.folder / "reports" / "bento.json")["bento"]
    url = f"sqlite:///{tmp_path / 'digits.db'}"
    here = psutil.Process()
    known = {process.pid for process in here.children(recursive=True)}
    with serve(project, tag, DIGITS_DATABASE_URL=url, DIGITS_LOG_PREDICTIONS="true", DIGITS_WORKERS="2") as service:
        answers = [ask(service, images[n : n + 1])[0] for n in range(30)]
        began = time.monotonic()
        logged(url, answers[-1]["request_id"])
        took = time.monotonic() - began
        answers = [ask(service, images[n : n + 1])[0] for n in range(30)]
        time.sleep(max(1, 4 * took))  # a busy machine writes later
        for process in here.children(recursive=True):
            if process.pid not in known and process.is_running():
                os.kill(process.pid, signal.SIGKILL)
    kept = {row.request_id for row in rows(url, sql.select(database.pictures.c.request_id))}
    assert {answer["request_id"] for answer in answers} <= kept


def test_a_service_that_is_stopped_loses_nothing(project: Project, images: np.ndarray, tmp_path: Path) -> None:
    tag = read_json(project.folder / "reports" / "bento.json")["bento"]
    url = f"sqlite:///{tmp_path / 'digits.db'}"
    with serve(project, tag, DIGITS_DATABASE_URL=url, DIGITS_LOG_PREDICTIONS="true") as service:
        answers = [ask(service, images[n : n + 1])[0] for n in range(30)]
    kept = {row.request_id for row in rows(url, sql.select(database.pictures.c.request_id))}
    assert kept == {answer["request_id"] for answer in answers}


def test_the_exit_status_of_the_monitor(
    deployment: tuple[str, str], project: Project, images: np.ndarray, tmp_path: Path
) -> None:
    service, url = deployment
    monitor = ("python", "-m", "pipeline.monitoring.monitor")
    empty(url)
    assert "too little data" in project.run(*monitor, status=11, DIGITS_DATABASE_URL=url)
    for part in np.array_split(images[:300], 3):
        logged(url, ask(service, part)[-1]["request_id"][:48], 100)
    output = project.run(*monitor, status=0, DIGITS_DATABASE_URL=url)
    assert "as in training: 300 pictures" in output
    for part in np.array_split(255 - images[:300], 3):
        logged(url, ask(service, part)[-1]["request_id"][:48], 100)
    output = project.run(*monitor, status=10, DIGITS_DATABASE_URL=url)
    assert re.search(r"mean_intensity\.\w+\.v\d+: mean difference", output) and "not compared" not in output
    report = read_json(project.folder / "reports" / "monitor.json")
    assert report["status"] == 1 and report["pictures"] == 600 and report["alarms"]
    page = (project.folder / "reports" / "monitor.html").read_text()
    assert not re.search(r'(src|href)="(?!data:|#)', page) and "http" not in re.sub(r"http://www\.w3\.org\S*", "", page)
    assert page.count("data:image/png") == 24
    found = rows(url, sql.select(database.monitoring.c.status).order_by(database.monitoring.c.id))
    assert [row.status for row in found][-3:] == [2, 0, 1]
    code = (
        "from pipeline.tracking import connect; c = connect(); "
        f"e = c.get_experiment_by_name('{report['dataset']}-monitor'); "
        "r = c.search_runs([e.experiment_id])[0]; print(r.data.metrics['status'], r.data.tags['status'], "
        "sorted(f.path for f in c.list_artifacts(r.info.run_id)), r.data.tags['mlflow.note.content'], "
        "e.tags['mlflow.note.content'])"
    )
    tracked = project.run("python", "-c", code)
    assert re.search(r"1\.0 drift \['\w+-v\d+\.svg', 'monitor\.json'\] \*\*drift\*\*: 600 pictures since", tracked)
    assert f"- {report['alarms'][0]}" in tracked and "Reports of `digits monitor`" in tracked
    away = "postgresql://me:secret-word@127.0.0.1:9/digits"
    failed = project.run(*monitor, status=1, DIGITS_DATABASE_URL=away)
    assert "cannot be used" in failed and "secret-word" not in failed


def test_corrections_are_exported_reviewed_and_deleted(
    deployment: tuple[str, str], project: Project, images: np.ndarray
) -> None:
    service, url = deployment
    export, prepare = ("python", "-m", "pipeline.monitoring.feedback"), ("dvc", "repro", "--single-item", "prepare")
    folder = project.folder / "data"
    before = (folder / "prepared" / "train.npz").read_bytes()
    empty(url)
    fresh = np.roll(images[:60], 1, axis=1)  # realistic, but not test images
    answers = [*ask(service, fresh), *ask(service, images[60:61])]
    for answer in answers:
        assert label(service, answer["request_id"], answer["prediction"]).status_code == 204
    wrong = answers[0]
    assert label(service, wrong["request_id"], (wrong["prediction"] + 5) % 10).status_code == 204

    def settings(params: dict) -> None:
        params["feedback"] |= {"client_share": 0.2, "rejected_below": 0.5}

    original = (project.folder / "params.yaml").read_text()
    project.change(settings)
    try:
        output = project.run(*export, DIGITS_DATABASE_URL=url)
        assert "equals a validation, tuning or test image (1)" in output and "decide with: make review" in output
        with np.load(folder / "feedback" / "labels.npz") as learnt, np.load(folder / "feedback" / "gate.npz") as gate:
            train, apart = ({image.tobytes() for image in content["images"]} for content in (learnt, gate))
            assert learnt["images"].shape[1:] == gate["images"].shape[1:] == (28, 28)
            assert learnt["labels"].dtype == gate["labels"].dtype == np.uint8
        assert train and apart and not train & apart
        assert fresh[0].tobytes() not in train | apart
        project.run(*prepare)
        with np.load(folder / "prepared" / "train.npz") as content:
            trained = {image.tobytes() for image in content["images"]}
        assert train <= trained and not apart & trained

        review = ("python", "-m", "pipeline.monitoring.review")
        waiting = project.run(*review, "--list", DIGITS_DATABASE_URL=url)
        number = re.match(r"(\d+)  label", waiting)[1]
        shown = project.run("bash", "-c", "yes s | python -m pipeline.monitoring.review", DIGITS_DATABASE_URL=url)
        assert "█" in shown and re.search(r"v\d+ predicted", shown)
        project.run(*review, "--accept", number, DIGITS_DATABASE_URL=url)
        assert number not in re.findall(r"^(\d+)  ", project.run(*review, "--list", DIGITS_DATABASE_URL=url), re.M)
        assert "no label with id" in project.run(*review, "--reject", number, status=1, DIGITS_DATABASE_URL=url)
        accepted = rows(url, database.reviews.select())
        assert [(str(row.label_id), row.accepted) for row in accepted] == [(number, True)]

        (folder / "feedback" / "labels.npz").unlink()
        assert "dvc checkout" in project.run(*prepare, status=None)
        project.run("dvc", "checkout", "data/feedback/labels.npz.dvc")
        project.run(*prepare)
        several = {answer["request_id"][:48] for answer in answers}
        assert "rows deleted" in project.run(
            "python", "-m", "pipeline.monitoring.erase", *several, DIGITS_DATABASE_URL=url
        )
        assert "no data is stored" in project.run(
            "python", "-m", "pipeline.monitoring.erase", *several, status=1, DIGITS_DATABASE_URL=url
        )
        assert not rows(url, database.pictures.select()) and not rows(url, database.labels.select())
        project.run(*export, DIGITS_DATABASE_URL=url)
        assert sorted(path.name for path in (folder / "feedback").iterdir()) == ["README.md"]
    finally:
        (project.folder / "params.yaml").write_text(original)
        project.run(*prepare)
    assert (folder / "prepared" / "train.npz").read_bytes() == before
