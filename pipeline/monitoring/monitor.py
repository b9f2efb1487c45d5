"""`make monitor`: logged requests against what the models were trained and judged on.

Exit status 0: as in training, 1: drift, 2: too little data, 3: it could not be judged.
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
from pipeline.data.splits import load_split
from pipeline.files import read_json, write_json, write_text
from pipeline.monitoring import drift
from pipeline.monitoring.drift import Answers, Figure, Window
from pipeline.monitoring.feedback import SIDE, open_database
from pipeline.params import Monitor, load_params
from pipeline.paths import EVALUATIONS, REPORTS
from pipeline.reporting import charts
from pipeline.reporting.rendering import render
from recognition.out_of_distribution import OODScore
from records import database

AS_TRAINED, DRIFT, TOO_LITTLE, NOT_JUDGED = range(4)
WORDS = ("as in training", "drift", "too little data")


@click.command()
@click.option("--hours", type=float, help="Look back so far, instead of monitor.hours in params.yaml.")
def main(hours: float | None) -> int:
    settings = load_params().monitor
    val, train = load_split("val"), load_split("train")
    dataset = load_dataset(val.dataset)
    since = datetime.now(UTC) - timedelta(hours=hours or settings.hours)
    engine = open_database()
    window = read_window(engine, val.dataset, since, settings.images)
    trained_on = drift.measure(train.images)
    found = judge(reference(val), trained_on, window, dataset, settings)
    report = {"dataset": val.dataset, "time": datetime.now(UTC).isoformat(timespec="seconds"), **found}
    report |= {"since": since.isoformat(timespec="seconds"), "pictures": len(window.images)}
    write_json(REPORTS / "monitor.json", report)
    write_text(REPORTS / "monitor.html", page(report, window, trained_on, dataset, settings))
    figures = {f"{row['name']} {row['measure']}": row for row in report["figures"]}
    with engine.begin() as connection:
        row = {"time": datetime.now(UTC), "status": report["status"], "figures": figures}
        connection.execute(database.monitoring.insert().values(row))
    track(report)
    say(f"{WORDS[report['status']]}: {len(window.images):,} pictures since {report['since']}")
    for line in report["alarms"]:
        say(f"  {line}")
    say("report: reports/monitor.html")
    return int(report["status"])


def read_window(engine: sql.Engine, dataset: str, since: datetime, limit: int) -> Window:
    """The newest `limit` pictures of a dataset that were logged since then, with answers and current labels."""
    newest = (
        sql.select(database.pictures)
        .where(database.pictures.c.dataset == dataset, database.pictures.c.time >= since)
        .order_by(database.pictures.c.time.desc(), database.pictures.c.request_id, database.pictures.c.position)
        .limit(limit)
        .subquery()
    )
    current = database.current_labels().subquery()
    said = sql.select(database.predictions).join(newest, database.same_picture(database.predictions, newest))
    labelled = sql.select(current).join(newest, database.same_picture(current, newest))
    with engine.connect() as connection:
        pictures = pd.DataFrame(connection.execute(sql.select(newest)).mappings().all(), columns=newest.c.keys())
        rows = connection.execute(said).mappings().all()
        given = connection.execute(labelled).mappings()
        labels = {(row["request_id"], row["position"]): row["label"] for row in given}
    answers = pd.DataFrame(rows, columns=database.predictions.c.keys())
    place = {key: index for index, key in enumerate(zip(pictures["request_id"], pictures["position"], strict=True))}
    answers["picture"] = [place[key] for key in zip(answers["request_id"], answers["position"], strict=True)]
    return Window(
        np.frombuffer(b"".join(pictures["pixels"]), np.uint8).reshape(-1, SIDE, SIDE),
        {
            str(name): Answers(
                group["picture"].to_numpy(int),
                group["prediction"].to_numpy(int),
                group["confidence"].to_numpy(float),
                group["uncertain"].to_numpy(bool),
            )
            for name, group in answers.groupby("model")
        },
        np.array([labels.get(key, -1) for key in place], int),
    )


def reference(val: Any) -> Window:
    """Validation images with every evaluated model's answers."""
    answers = {}
    for folder in sorted(path.parent for path in EVALUATIONS.glob("*/predictions.npz")):
        with np.load(folder / "predictions.npz") as predictions:
            probabilities = predictions["val"]
        threshold = read_json(folder / "evaluation.json")["metrics"]["val"]["threshold"]
        score = OODScore.from_card(read_json(folder / "ood_score.json"))
        confidence = probabilities.max(axis=1)
        uncertain = (confidence < threshold) | score.rejects(probabilities, val.images)
        answers[folder.name] = Answers(np.arange(len(val.images)), probabilities.argmax(axis=1), confidence, uncertain)
    if not answers:
        raise PipelineError("there is no evaluation to compare with; run: dvc repro")
    return Window(val.images, answers, val.labels.astype(int))


def judge(
    expected: Window, trained_on: pd.DataFrame, window: Window, dataset: Dataset, settings: Monitor
) -> dict[str, Any]:
    """Figures, rules and status of a window. `expected`: see `reference`; `trained_on`: measures of training images."""
    figures = drift.compare(expected, trained_on, window, settings, len(dataset.classes))
    count, rules = len(window.images), []
    if count:
        frame = describe("window", window.images, np.zeros(count, np.uint8))
        rules = check(frame, image_rules(dataset, settings.rules, slack=1))
    alarms = [in_words(figure) for figure in figures if figure.alarm]
    alarms += [f"rule broken: {rule['rule']}: {rule['found']}" for rule in rules if not rule["success"]]
    status = TOO_LITTLE if count < settings.minimum else DRIFT if alarms else AS_TRAINED
    rows = [{**asdict(figure), "alarm": figure.alarm} for figure in figures]
    return {"status": status, "alarms": alarms, "figures": rows, "rules": rules}


def in_words(figure: Figure) -> str:
    """One line for an alarm."""
    return (
        f"{figure.name}: {figure.measure} {figure.effect:.3g}, alarm from {figure.threshold:g}; "
        f"found {figure.found:.4g}, expected {figure.expected:.4g}, {figure.n:,} pictures"
    )


def page(report: dict[str, Any], window: Window, trained_on: pd.DataFrame, dataset: Dataset, settings: Monitor) -> str:
    """The report as one HTML file, with charts and the most unusual pictures inside it."""
    unusual, drawn = [], {}
    if len(window.images):
        for index in drift.most_unusual(trained_on, window.images, settings.pictures):
            said = {
                name: f"{dataset.classes[rows.prediction[place]]} ({rows.confidence[place]:.0%})"
                for name, rows in window.answers.items()
                for place in np.flatnonzero(rows.picture == index)
            }
            unusual.append({"image": window.images[index], "said": said})
        here = drift.measure(window.images)
        chart = charts.distributions(trained_on, here, drift.MEASURES)
        drawn["pictures"] = charts.figure_to_svg(chart, "What the pictures are like, against training images")
    title = WORDS[report["status"]]
    return render("monitor.html", report=report, title=title, dataset=dataset, unusual=unusual, charts=drawn)


def track(report: dict[str, Any]) -> None:
    """Figures and reports as a run of the experiment `DATASET-monitor`."""
    import mlflow

    tags = {"status": WORDS[report["status"]], "dataset": report["dataset"]}
    with tracking.run(f"{report['dataset']}-monitor", f"monitor {report['time']}", tags):
        effects = {f"{row['name']}.{row['measure'].replace(' ', '_')}": row["effect"] for row in report["figures"]}
        mlflow.log_metrics({"status": report["status"], "pictures": report["pictures"], **effects})
        for name in ("monitor.json", "monitor.html"):
            mlflow.log_artifact(str(REPORTS / name))


if __name__ == "__main__":
    run_main(main, NOT_JUDGED)
