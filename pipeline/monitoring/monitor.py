"""`make monitor`: compares logged requests and answers with the references of the versions that answered.

Exit status 0: as in training, 10: drift, 11: too little data, 1: an error, 2: wrong usage.
"""

from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from pipeline import tracking
from pipeline.console import run_main, say
from pipeline.data.datasets import Dataset, load_dataset
from pipeline.data.expectations import check, describe, image_rules
from pipeline.evaluation.features import FEATURES, image_features
from pipeline.evaluation.reference import REFERENCE_FILE, Reference, load_reference
from pipeline.files import read_json, write_json, write_text
from pipeline.monitoring import drift
from pipeline.monitoring.challenger import compare_with_champion, describe_comparison
from pipeline.monitoring.drift import References, Version, Window
from pipeline.monitoring.logged import champion_number, database_errors, load_versions, read_window
from pipeline.params import Monitor, load_params
from pipeline.paths import REPORTS
from pipeline.reporting import charts
from pipeline.reporting.rendering import render
from records import database

AS_TRAINED, DRIFT, TOO_LITTLE = range(3)  # the result, as stored in the database and in monitor.json
STATUS_TEXTS = ("as in training", "drift", "too little data")
ABOUT_MONITORING = """\
Reports of `digits monitor`: the requests to the service, compared with the references of the versions that answered.
The metric `status` is 0 (as in training), 1 (drift) or 2 (too little data); `monitor.json` has all findings.
"""
EXIT_STATUSES = (0, 10, 11)  # not 1 and 2, with which errors and wrong usage end: an error must not look like drift


def main(hours: float | None = None) -> int:
    """Check the logged requests of the last `hours` (default: monitor.hours in params.yaml) for drift."""
    settings = load_params().monitor
    name = read_json(REPORTS / "registered.json")["dataset"]
    dataset, engine = load_dataset(name), tracking.open_database()
    now = datetime.now(UTC)
    since = now - timedelta(hours=hours or settings.hours)
    with database_errors():
        window = read_window(engine, name, since, settings.images)
    references, missing = load_references(name, window.by_version(), dataset.classes)
    features = image_features(window.images)
    report = {
        "dataset": name,
        "time": now.isoformat(timespec="seconds"),
        **assess_window(references, window, features, dataset, settings),
        "since": since.isoformat(timespec="seconds"),
        "pictures": len(window.images),
        "versions": [
            {"version": drift.title(version), "pictures": len(rows), "not_compared": missing.get(version)}
            for version, rows in window.by_version().items()
        ],
        "comparisons": compare_with_champion(window, champion_number(name)),
    }
    plots = {drift.title(version): chart(version, references[version], window, features) for version in references}
    enough = [metric for metric in report["figures"] if metric["n"] >= metric["minimum"]]  # others vary by chance
    figures = {f"{metric['name']} {metric['measure']}": metric for metric in enough}
    with database_errors(), engine.begin() as connection:
        connection.execute(database.monitoring.insert().values(time=now, status=report["status"], figures=figures))
    write_json(REPORTS / "monitor.json", report)
    write_text(REPORTS / "monitor.html", render_report(report, references, window, features, plots, dataset, settings))
    log_report(report, plots)
    say(f"{STATUS_TEXTS[report['status']]}: {len(window.images):,} pictures since {report['since']}")
    for alarm in report["alarms"]:
        say(f"  {alarm}")
    for row in report["versions"]:
        if row["not_compared"]:
            say(f"  {row['pictures']:,} answers of {row['version']} are not compared: {row['not_compared']}")
    for row in report["comparisons"]:
        say(f"  {describe_comparison(row)}")
    for note in report["notes"]:
        say(f"  {note}")
    say("report: reports/monitor.html")
    return EXIT_STATUSES[report["status"]]


def load_references(
    dataset: str, answered: Iterable[Version], classes: list[str]
) -> tuple[References, dict[Version, str]]:
    """Returns the references of the versions that answered, and for each version without one the reason."""
    references, missing = {}, {}
    for version, model in load_versions(dataset, answered).items():
        if model is None:
            missing[version] = "the registry does not hold this version, or its files are damaged"
        elif model.card["classes"] != classes:
            missing[version] = "it has other classes than the dataset has now"
        elif (reference := load_reference(model.folder / REFERENCE_FILE)) is None:
            missing[version] = "it was registered without a reference"
        else:
            references[version] = reference
    return references, missing


def assess_window(
    references: References, window: Window, features: pd.DataFrame, dataset: Dataset, settings: Monitor
) -> dict[str, Any]:
    """Returns status, alarms, drift metrics (`figures`), validation rules and notes of a window.

    Only pictures that a version with a reference answered count. `features`: `image_features` of all pictures.
    """
    groups = {version: rows for version, rows in window.by_version().items() if version in references}
    metrics = []
    for version in groups:
        found = drift.compare_version(version, references[version], window, features, settings, len(dataset.classes))
        metrics += [(drift.title(version), metric) for metric in found]
    disagreements, notes = drift.compare_disagreement(references, window, settings)
    metrics += [("several versions", metric) for metric in disagreements]
    compared = sorted({picture for rows in groups.values() for picture in rows["picture"]})
    rules = []
    if compared:
        frame = describe("window", window.images[compared], np.zeros(len(compared), np.uint8))
        rules = check(frame, image_rules(dataset, settings.rules, slack=1))
    alarms = [str(metric) for _, metric in metrics if metric.alarm]
    alarms += [f"violated rule: {rule['rule']}: {rule['found']}" for rule in rules if not rule["success"]]
    largest = max(map(len, groups.values()), default=0)
    status = DRIFT if alarms and len(compared) >= settings.minimum else AS_TRAINED
    if status == AS_TRAINED and largest < settings.minimum:
        status = TOO_LITTLE
    figures = [{"version": version, **asdict(metric), "alarm": metric.alarm} for version, metric in metrics]
    return {"status": status, "alarms": alarms, "figures": figures, "rules": rules, "notes": notes}


def chart(version: Version, reference: Reference, window: Window, features: pd.DataFrame) -> str:
    """Returns the distributions of the features of a version's requests and training images, as SVG."""
    current = features.iloc[window.by_version()[version]["picture"].to_numpy(int)]
    figure = charts.distributions(reference.training, current, FEATURES)
    return charts.figure_to_svg(figure, f"{drift.title(version)}: features of the requests and of the training images")


def render_report(
    report: dict[str, Any],
    references: References,
    window: Window,
    features: pd.DataFrame,
    plots: dict[str, str],
    dataset: Dataset,
    settings: Monitor,
) -> str:
    """Returns the report as one HTML page, with the charts and the most unusual pictures embedded."""
    unusual = []
    for index in drift.most_unusual(references, window, features, settings.pictures):
        rows = window.predictions[window.predictions["picture"] == index].sort_values("model")
        columns = zip(rows["model"], rows["version"], rows["prediction"].to_numpy(int), rows["confidence"], strict=True)
        texts = [
            f"{drift.title((model, version))}: {dataset.classes[label]} ({confidence:.0%})"
            for model, version, label, confidence in columns
        ]
        unusual.append({"image": window.images[index], "predictions": texts})
    title = STATUS_TEXTS[report["status"]]
    return render("monitor.html", report=report, title=title, dataset=dataset, unusual=unusual, plots=plots)


def log_report(report: dict[str, Any], plots: dict[str, str]) -> None:
    """Log metrics, monitor.json and charts as a run of the MLflow experiment `DATASET-monitor`.

    Pictures of users stay out of MLflow: `erase` could not delete them from a server.
    """
    import mlflow

    tags = {"status": STATUS_TEXTS[report["status"]], "dataset": report["dataset"]}
    effects = {f"{row['name']}/{row['measure'].replace(' ', '_')}": row["effect"] for row in report["figures"]}
    found = f"**{tags['status']}**: {report['pictures']:,} pictures since {report['since']}"
    note = "\n- ".join([f"{found}\n", *report["alarms"][:10]])
    with tracking.run(f"{report['dataset']}-monitor", f"monitor {report['time']}", tags, note, ABOUT_MONITORING):
        mlflow.log_metrics({"status": report["status"], "pictures": report["pictures"], **effects})
        mlflow.log_dict(report, "monitor.json")
        for name, plot in plots.items():
            mlflow.log_text(plot, f"{name.replace(' ', '-')}.svg")


if __name__ == "__main__":
    run_main(main)
