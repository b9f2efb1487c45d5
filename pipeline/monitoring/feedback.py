"""`make feedback`: what people corrected, checked, into files that DVC tracks: labels to learn from, and a gate set.

No stage reads the database. `prepare` adds `data/feedback/labels.npz` to the training images; `gate.npz` holds one
picture in five, chosen by its hash, which is never trained on and which challengers are judged by.
"""

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sql
from numpy.typing import NDArray

from pipeline.console import PipelineError, run_main, say
from pipeline.data.datasets import Dataset, load_dataset
from pipeline.data.expectations import describe, image_rules, label_rule, offenders, run
from pipeline.data.splits import load_split
from pipeline.files import replacing, write_json
from pipeline.params import Feedback, load_params
from pipeline.paths import FEEDBACK, MODELS, REPORTS, ROOT
from pipeline.tracking import without_password
from recognition.classifier import Classifier
from records import database

ACCEPTED, DISPUTED, DOUBTED = "accepted", "waits: people disagree", "waits: every model rejects it"
GATE_ONE_IN = 5
SIDE = 28

Images = NDArray[np.uint8]


def main() -> None:
    labels, images, dataset = judged()
    chosen = (labels["outcome"] == ACCEPTED).to_numpy()
    gate = labels["digest"].map(for_gate).to_numpy(dtype=bool)
    for name, members in (("labels", chosen & ~gate), ("gate", chosen & gate)):
        save(FEEDBACK / f"{name}.npz", images[members], labels["label"].to_numpy(np.uint8)[members], dataset)
    counts = labels["outcome"].value_counts().to_dict()
    summary = {"dataset": dataset, "learnt": int((chosen & ~gate).sum()), "gate": int((chosen & gate).sum())}
    write_json(REPORTS / "feedback.json", {**summary, "outcomes": counts})
    say(f"{len(labels)} labels: {summary['learnt']} to learn from, {summary['gate']} for the gate")
    for outcome, count in ((str(key), value) for key, value in counts.items()):
        if outcome != ACCEPTED:
            say(f"  {count} {outcome}" + ("; decide with: make review" if outcome.startswith("waits") else ""))


def open_database() -> sql.Engine:
    """The deployment's database. Raises PipelineError where it cannot be used."""
    try:
        return database.open_store()
    except ValueError as error:
        raise PipelineError(f"DIGITS_DATABASE_URL: {error}") from None
    except sql.exc.SQLAlchemyError as error:
        reason = " ".join(str(error).split("\n[SQL")[0].split())[:300]
        raise PipelineError(without_password(f"the database of DIGITS_DATABASE_URL cannot be used: {reason}")) from None


def judged() -> tuple[pd.DataFrame, Images, str]:
    """All current labels with their `outcome`, their pictures, and the dataset that they belong to."""
    splits = {name: load_split(name) for name in ("train", "val", "test")}
    name = splits["train"].dataset
    labels, images = read_labels(open_database(), name)
    held_out = {hashlib.sha256(image.tobytes()).hexdigest() for key in ("val", "test") for image in splits[key].images}
    train = np.bincount(splits["train"].labels, minlength=256)
    settings = load_params().feedback
    labels["outcome"] = judge(labels, images, load_dataset(name), held_out, load_models(), train, settings)
    return labels, images, name


def read_labels(engine: sql.Engine, dataset: str) -> tuple[pd.DataFrame, Images]:
    """Current labels of a dataset's pictures, oldest first, and the pictures, uint8 (n, 28, 28).

    Columns: id, request_id, label, client, digest, review (True, False or None).
    """
    current = database.current_labels().subquery()
    newest = sql.select(sql.func.max(database.reviews.c.id)).group_by(database.reviews.c.label_id)
    decided = sql.select(database.reviews).where(database.reviews.c.id.in_(newest)).subquery()
    kept = (current.c.id, current.c.request_id, current.c.label, current.c.client, database.pictures.c.digest)
    query = (
        sql.select(*kept, decided.c.accepted.label("review"), database.pictures.c.pixels)
        .join(database.pictures, database.same_picture(database.pictures, current))
        .outerjoin(decided, decided.c.label_id == current.c.id)
        .where(database.pictures.c.dataset == dataset)
        .order_by(current.c.id)
    )
    with engine.connect() as connection:
        frame = pd.DataFrame(connection.execute(query).mappings().all(), columns=[*query.selected_columns.keys()])
    pixels = b"".join(frame.pop("pixels"))
    return frame.astype({"review": object}), np.frombuffer(pixels, np.uint8).reshape(-1, SIDE, SIDE)


def load_models() -> list[Classifier]:
    """Every model that was trained."""
    return [Classifier(MODELS / name / "model.tflite") for name in load_params().models]


def judge(
    labels: pd.DataFrame,
    images: Images,
    dataset: Dataset,
    held_out: set[str],
    models: list[Classifier],
    train: NDArray[np.integer[Any]],
    settings: Feedback,
) -> list[str]:
    """What becomes of each label: ACCEPTED, or why not.

    `held_out`: digests of validation and test pictures; `train`: training images of each class.
    """
    if labels.empty:
        return []
    outcome = pd.Series("", index=labels.index)

    def settle(members: Any, words: str) -> None:
        outcome[members & (outcome == "")] = words

    approved = labels["review"].map(lambda decision: decision is True)
    settle(labels["review"].map(lambda decision: decision is False), "rejected in review")
    frame = describe("feedback", images, labels["label"].to_numpy(np.int64))
    for result in run(frame, [label_rule(dataset), *image_rules(dataset, slack=1)]):
        settle(labels.index.isin(offenders(result)), f"against the rule: {result.expectation_config.meta['rule']}")
    settle(labels["digest"].isin(held_out), "a validation or test picture")
    # Reviewed labels overrule others of the same picture; what one client says twice counts once
    for _, group in labels[outcome == ""].groupby("digest"):
        voters = group[approved[group.index]] if approved[group.index].any() else group
        votes = voters.drop_duplicates(["client", "label"])["label"].value_counts()
        if votes.iloc[0] / votes.sum() < settings.agreement:
            settle(labels.index.isin(group.index), DISPUTED)
            continue
        agreeing = voters.index[voters["label"] == votes.index[0]]
        settle(labels.index.isin(group.index[group["label"] != votes.index[0]]), "outvoted by others")
        settle(labels.index.isin(group.index.difference(agreeing[:1])), "the same again")
    believed = [
        model.probabilities(images)[np.arange(len(labels)), labels["label"] % model.classes] for model in models
    ]
    settle((np.max(believed, axis=0) < settings.rejected_below) & ~approved, DOUBTED)
    order = labels.sort_values("digest", kind="stable")  # nobody chooses who is left out
    for keys, share, words in (
        (["client", "label"], settings.client_share, "more than one client's share of a class"),
        (["label"], settings.class_share, "more than a class's share"),
    ):
        place = order[outcome[order.index] == ""].groupby(keys).cumcount().reindex(labels.index, fill_value=0)
        settle(place >= np.maximum(1, (share * train[labels["label"]]).astype(int)), words)
    settle(True, ACCEPTED)
    return list(outcome)


def for_gate(digest: str) -> bool:
    """Whether a picture belongs to the gate set: by its sha256, apart from the part that chooses validation images."""
    return int(digest[16:32], 16) % GATE_ONE_IN == 0


def save(path: Path, images: Images, labels: NDArray[np.uint8], dataset: str) -> None:
    """Write images and labels and let DVC track the file; where there are none, take it away with DVC's note of it."""
    note = path.with_name(f"{path.name}.dvc")
    if not len(images):
        path.unlink(missing_ok=True)
        note.unlink(missing_ok=True)
        return
    with replacing(path) as file:
        np.savez_compressed(file, images=images, labels=labels, dataset=np.array(dataset))
    command = [sys.executable, "-m", "dvc", "add", "--quiet", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise PipelineError(f"DVC cannot track {path.name}: {' '.join((done.stdout + done.stderr).split())[-300:]}")


if __name__ == "__main__":
    run_main(main)
