"""`digits promote`, `rollback`, `challenge` and `champions`: changes of the champion by hand, and its history.

`python -m pipeline.registry.promotion` has the same commands.
"""

import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sql
import typer

from pipeline import tracking
from pipeline.console import AsJson, PipelineError, run_app, say
from pipeline.registry import gate, handover, versions
from pipeline.registry.assessment import assess
from pipeline.registry.champion import champion_state, change, demotion, refuse
from pipeline.tracking import open_database
from records import promotions


def promote(version: str, reason: str = "", as_json: AsJson = False) -> None:
    """Make a version champion if the gate accepts it, or, with a reason, although the gate refuses it."""
    model, reason = versions.current_model(), reason.strip()
    if not version.isdecimal() or versions.by_number(model, version) is None:
        raise PipelineError(
            f"the version is {version!r}, expected the number of a version of {model}: digits promote 3 "
            "(make promote VERSION=3); digits mlflow lists all"
        )
    engine = open_database()
    state, challenger = champion_state(engine, model), versions.download(model, version)
    if state.version == version:
        handover.export(model)
        report("unchanged", version, f"version {version} is the champion already", as_json=as_json)
        return
    try:
        decision = assess(model, challenger, state.version)
    except PipelineError as error:
        decision = gate.Decision(False, f"not evaluated: {error}")
    if not decision.promote and not reason:
        raise PipelineError(
            f"the gate refuses version {version}: {decision.reason}; to promote it anyway: "
            f'digits promote {version} --reason "why" (make promote VERSION={version} REASON="why")'
        )
    finding = decision.reason if decision.promote else f"the gate refuses: {decision.reason}"
    reason = f"{reason} ({finding})" if reason else finding
    change(engine, model, decision.event, challenger, state, reason, forced=not decision.promote)
    handover.export(model)
    text = f"version {version} ({challenger.name}): {reason}"
    report(decision.event, version, text, as_json, before=state.version, reason=reason, forced=not decision.promote)


def rollback(reason: str = "", as_json: AsJson = False) -> None:
    """Make the previous champion champion again. A second rollback undoes the first."""
    engine, model = open_database(), versions.current_model()
    state, previous = champion_state(engine, model), versions.by_alias(model, versions.PREVIOUS)
    if state.version is None or previous is None:
        raise PipelineError(f"{model} has no previous champion; digits champions shows its history")
    back = versions.download(model, previous.version)
    reason = reason.strip() or "by hand"
    change(engine, model, "rolled back", back, state, reason)
    handover.export(model)
    text = f"from version {state.version} to {back.version} ({back.name}); a second rollback undoes this"
    report("rolled back", str(back.version), text, as_json, before=state.version, reason=reason, forced=False)


def challenge(version: str, as_json: AsJson = False) -> None:
    """Let services serve a version as `challenger`, beside the champion. `none` ends this."""
    model = versions.current_model()
    number = version if version.isdecimal() and versions.by_number(model, version) is not None else None
    if number is None and version != "none":
        raise PipelineError(f"the version is {version!r}, expected the number of a version of {model}, or none")
    client, name, text = tracking.connect(), None, "none"
    if number is not None:
        name = name_of_challenger(model, number)
        client.set_registered_model_alias(model, versions.CHALLENGER, number)
        text = f"version {number}; services with DIGITS_CHALLENGER={name} log its answers"
    elif versions.by_alias(model, versions.CHALLENGER) is not None:
        client.delete_registered_model_alias(model, versions.CHALLENGER)
    handover.export(model)
    if as_json:
        say(json.dumps({"challenger": number, "name": name}))
    else:
        say(f"challenger: {text}")


def name_of_challenger(model: str, number: str) -> str:
    """The name under which services serve this version beside the champion: its entry's, or `challenger`.

    Raises PipelineError for the champion, for a version with other classes and for a damaged one.
    """
    champion, served = versions.served_versions(model)
    if number == served[champion]:
        raise PipelineError(f"version {number} is the champion; expected another version of {model}")
    challenger, current = (versions.download(model, version) for version in (number, served[champion]))
    if challenger.card.get("classes") != current.card.get("classes"):
        raise PipelineError(
            f"version {number} has other classes than the champion, version {current.version}; "
            "a service answers with models of the same classes"
        )
    return next((name for name, version in served.items() if version == number), versions.CHALLENGER)


def report(event: str, version: str, text: str, as_json: bool, **details: Any) -> None:
    """Print the outcome of a command: `text`, or JSON with event, champion and `details`."""
    if as_json:
        say(json.dumps({"event": event, "champion": version, **details}))
    else:
        say(f"{event}{', forced' if details.get('forced') else ''}: {text}")


def show(as_json: AsJson = False) -> None:
    """Print the promotion history, as a table or as JSON."""
    from rich.console import Console
    from rich.table import Table

    engine, model = open_database(), versions.current_model()
    state, previous = champion_state(engine, model), versions.by_alias(model, versions.PREVIOUS)
    rows = promotions.history(engine, model)
    if as_json:
        names = {"champion": state.version, "previous": previous and str(previous.version)}
        history = [{**row, "time": row["time"].isoformat()} for row in rows]
        say(json.dumps({"model": model, **names, "history": history}))
        return
    table = Table(title=f"{model}: champion is version {state.version}, previous is {previous and previous.version}")
    for column in ("time (UTC)", "user", "event", "from", "to", "reason"):
        table.add_column(column, overflow="fold")
    for row in rows:
        event = f"{row['event']}, forced" if row["forced"] else row["event"]
        time = f"{row['time']:%Y-%m-%d %H:%M:%S}"
        table.add_row(time, row["who"], event, row["champion_before"], row["version"], row["reason"])
    Console().print(table)


def promote_winner(model: str, candidates: Sequence[str]) -> dict[str, Any]:
    """Make the winner of the comparison champion if the gate lets it pass. Returns champion, event and reason.

    `candidates`: the versions of the run that reach the quality bar, the winner first. If one of them has the
    champion's model file, it replaces the champion first: its thresholds are served, also if another model wins.
    """
    engine = open_database()
    update = update_champion(engine, model, candidates)
    outcome = assess_winner(engine, model, candidates[0] if candidates else None)
    if update is None or outcome["event"] == "promoted":
        return outcome
    reason = f"{update}; {outcome['reason']}" if outcome["event"] == "refused" else update
    return {**outcome, "event": "updated", "reason": reason}


def update_champion(engine: sql.Engine, model: str, candidates: Sequence[str]) -> str | None:
    """Replace the champion by a candidate with the same model file. Returns the reason; None if nothing changed.

    A candidate that a user replaced as champion does not come back in this way.
    """
    state = champion_state(engine, model)
    champion = versions.by_number(model, state.version) if state.version else None
    if champion is None or state.version in candidates:
        return None
    for number in candidates:
        candidate = versions.download(model, number)
        if candidate.digest == champion.tags.get("digest") and demotion(engine, model, candidate) is None:
            decision = assess(model, candidate, state.version)
            change(engine, model, decision.event, candidate, state, decision.reason)
            return f"version {number}: {decision.reason}"
    return None


def assess_winner(engine: sql.Engine, model: str, version: str | None) -> dict[str, Any]:
    """Decide about the winner of the comparison; `version` is None if no model reaches the quality bar.

    A version that a user replaced as champion is refused until a user promotes it again.
    """
    state = champion_state(engine, model)
    if version is None:
        return {"champion": state.version, "event": "unchanged", "reason": "no model reaches the quality bar"}
    if version == state.version:
        return {"champion": version, "event": "unchanged", "reason": f"version {version} is the champion already"}
    challenger = versions.download(model, version)
    if row := demotion(engine, model, challenger):
        reason = f"{row['who']} replaced it as champion on {row['time']:%Y-%m-%d} ({row['reason']})"
        decision = gate.Decision(False, f"{reason}; digits promote {version} brings it back")
    else:
        decision = assess(model, challenger, state.version)
    reason = f"version {version}: {decision.reason}"
    if decision.promote:
        change(engine, model, decision.event, challenger, state, decision.reason)
        return {"champion": version, "event": decision.event, "reason": reason}
    refuse(engine, model, challenger, state, decision.reason)
    return {"champion": state.version, "event": "refused", "reason": reason}


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    for name, command in (("promote", promote), ("rollback", rollback), ("challenge", challenge), ("champions", show)):
        app.command(name)(command)
    run_app(app)
