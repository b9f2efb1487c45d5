"""Who is champion and how that changes: `make promote`, `make rollback`, `make champions`, and the stage `register`.

A change is a row of the ledger first, which one of several at the same time gets, then the aliases in MLflow. Whoever
is killed between the two has changed the champion: the next who looks carries the row out.
"""

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.console import PipelineError, run_main, say
from pipeline.data.datasets import load_dataset
from pipeline.data.splits import load_split
from pipeline.files import read_json
from pipeline.params import load_params
from pipeline.paths import FEEDBACK, REPORTS
from pipeline.registry import gate, handover, versions
from pipeline.registry.champion import champion_state, change, demotion, registered_version, tag
from recognition.classifier import Classifier
from records import promotions

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion


def main(command: str = "") -> None:
    commands = {"promote": promote, "rollback": rollback, "champions": show}
    if command not in commands:
        raise PipelineError(f"{command!r} is no command; there are {', '.join(commands)}")
    commands[command]()


def promote() -> None:
    """Make `VERSION` champion if the gate lets it pass, or with a `REASON` all the same."""
    model, version, reason = registered_model(), os.environ.get("VERSION", ""), os.environ.get("REASON", "").strip()
    if not version.isdecimal() or registered_version(model, version) is None:
        raise PipelineError(
            f"VERSION is {version!r}, expected the number of a version of {model}: make promote VERSION=3; "
            "make mlflow shows all"
        )
    seen, challenger = champion_state(model), versions.download(model, version)
    if seen.version == version:
        handover.export(model)
        say(f"unchanged: version {version} is the champion already")
        return
    try:
        decision = assess(model, challenger, seen.version)
    except PipelineError as error:
        decision = gate.Decision(False, f"not evaluated: {error}")
    if not decision.promote and not reason:
        raise PipelineError(
            f"the gate refuses version {version}: {decision.reason}; to promote it all the same: "
            f'make promote VERSION={version} REASON="why"'
        )
    words = decision.reason if decision.promote else f"the gate refuses: {decision.reason}"
    words = f"{reason} ({words})" if reason else words
    change(model, "promoted", challenger, seen, words, forced=not decision.promote)
    handover.export(model)
    say(f"promoted{'' if decision.promote else ', forced'}: version {version} ({challenger.name}): {words}")


def rollback() -> None:
    """Make the previous champion champion again; a second time: forward again."""
    model = registered_model()
    seen, previous = champion_state(model), versions.by_alias(model, versions.PREVIOUS)
    if seen.version is None or previous is None:
        raise PipelineError(f"{model} has no previous champion to go back to; make champions shows its history")
    back = versions.download(model, previous.version)
    reason = os.environ.get("REASON", "").strip() or "by hand"
    change(model, "rolled back", back, seen, reason)
    handover.export(model)
    say(f"rolled back: from version {seen.version} to {back.version} ({back.name}); once more goes forward again")


def show() -> None:
    """Print the history of the champions as a table."""
    from rich.console import Console
    from rich.table import Table

    model = registered_model()
    seen, previous = champion_state(model), versions.by_alias(model, versions.PREVIOUS)
    table = Table(title=f"{model}: champion is version {seen.version}, previous is {previous and previous.version}")
    for column in ("when (UTC)", "who", "what", "from", "to", "why"):
        table.add_column(column, overflow="fold")
    for row in promotions.history(model):
        what = f"{row['event']}, forced" if row["forced"] else str(row["event"])
        table.add_row(
            f"{row['time']:%Y-%m-%d %H:%M:%S}", row["who"], what, row["champion_before"], row["version"], row["reason"]
        )
    Console().print(table)


def registered_model() -> str:
    """The registered model of what was run last, else of the dataset in `params.yaml`."""
    try:
        return str(read_json(REPORTS / "registered.json")["model"])
    except FileNotFoundError:
        return versions.registered_model(load_params().data.dataset)


def assess(model: str, challenger: versions.Registered, champion: str | None) -> gate.Decision:
    """The gate's decision on the validation images and the gate set. Raises PipelineError where they are missing."""
    val = load_split("val")
    if val.dataset != challenger.card["dataset"]:
        raise PipelineError(f"the validation images are of {val.dataset}, the model of {challenger.card['dataset']}")
    new = answers(challenger, val.images, val.labels)
    accuracy, bar = new.validation.mean(), load_dataset(val.dataset).bar(challenger.name)
    if accuracy < bar:
        return gate.Decision(False, f"below the quality bar: {accuracy:.2%} on validation images, bar {bar:.2%}")
    old = versions.find(model, champion) if champion else None
    if old is None:
        return gate.Decision(True, "the champion's files are lost" if champion else "first champion")
    costs = (old.card["cost"], challenger.card["cost"])
    return gate.decide(answers(old, val.images, val.labels), new, *costs, load_params().gate)


def answers(registered: versions.Registered, images: Any, labels: Any) -> gate.Answers:
    """Which validation images, uint8 (n, 28, 28), and which of the gate set a registered model answers right."""
    classifier = Classifier(registered.folder / "model.tflite")

    def right(images: Any, labels: Any) -> Any:
        return np.asarray(classifier.probabilities(images).argmax(axis=1) == labels)

    val, path = right(images, labels), FEEDBACK / "gate.npz"
    if not path.exists():
        return gate.Answers(val, val[:0])
    with np.load(path, allow_pickle=False) as labelled:
        if str(labelled["dataset"]) != registered.card["dataset"]:
            return gate.Answers(val, val[:0])
        return gate.Answers(val, right(labelled["images"], labelled["labels"]))


def promote_winner(model: str, challenger: "ModelVersion | None") -> dict[str, Any]:
    """Make the challenger champion when the gate lets it pass; `event` says what happened and why."""
    seen = champion_state(model)
    if challenger is None:
        return {"champion": seen.version, "event": "unchanged", "reason": "no model reaches the quality bar"}
    version = str(challenger.version)
    if version == seen.version:
        return {"champion": version, "event": "unchanged", "reason": f"version {version} is the champion already"}
    candidate = versions.download(model, version)
    if row := demotion(model, candidate):
        decision = gate.Decision(
            False,
            f"{row['who']} took it down on {row['time']:%Y-%m-%d} ({row['reason']}); "
            f"make promote VERSION={version} brings it back",
        )
    else:
        decision = assess(model, candidate, seen.version)
    if decision.promote:
        change(model, "promoted", candidate, seen, decision.reason)
    else:
        tag(model, version, "refused", decision.reason)
        if not promotions.has(model, "refused", version, seen.version):  # a refusal repeated is one refusal
            promotions.append(
                promotions.Entry("refused", model, version, seen.version, decision.reason, candidate.card["digest"])
            )
    event, champion = ("promoted", version) if decision.promote else ("refused", seen.version)
    return {"champion": champion, "event": event, "reason": f"version {version}: {decision.reason}"}


if __name__ == "__main__":
    run_main(main)
