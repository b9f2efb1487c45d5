"""`make promote`, `make rollback` and `make champions`: changes of the champion by hand, and its history.

`python -m pipeline.registry.promotion promote|rollback|champions`, with the environment variables VERSION and REASON.
"""

import os
from typing import Any

from pipeline.console import PipelineError, run_main, say
from pipeline.files import read_json
from pipeline.params import load_params
from pipeline.paths import REPORTS
from pipeline.registry import gate, handover, versions
from pipeline.registry.assessment import assess
from pipeline.registry.champion import champion_state, change, demotion, refuse
from pipeline.tracking import open_database
from records import promotions


def main(command: str = "") -> None:
    commands = {"promote": promote, "rollback": rollback, "champions": show}
    if command not in commands:
        raise PipelineError(f"{command!r} is no command; expected {', '.join(commands)}")
    commands[command]()


def promote() -> None:
    """Make `VERSION` champion if the gate lets it pass, or, with a `REASON`, although the gate refuses it."""
    model, version, reason = registered_model(), os.environ.get("VERSION", ""), os.environ.get("REASON", "").strip()
    if not version.isdecimal() or versions.by_number(model, version) is None:
        raise PipelineError(
            f"VERSION is {version!r}, expected the number of a version of {model}: make promote VERSION=3; "
            "make mlflow lists all"
        )
    engine = open_database()
    state, challenger = champion_state(engine, model), versions.download(model, version)
    if state.version == version:
        handover.export(model)
        say(f"unchanged: version {version} is the champion already")
        return
    try:
        decision = assess(model, challenger, state.version)
    except PipelineError as error:
        decision = gate.Decision(False, f"not evaluated: {error}")
    if not decision.promote and not reason:
        raise PipelineError(
            f"the gate refuses version {version}: {decision.reason}; to promote it anyway: "
            f'make promote VERSION={version} REASON="why"'
        )
    finding = decision.reason if decision.promote else f"the gate refuses: {decision.reason}"
    reason = f"{reason} ({finding})" if reason else finding
    change(engine, model, decision.event, challenger, state, reason, forced=not decision.promote)
    handover.export(model)
    say(f"{decision.event}{'' if decision.promote else ', forced'}: version {version} ({challenger.name}): {reason}")


def rollback() -> None:
    """Make the previous champion champion again. A second rollback undoes the first."""
    engine, model = open_database(), registered_model()
    state, previous = champion_state(engine, model), versions.by_alias(model, versions.PREVIOUS)
    if state.version is None or previous is None:
        raise PipelineError(f"{model} has no previous champion; make champions shows its history")
    back = versions.download(model, previous.version)
    change(engine, model, "rolled back", back, state, os.environ.get("REASON", "").strip() or "by hand")
    handover.export(model)
    say(f"rolled back: from version {state.version} to {back.version} ({back.name}); a second rollback undoes this")


def show() -> None:
    """Print the promotion history as a table."""
    from rich.console import Console
    from rich.table import Table

    engine, model = open_database(), registered_model()
    state, previous = champion_state(engine, model), versions.by_alias(model, versions.PREVIOUS)
    table = Table(title=f"{model}: champion is version {state.version}, previous is {previous and previous.version}")
    for column in ("time (UTC)", "user", "event", "from", "to", "reason"):
        table.add_column(column, overflow="fold")
    for row in promotions.history(engine, model):
        event = f"{row['event']}, forced" if row["forced"] else row["event"]
        time = f"{row['time']:%Y-%m-%d %H:%M:%S}"
        table.add_row(time, row["who"], event, row["champion_before"], row["version"], row["reason"])
    Console().print(table)


def registered_model() -> str:
    """The registered model of the last run, or of the dataset in `params.yaml`."""
    try:
        return str(read_json(REPORTS / "registered.json")["model"])
    except FileNotFoundError:
        return versions.registered_model(load_params().data.dataset)


def promote_winner(model: str, version: str | None) -> dict[str, Any]:
    """Make the winner of the comparison champion if the gate lets it pass. Returns champion, event and reason.

    `version`: the winner's, None if no model reaches the quality bar. A version that a user replaced as champion is
    refused until a user promotes it again.
    """
    engine = open_database()
    state = champion_state(engine, model)
    if version is None:
        return {"champion": state.version, "event": "unchanged", "reason": "no model reaches the quality bar"}
    if version == state.version:
        return {"champion": version, "event": "unchanged", "reason": f"version {version} is the champion already"}
    challenger = versions.download(model, version)
    if row := demotion(engine, model, challenger):
        reason = f"{row['who']} replaced it as champion on {row['time']:%Y-%m-%d} ({row['reason']})"
        decision = gate.Decision(False, f"{reason}; make promote VERSION={version} brings it back")
    else:
        decision = assess(model, challenger, state.version)
    reason = f"version {version}: {decision.reason}"
    if decision.promote:
        change(engine, model, decision.event, challenger, state, decision.reason)
        return {"champion": version, "event": decision.event, "reason": reason}
    refuse(engine, model, challenger, state, decision.reason)
    return {"champion": state.version, "event": "refused", "reason": reason}


if __name__ == "__main__":
    run_main(main)
