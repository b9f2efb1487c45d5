"""`make monitor`: compares logged requests with the data that the models were trained and evaluated on.

Exit status 0: as in training, 1: drift, 2: too little data, 3: the monitor failed.
"""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import click
import numpy as np
import pandas as pd
import sqlalchemy as sql

from pipeline import tracking
from pipeline.console import PipelineError, run_main, say
from pipeline.data.datasets import Dataset, load_dataset
from pipeline.data.expectations import check, describe, image_rules
from pipeline.data.splits import Split, load_split
from pipeline.files import read_json, write_json, write_text
from pipeline.monitoring import drift
from pipeline.monitoring.drift import Window
from pipeline.params import Monitor, load_params
from pipeline.paths import EVALUATIONS, REPORTS
from pipeline.reporting import charts
from pipeline.reporting.rendering import render
from recognition.image_format import IMAGE_SIZE
from recognition.out_of_distribution import OODScore
from records import database

AS_TRAINED, DRIFT, TOO_LITTLE, FAILED = range(4)
STATUS_TEXTS = ("as in training", "drift", "too little data")


@click.command()
@click.option("--hours", type=float, help="Hours to look back, instead of monitor.hours in params.yaml.")
def main(hours: float | None) -> int:
    """Check the logged requests for drift."""
    settings = load_params().monitor
    val, train = load_split("val"), drift.image_features(load_split("train").images)
    dataset = load_dataset(val.dataset)
    now = datetime.now(UTC)
    since = now - timedelta(hours=hours or settings.hours)
    engine = tracking.open_database()
    window = read_window(engine, val.dataset, since, settings.images)
    report = {
        "dataset": val.dataset,
        "time": now.isoformat(timespec="seconds"),
        **assess_window(read_reference(val), train, window, dataset, settings),
        "since": since.isoformat(timespec="seconds"),
        "pictures": len(window.images),
    }
    write_json(REPORTS / "monitor.json", report)
    write_text(REPORTS / "monitor.html", render_report(report, window, train, dataset, settings))
    figures = {f"{metric['name']} {metric['measure']}": metric for metric in report["figures"]}
    with engine.begin() as connection:
        connection.execute(database.monitoring.insert().values(time=now, status=report["status"], figures=figures))
    log_report(report)
    say(f"{STATUS_TEXTS[report['status']]}: {len(window.images):,} pictures since {report['since']}")
    for alarm in report["alarms"]:
        say(f"  {alarm}")
    say("report: reports/monitor.html")
    return int(report["status"])


def read_window(engine: sql.Engine, dataset: str, since: datetime, limit: int) -> Window:
    """Reads the newest `limit` logged pictures of a dataset since a time, with predictions and current labels."""
    newest = (
        sql.select(database.pictures)
        .where(database.pictures.c.dataset == dataset, database.pictures.c.time >= since)
        .order_by(database.pictures.c.time.desc(), database.pictures.c.request_id, database.pictures.c.position)
        .limit(limit)
        .subquery()
    )
    current = database.current_labels().subquery()
    answered = sql.select(database.predictions).join(newest, database.same_picture(database.predictions, newest))
    labelled = sql.select(current).join(newest, database.same_picture(current, newest))
    with engine.connect() as connection:
        pictures = pd.read_sql(sql.select(newest), connection)
        predictions, labels = (pd.read_sql(query, connection) for query in (answered, labelled))
    images = np.frombuffer(b"".join(pictures["pixels"]), np.uint8).reshape(-1, IMAGE_SIZE, IMAGE_SIZE)
    keys = ["request_id", "position"]
    given = pictures[keys].merge(labels, on=keys, how="left")["label"].fillna(-1).to_numpy(int)
    return Window(images, given, predictions.merge(pictures[keys].assign(picture=range(len(images))), on=keys))


def read_reference(val: Split) -> Window:
    """Returns the validation images with the predictions of all evaluated models."""
    tables = []
    for path in sorted(EVALUATIONS.glob("*/predictions.npz")):
        with np.load(path) as content:
            probabilities = content["val"]
        threshold = read_json(path.with_name("evaluation.json"))["metrics"]["val"]["threshold"]
        score = OODScore.from_card(read_json(path.with_name("ood_score.json")))
        table = pd.DataFrame({"model": path.parent.name, "picture": np.arange(len(val.images))})
        table["prediction"], table["confidence"] = probabilities.argmax(axis=1), probabilities.max(axis=1)
        table["uncertain"] = (table["confidence"] < threshold) | score.rejects(probabilities, val.images)
        tables.append(table)
    if not tables:
        raise PipelineError("no evaluation to compare with; run: dvc repro")
    return Window(val.images, val.labels.astype(int), pd.concat(tables))


def assess_window(
    reference: Window, training: pd.DataFrame, window: Window, dataset: Dataset, settings: Monitor
) -> dict[str, Any]:
    """Returns status, alarms, drift metrics (`figures`) and validation rules of a window. See `drift.compare`."""
    metrics = drift.compare(reference, training, window, settings, len(dataset.classes))
    count, rules = len(window.images), []
    if count:
        frame = describe("window", window.images, np.zeros(count, np.uint8))
        rules = check(frame, image_rules(dataset, settings.rules, slack=1))
    alarms = [str(metric) for metric in metrics if metric.alarm]
    alarms += [f"violated rule: {rule['rule']}: {rule['found']}" for rule in rules if not rule["success"]]
    status = TOO_LITTLE if count < settings.minimum else DRIFT if alarms else AS_TRAINED
    figures = [{**asdict(metric), "alarm": metric.alarm} for metric in metrics]
    return {"status": status, "alarms": alarms, "figures": figures, "rules": rules}


def render_report(
    report: dict[str, Any], window: Window, training: pd.DataFrame, dataset: Dataset, settings: Monitor
) -> str:
    """Returns the report as one HTML page, with charts and the most unusual pictures embedded."""
    unusual, chart = [], ""
    if len(window.images):
        for index in drift.most_unusual(training, window.images, settings.pictures):
            rows = window.predictions[window.predictions["picture"] == index].sort_values("model")
            columns = zip(rows["model"], rows["prediction"].to_numpy(int), rows["confidence"], strict=True)
            texts = [f"{model}: {dataset.classes[label]} ({confidence:.0%})" for model, label, confidence in columns]
            unusual.append({"image": window.images[index], "predictions": texts})
        figure = charts.distributions(training, drift.image_features(window.images), drift.FEATURES)
        chart = charts.figure_to_svg(figure, "Features of the requests and of the training images")
    title = STATUS_TEXTS[report["status"]]
    return render("monitor.html", report=report, title=title, dataset=dataset, unusual=unusual, chart=chart)


def log_report(report: dict[str, Any]) -> None:
    """Log metrics and reports as a run of the MLflow experiment `DATASET-monitor`."""
    import mlflow

    tags = {"status": STATUS_TEXTS[report["status"]], "dataset": report["dataset"]}
    effects = {f"{row['name']}.{row['measure'].replace(' ', '_')}": row["effect"] for row in report["figures"]}
    with tracking.run(f"{report['dataset']}-monitor", f"monitor {report['time']}", tags):
        mlflow.log_metrics({"status": report["status"], "pictures": report["pictures"], **effects})
        for name in ("monitor.json", "monitor.html"):
            mlflow.log_artifact(str(REPORTS / name))


if __name__ == "__main__":
    run_main(main, FAILED)
