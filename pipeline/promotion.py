"""Who is champion and how that changes: `make promote`, `make rollback`, `make champions`, and the stage `register`.

A change is a row of the ledger first, which one of several at the same time gets, then the aliases in MLflow. Whoever
is killed between the two has changed the champion: the next who looks carries the row out.
"""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import gate, handover, ledger, registry, tracking
from pipeline.datasets import load_split
from pipeline.files import read_json
from pipeline.inference import Classifier
from pipeline.params import load_dataset, load_params
from pipeline.paths import FEEDBACK, REPORTS
from pipeline.terminal import PipelineError, say, stage

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

TAG_LENGTH = 5000  # what MLflow's stores take


@dataclass(frozen=True)
class Standing:
    """What a decision rests on: the champion's version, if there is one, and how often it had changed by then."""

    version: str | None
    turn: int


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
    seen, challenger = standing(model), registry.download(model, version)
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
    seen, previous = standing(model), registry.by_alias(model, registry.PREVIOUS)
    if seen.version is None or previous is None:
        raise PipelineError(f"{model} has no previous champion to go back to; make champions shows its history")
    back = registry.download(model, previous.version)
    reason = os.environ.get("REASON", "").strip() or "by hand"
    change(model, "rolled back", back, seen, reason)
    handover.export(model)
    say(f"rolled back: from version {seen.version} to {back.version} ({back.name}); once more goes forward again")


def show() -> None:
    """Print the history of the champions as a table."""
    from rich.console import Console
    from rich.table import Table

    model = registered_model()
    seen, previous = standing(model), registry.by_alias(model, registry.PREVIOUS)
    table = Table(title=f"{model}: champion is version {seen.version}, previous is {previous and previous.version}")
    for column in ("when (UTC)", "who", "what", "from", "to", "why"):
        table.add_column(column, overflow="fold")
    for row in ledger.history(model):
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
        return registry.registered_model(load_params().data.dataset)


def standing(model: str) -> Standing:
    """Who is champion now, after a change that was left unfinished is carried out."""
    with ledger.exclusive():
        carry_out(model)
        current = registry.by_alias(model, registry.CHAMPION)
        return Standing(str(current.version) if current else None, ledger.turns(model))


def change(
    model: str, event: str, chosen: registry.Registered, seen: Standing, reason: str, forced: bool = False
) -> None:
    """Make `chosen` champion. Raises PipelineError when somebody else changed the champion since `seen`."""
    digest, turn = chosen.card["digest"], seen.turn + 1
    entry = ledger.Entry(event, model, chosen.version, seen.version, reason, digest, forced, turn)
    with ledger.exclusive():
        try:
            ledger.append(entry)
        except ledger.Overtaken:
            winner = next(row for row in ledger.history(model) if row["turn"] == turn)
            raise PipelineError(
                f"version {winner['version']} was {winner['event']} by {winner['who']} at the same time "
                f"({winner['reason']}); nothing was changed by this command: see make champions and decide anew"
            ) from None
        carry_out(model, just_written=True)


def carry_out(model: str, just_written: bool = False) -> None:
    """Let the aliases follow the ledger's last change, unless they did or it is about another store's versions.

    In a store that was made anew the same file may have the same number again, but later than it was champion.
    """
    row = next((row for row in reversed(ledger.history(model)) if row["turn"] is not None), None)
    version = registered_version(model, row["version"]) if row else None
    if row is None or version is None or version.tags.get("digest") != row["digest"]:
        return
    if not just_written and version.creation_timestamp / 1000 > row["time"].timestamp():
        return
    time = row["time"].isoformat(timespec="microseconds")
    if version.tags.get("changed", "") >= time:
        return
    client = tracking.connect()
    if row["champion_before"] is not None and registered_version(model, row["champion_before"]) is not None:
        client.set_registered_model_alias(model, registry.PREVIOUS, row["champion_before"])
    client.set_registered_model_alias(model, registry.CHAMPION, version.version)
    tag(model, version.version, row["event"], f"{'forced: ' if row['forced'] else ''}{row['reason']}")
    client.set_model_version_tag(model, version.version, "changed", time)  # last: from here on it is carried out


def tag(model: str, version: str, event: str, reason: str) -> None:
    """Note at the version itself what happened to it and why."""
    tracking.connect().set_model_version_tag(model, version, event.replace(" ", "_"), reason[:TAG_LENGTH])


def registered_version(model: str, version: str) -> "ModelVersion | None":
    """The version of that number, None where there is none."""
    from mlflow.exceptions import MlflowException

    try:
        return tracking.connect().get_model_version(model, version)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise


def taken_down(model: str, candidate: registry.Registered) -> dict[str, Any] | None:
    """The row by which a person took this file down as champion, unless it was brought back since."""
    digest = candidate.card["digest"]
    found, digests = None, {candidate.version: digest}
    for row in ledger.history(model):
        if row["turn"] is None:
            continue
        if (row["event"] == "rolled back" or row["forced"]) and digests.get(row["champion_before"]) == digest:
            found = row
        if row["digest"] == digest:
            found = None
        digests[row["version"]] = row["digest"]
    return found


def assess(model: str, challenger: registry.Registered, champion: str | None) -> gate.Decision:
    """The gate's decision on the validation images and the gate set. Raises PipelineError where they are missing."""
    val = load_split("val")
    if val.dataset != challenger.card["dataset"]:
        raise PipelineError(f"the validation images are of {val.dataset}, the model of {challenger.card['dataset']}")
    new = answers(challenger, val.images, val.labels)
    accuracy, bar = new.validation.mean(), load_dataset(val.dataset).bar(challenger.name)
    if accuracy < bar:
        return gate.Decision(False, f"below the quality bar: {accuracy:.2%} on validation images, bar {bar:.2%}")
    old = registry.find(model, champion) if champion else None
    if old is None:
        return gate.Decision(True, "the champion's files are lost" if champion else "first champion")
    costs = (old.card["cost"], challenger.card["cost"])
    return gate.decide(answers(old, val.images, val.labels), new, *costs, load_params().gate)


def answers(registered: registry.Registered, images: Any, labels: Any) -> gate.Answers:
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


if __name__ == "__main__":
    stage(main)
