"""`make review`: a person accepts or rejects the labels that need a review."""

from datetime import UTC, datetime
from typing import Annotated

import sqlalchemy as sql
import typer

from pipeline.console import PipelineError, run_main, say
from pipeline.data.datasets import load_dataset
from pipeline.monitoring.drift import title
from pipeline.monitoring.feedback import NEEDS_REVIEW, labelled_pictures
from pipeline.monitoring.logged import Images, database_errors
from pipeline.tracking import open_database
from recognition.image_format import IMAGE_SIZE
from records import database
from records.promotions import who

SHADES = " ░▒▓█"


def main(
    list_only: Annotated[bool, typer.Option("--list")] = False,
    accept: list[int] | None = None,
    reject: list[int] | None = None,
) -> None:
    """Accept or reject labels that need a review, named by their ids. Without options, ask for each label."""
    engine, pending = open_database(), pending_labels()
    decisions = dict.fromkeys(accept or (), True) | dict.fromkeys(reject or (), False)
    if unknown := sorted(decisions.keys() - {label_id for label_id, _, _ in pending}):
        raise PipelineError(f"no label with id {unknown[0]} needs a review; list them with: digits review --list")
    for label_id, accepted in decisions.items():
        save_decision(engine, label_id, accepted)
    for number, (label_id, description, image) in enumerate(pending, 1):
        if list_only:
            say(f"{label_id}  {description}")
        elif not (accept or reject):
            say(f"\n{draw(image)}\n\n{number} of {len(pending)}: {description}")
            answer = ""
            while answer not in [*"arsq"]:
                answer = typer.prompt("[a]ccept, [r]eject, [s]kip, [q]uit")
            if answer == "q":
                break
            if answer in "ar":
                decisions[label_id] = answer == "a"
                save_decision(engine, label_id, answer == "a")
    remaining = f"labels that need a review: {len(pending) - len(decisions)}"
    say(remaining + ("; export the accepted labels with: make feedback" if decisions else ""))


def pending_labels() -> list[tuple[int, str, Images]]:
    """Returns id, description and image, uint8 (28, 28), of each label that needs a review."""
    labels, images, name = labelled_pictures()
    classes = load_dataset(name).classes
    pending = [index for index, outcome in enumerate(labels["outcome"]) if outcome.startswith(NEEDS_REVIEW)]
    items = []
    for index in pending:
        label = labels.iloc[index]
        answers = [
            f"{title((model, version))} predicted {classes[prediction]} ({confidence:.0%})"
            for model, version, prediction, confidence in label["answers"]
        ]
        reason = label["outcome"].removeprefix(NEEDS_REVIEW)
        description = f"label {classes[label['label']]}, {' and '.join(answers) or 'no answer is stored'}: {reason}"
        items.append((int(label["id"]), description, images[index]))
    return items


def save_decision(engine: sql.Engine, label_id: int, accepted: bool) -> None:
    """Store a decision with the user's name and the time."""
    row = {"label_id": label_id, "time": datetime.now(UTC), "who": who(), "accepted": accepted}
    with database_errors(), engine.begin() as connection:
        connection.execute(database.reviews.insert().values(row))


def draw(image: Images) -> str:
    """Returns uint8 (28, 28) as 14 lines of 28 characters."""
    rows = image.reshape(-1, 2, IMAGE_SIZE).mean(axis=1).astype(int) * len(SHADES) // 256
    return "\n".join("".join(SHADES[shade] for shade in row) for row in rows)


if __name__ == "__main__":
    run_main(main)
