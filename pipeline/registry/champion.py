"""The champion: who it is, and how a change is recorded and applied."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline import tracking
from pipeline.console import PipelineError
from pipeline.registry import versions
from records import promotions

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

TAG_LENGTH = 5000  # what MLflow's stores take


@dataclass(frozen=True)
class ChampionState:
    """What a decision rests on: the champion's version, if there is one, and how often it had changed by then."""

    version: str | None
    turn: int


def champion_state(model: str) -> ChampionState:
    """Who is champion now, after a change that was left unfinished is carried out."""
    with promotions.exclusive():
        apply_pending_change(model)
        current = versions.by_alias(model, versions.CHAMPION)
        return ChampionState(str(current.version) if current else None, promotions.turns(model))


def change(
    model: str, event: str, chosen: versions.Registered, seen: ChampionState, reason: str, forced: bool = False
) -> None:
    """Make `chosen` champion. Raises PipelineError when somebody else changed the champion since `seen`."""
    digest, turn = chosen.card["digest"], seen.turn + 1
    entry = promotions.Entry(event, model, chosen.version, seen.version, reason, digest, forced, turn)
    with promotions.exclusive():
        try:
            promotions.append(entry)
        except promotions.Overtaken:
            winner = next(row for row in promotions.history(model) if row["turn"] == turn)
            raise PipelineError(
                f"version {winner['version']} was {winner['event']} by {winner['who']} at the same time "
                f"({winner['reason']}); nothing was changed by this command: see make champions and decide anew"
            ) from None
        apply_pending_change(model, just_written=True)


def apply_pending_change(model: str, just_written: bool = False) -> None:
    """Let the aliases follow the ledger's last change, unless they did or it is about another store's versions.

    In a store that was made anew the same file may have the same number again, but later than it was champion.
    """
    row = next((row for row in reversed(promotions.history(model)) if row["turn"] is not None), None)
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
        client.set_registered_model_alias(model, versions.PREVIOUS, row["champion_before"])
    client.set_registered_model_alias(model, versions.CHAMPION, version.version)
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


def demotion(model: str, candidate: versions.Registered) -> dict[str, Any] | None:
    """The row by which a person took this file down as champion, unless it was brought back since."""
    digest = candidate.card["digest"]
    found, digests = None, {candidate.version: digest}
    for row in promotions.history(model):
        if row["turn"] is None:
            continue
        if (row["event"] == "rolled back" or row["forced"]) and digests.get(row["champion_before"]) == digest:
            found = row
        if row["digest"] == digest:
            found = None
        digests[row["version"]] = row["digest"]
    return found
