"""`make review`: labels that wait for a person, one after the other, to accept or reject; decisions are kept."""

import getpass
from datetime import UTC, datetime
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from pipeline.console import PipelineError, run_main, say
from pipeline.data.datasets import load_dataset
from pipeline.monitoring.feedback import judged, load_models, open_database
from records import database

DECISIONS = {"a": True, "r": False}
SHADES = " ░▒▓█"


@click.command()
@click.option("--list", "only_list", is_flag=True, help="Only list what waits.")
@click.option("--accept", multiple=True, type=int, metavar="ID", help="Accept the label with this number.")
@click.option("--reject", multiple=True, type=int, metavar="ID", help="Reject it.")
def main(only_list: bool, accept: tuple[int, ...], reject: tuple[int, ...]) -> None:
    """Accept or reject labels that wait; without options, asks for each."""
    engine, items = open_database(), waiting()
    decisions = dict.fromkeys(accept, True) | dict.fromkeys(reject, False)
    if unknown := sorted(decisions.keys() - {item["id"] for item in items}):
        raise PipelineError(
            f"no label with number {unknown[0]} waits; see: python -m pipeline.monitoring.review --list"
        )
    for number, item in enumerate(items, 1):
        facts = f"label {item['label']}, models say {item['said']} ({item['outcome']})"
        if only_list:
            say(f"{item['id']}  {facts}")
        elif not (accept or reject):
            say(f"\n{draw(item['image'])}\n\n{number} of {len(items)}: {facts}")
            answer = click.prompt(
                "[a]ccept, [r]eject, [s]kip, [q]uit", type=click.Choice([*"arsq"]), show_choices=False
            )
            if answer == "q":
                break
            if answer in DECISIONS:
                decisions[item["id"]] = DECISIONS[answer]
                decide(engine, item["id"], DECISIONS[answer])
    if accept or reject:
        for label_id, accepted in decisions.items():
            decide(engine, label_id, accepted)
    say(
        f"{len(items) - len(decisions)} labels wait"
        + ("; make feedback exports what was accepted" if decisions else "")
    )


def waiting() -> list[dict[str, Any]]:
    """Labels that wait: id, label, outcome, image uint8 (28, 28), and what each model says."""
    labels, images, name = judged()
    classes = load_dataset(name).classes
    chosen = [index for index, outcome in enumerate(labels["outcome"]) if outcome.startswith("waits")]
    answers = [model.probabilities(images[chosen]) for model in load_models()] if chosen else []
    return [
        {
            "id": int(labels["id"][index]),
            "label": classes[labels["label"][index]],
            "outcome": labels["outcome"][index].removeprefix("waits: "),
            "image": images[index],
            "said": " and ".join(f"{classes[rows[place].argmax()]} ({rows[place].max():.0%})" for rows in answers),
        }
        for place, index in enumerate(chosen)
    ]


def decide(engine: Any, label_id: int, accepted: bool) -> None:
    """Keep a person's decision of a label."""
    row = {"label_id": label_id, "time": datetime.now(UTC), "who": getpass.getuser(), "accepted": accepted}
    with engine.begin() as connection:
        connection.execute(database.reviews.insert().values(row))


def draw(image: NDArray[np.uint8]) -> str:
    """uint8 (28, 28) as 14 lines of 28 characters."""
    rows = image.reshape(14, 2, 28).mean(axis=1).astype(int) * len(SHADES) // 256
    return "\n".join("".join(SHADES[shade] for shade in row) for row in rows)


if __name__ == "__main__":
    run_main(main)
