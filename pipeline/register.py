"""Stage `register`: the models into MLflow's registry, and the winner to champion if it beats the one there is."""

from typing import TYPE_CHECKING, Any

import numpy as np
from markdown_it import MarkdownIt
from markupsafe import Markup

from pipeline import gate, ledger, registry, tracking
from pipeline.datasets import Split, load_split
from pipeline.files import read_json, write_json
from pipeline.inference import Classifier
from pipeline.params import Gate, load_dataset, load_params
from pipeline.paths import BENTOML_HOME, EVALUATIONS, MODELS, REPORTS
from pipeline.rendering import render
from pipeline.statistics import Correct
from pipeline.terminal import PipelineError, say, stage

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion


def main(argument: str = "") -> None:
    if argument == "--check":
        check()
        return
    params = load_params()
    comparison = read_json(REPORTS / "comparison.json")
    dataset_name, ranking = comparison["dataset"], comparison["verdict"]["ranking"]
    dataset, model = load_dataset(dataset_name), registry.registered_model(dataset_name)
    good = [name for name in ranking if comparison["models"][name]["val"]["accuracy"] >= dataset.bar(name)]
    versions = {name: register(model, name, dataset_name, dataset.classes, comparison) for name in ranking}
    client = tracking.connect()
    for name, version in versions.items():
        accuracy, bar = comparison["models"][name]["val"]["accuracy"], dataset.bar(name)
        side = "above" if name in good else "below"
        verdict = f"{side} the quality bar: {accuracy:.2%} on validation images, bar {bar:.2%}"
        client.set_model_version_tag(model, version.version, "quality", verdict)
        if name in good:
            client.set_registered_model_alias(model, name, version.version)
        say(f"{name}: version {version.version}, {verdict}")
    outcome = promote(model, versions[good[0]] if good else None, load_split("val"), comparison, params.gate)
    record = {
        "dataset": dataset_name,
        "model": model,
        "champion": outcome["champion"],
        "outcome": outcome,
        "versions": {name: str(version.version) for name, version in versions.items()},
    }
    write_json(REPORTS / "registered.json", record)
    say(f"{outcome['event']}: {outcome['reason']}")
    if outcome["champion"] is None:
        bars = ", ".join(
            f"{name} {comparison['models'][name]['val']['accuracy']:.2%} (bar {dataset.bar(name):.2%})"
            for name in ranking
        )
        raise PipelineError(f"no model reaches the quality bar of {dataset_name} and there is no champion: {bars}")


def register(model: str, name: str, dataset: str, classes: list[str], comparison: dict[str, Any]) -> "ModelVersion":
    """The version that holds `models/NAME/model.tflite`; the same file is registered once, unless it was lost."""
    figures = comparison["models"][name]
    known = registry.version_of(model, figures["digest"])
    if known is not None and registry.find(model, known.version) is not None:
        return known
    record = read_json(MODELS / name / "run.json")
    run_id = record["run_id"] if tracking.run_exists(record["run_id"]) else recreate_run(name, dataset, record)
    run = tracking.connect().get_run(run_id)
    card = {
        "name": name,
        "dataset": dataset,
        "classes": classes,
        "digest": figures["digest"],
        "run_id": run_id,
        "commit": run.data.tags["git_commit"],
        "data_digest": record["data_digest"],
        "metrics": {split: figures[split] for split in ("test", "val")},
        "cost": figures["cost"],
        "threshold": figures["val"]["threshold"],
        "not_a_digit": read_json(EVALUATIONS / name / "not_a_digit.json"),
    }
    tags = {
        "name": name,
        "digest": figures["digest"],
        "run_id": run_id,
        "git_commit": card["commit"],
        "data_digest": record["data_digest"]["train"],
        **{f"{split}.{key}": str(value) for split in ("test", "val") for key, value in figures[split].items()},
        **{f"cost.{key}": str(figures["cost"][key]) for key in ("multiply_adds", "bytes")},
    }
    log_evaluation(run_id, name, figures)
    return registry.log_version(model, name, run_id, card, card_page(name), tags)


def card_page(name: str) -> str:
    """The model card as an HTML page."""
    text = (REPORTS / name / "model_card.md").read_text(encoding="utf-8")
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    return render("model_card.html", title=f"{name}: model card", body=Markup(body))


def recreate_run(name: str, dataset: str, record: dict[str, Any]) -> str:
    """A new run with the files of `models/NAME`, for a recorded one that is gone (another store, DVC's run-cache)."""
    import mlflow

    tags = {
        "model": name,
        "dataset": dataset,
        "data_digest": record["data_digest"]["train"],
        "recreated_from": record["run_id"],
    }
    with tracking.run(dataset, name, tags) as run:
        mlflow.log_artifacts(str(MODELS / name), "model_files")
        return str(run.info.run_id)


def log_evaluation(run_id: str, name: str, figures: dict[str, Any]) -> None:
    """The evaluation's figures and files into the model's run."""
    import mlflow

    with mlflow.start_run(run_id=run_id):
        groups = ("test", "val", "robustness", "not_a_digit")
        mlflow.log_metrics({f"{group}.{key}": value for group in groups for key, value in figures[group].items()})
        mlflow.log_metrics({key: value for key, value in figures["cost"].items() if isinstance(value, int | float)})
        mlflow.log_artifacts(str(EVALUATIONS / name), "evaluation")
        mlflow.log_artifacts(str(REPORTS / name), "report")
        mlflow.log_artifacts(str(REPORTS / "comparison.charts"), "report/charts")
        for file in ("comparison.html", "comparison.md"):
            mlflow.log_artifact(str(REPORTS / file), "report")


def promote(
    model: str, challenger: "ModelVersion | None", val: Split, comparison: dict[str, Any], policy: Gate
) -> dict[str, Any]:
    """Move the alias `champion` to the challenger when the gate lets it pass; `event` says what happened and why."""
    client, current = tracking.connect(), registry.by_alias(model, registry.CHAMPION)
    before = str(current.version) if current else None
    if challenger is None:
        return {"champion": before, "event": "unchanged", "reason": "no model reaches the quality bar"}
    version = str(challenger.version)
    if version == before:
        if not ledger.has(model, "promoted", version, None):  # a run that ended between the alias and its row
            ledger.append(ledger.Entry("promoted", model, version, None, "completed afterwards"))
        return {"champion": before, "event": "unchanged", "reason": f"version {version} is the champion already"}
    old, new = registry.find(model, before) if before else None, registry.download(model, version)
    if old is None:
        decision = gate.Decision(True, "the champion's files are lost" if before else "first champion")
    else:
        right = {item.version: right_answers(item, val) for item in (old, new)}
        decision = gate.decide(right[old.version], right[version], old.card["cost"], new.card["cost"], policy)
    event = "promoted" if decision.promote else "refused"
    client.set_model_version_tag(model, version, event, decision.reason)
    if decision.promote:
        if old is not None:
            client.set_registered_model_alias(model, registry.PREVIOUS, old.version)
        client.set_registered_model_alias(model, registry.CHAMPION, version)
    entry = ledger.Entry(event, model, version, before, decision.reason)
    if decision.promote or not ledger.has(model, event, version, before):  # a refusal repeated is one refusal
        ledger.append(entry)
    champion = version if decision.promote else before
    return {"champion": champion, "event": event, "reason": f"version {version}: {decision.reason}"}


def right_answers(registered: registry.Registered, val: Split) -> Correct:
    """Which validation images a registered model answers right, bool (n,)."""
    answers = Classifier(registered.folder / "model.tflite").probabilities(val.images)
    return np.asarray(answers.argmax(axis=1) == val.labels)


def check() -> None:
    """Raise PipelineError unless the registry still has a champion, with its files, and the store the Bento."""
    record = read_json(REPORTS / "registered.json")
    current = registry.by_alias(record["model"], registry.CHAMPION)
    if current is None:
        raise PipelineError(
            f"MLflow's store has no champion of {record['model']}: it was deleted or moved, or MLFLOW_TRACKING_URI "
            f"names another one; {registry.REPAIR}"
        )
    registry.download(record["model"], current.version)
    bento = read_json(REPORTS / "bento.json")["bento"]
    if not (BENTOML_HOME / "bentos" / bento.replace(":", "/") / "bento.yaml").exists():
        raise PipelineError(f"the Bento {bento} is gone; {registry.REPAIR}")


if __name__ == "__main__":
    stage(main)
