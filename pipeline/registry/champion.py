"""The champion: which version it is, and how a change is recorded and applied.

A change is first a row of the promotion history and then a change of MLflow's aliases, because the two stores have no
common transaction. The history accepts one row for each revision, so one of several concurrent changes wins. If a
process dies between the two writes, the next reader applies the pending row.
"""

from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sql

from pipeline import tracking
from pipeline.console import PipelineError
from pipeline.registry import descriptions, versions
from recognition.model import Model
from records import promotions
from records.promotions import Entry

TAG_LENGTH: Final = 5000  # characters that MLflow's stores accept in the value of a tag


@dataclass(frozen=True)
class ChampionState:
    """The champion's version, None if there is none, and the number of changes of champion so far."""

    version: str | None
    revision: int


def champion_state(engine: sql.Engine, model: str) -> ChampionState:
    """The current champion, after applying a change that an interrupted process left pending."""
    with promotions.exclusive(engine):
        apply_pending_change(engine, model)
        describe(engine, model)
        current = versions.by_alias(model, versions.CHAMPION)
        return ChampionState(str(current.version) if current else None, promotions.revision(engine, model))


def change(
    engine: sql.Engine, model: str, event: str, chosen: Model, state: ChampionState, reason: str, forced: bool = False
) -> None:
    """Make `chosen` champion. Raises PipelineError if another process changed the champion after `state` was read."""
    revision = state.revision + 1
    with promotions.exclusive(engine):
        try:
            entry = Entry(
                event, model, str(chosen.version), state.version, reason, identity(model, chosen), forced, revision
            )
            promotions.append(engine, entry)
        except promotions.ConcurrentPromotion:
            winner = next(row for row in promotions.history(engine, model) if row["revision"] == revision)
            raise PipelineError(
                f"version {winner['version']} was {winner['event']} by {winner['who']} at the same time "
                f"({winner['reason']}); this command changed nothing: see make champions and decide again"
            ) from None
        apply_pending_change(engine, model, just_written=True)
        describe(engine, model)


def identity(model: str, chosen: Model) -> str | None:
    """The digest of a registered version in the promotion history, see `versions.identity`."""
    version = versions.by_number(model, str(chosen.version))
    return versions.identity(version) if version else None


def refuse(engine: sql.Engine, model: str, challenger: Model, state: ChampionState, reason: str) -> None:
    """Record that the gate refused a challenger; a repeated refusal against the same champion is recorded once."""
    digest = identity(model, challenger)
    entry = Entry("refused", model, str(challenger.version), state.version, reason, digest)
    tag(model, entry.version, entry.event, reason)
    same = {"event": entry.event, "version": entry.version, "champion_before": entry.champion_before}
    if not any(same.items() <= row.items() for row in promotions.history(engine, model)):
        promotions.append(engine, entry)


def apply_pending_change(engine: sql.Engine, model: str, just_written: bool = False) -> None:
    """Set the aliases to the last change in the history, unless they were set already.

    A row about another store's versions is ignored: in a new store the same file may get the same number again, but
    its creation is later than the row.
    """
    row = next((row for row in reversed(promotions.history(engine, model)) if row["revision"] is not None), None)
    version = versions.by_number(model, row["version"]) if row else None
    if row is None or version is None or versions.identity(version) != row["digest"]:
        return
    if not just_written and version.creation_timestamp / 1000 > row["time"].timestamp():
        return
    time = row["time"].isoformat(timespec="microseconds")
    if version.tags.get("changed", "") >= time:
        return
    client = tracking.connect()
    if row["champion_before"] is not None and versions.by_number(model, row["champion_before"]) is not None:
        client.set_registered_model_alias(model, versions.PREVIOUS, row["champion_before"])
    client.set_registered_model_alias(model, versions.CHAMPION, version.version)
    tag(model, version.version, row["event"], f"{'forced: ' if row['forced'] else ''}{row['reason']}")
    client.set_model_version_tag(model, version.version, "changed", time)  # last: marks the change as applied


def describe(engine: sql.Engine, model: str) -> None:
    """Write who is champion, since when and why, into the description of the registered model."""
    registered = versions.registered(model)
    if registered is None:
        return
    current, previous = (versions.by_alias(model, alias) for alias in (versions.CHAMPION, versions.PREVIOUS))
    changes = [row for row in promotions.history(engine, model) if row["revision"] is not None]
    last = changes[-1] if changes else {}
    champion = (str(current.version), versions.identity(current)) if current else None
    if champion != (last.get("version"), last.get("digest")):
        last = {}  # the history is of another store, or a user moved the alias
    text = descriptions.describe_model(model, current, previous and str(previous.version), last)
    if registered.description != text:
        tracking.connect().update_registered_model(model, text)


def tag(model: str, version: str, event: str, reason: str) -> None:
    """Tag a version with an event and its reason."""
    tracking.connect().set_model_version_tag(model, version, event.replace(" ", "_"), reason[:TAG_LENGTH])


def demotion(engine: sql.Engine, model: str, candidate: Model) -> dict[str, Any] | None:
    """The row by which a user replaced this content as champion, by a rollback or a forced promotion.

    None if there is none, or if the content became champion again afterwards. The rows of early versions identify a
    version by its model file.
    """
    found, digests = None, {candidate.version: identity(model, candidate)}
    own = {candidate.content_digest, candidate.digest}
    for row in promotions.history(engine, model):
        if row["revision"] is None:
            continue
        if (row["event"] == "rolled back" or row["forced"]) and digests.get(row["champion_before"]) in own:
            found = row
        if row["digest"] in own:
            found = None
        digests[row["version"]] = row["digest"]
    return found
