"""`make feedback`: checks the corrections of users and exports the accepted ones to files that DVC tracks.

No stage reads the database. `prepare` adds `data/feedback/labels.npz` to the training images. `gate.npz` holds one
picture in five, selected by its hash: it is never used for training, only to evaluate challengers.
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
from pipeline.tracking import open_database
from recognition.classifier import Classifier
from recognition.image_format import IMAGE_SIZE
from records import database

ACCEPTED = "accepted"
NEEDS_REVIEW = "needs review: "
DISPUTED, DOUBTED = f"{NEEDS_REVIEW}users disagree", f"{NEEDS_REVIEW}all models reject the label"
GATE_ONE_IN = 5

Images = NDArray[np.uint8]


def main() -> None:
    labels, images, dataset = labelled_pictures()
    accepted = (labels["outcome"] == ACCEPTED).to_numpy()
    gate = labels["digest"].map(in_gate_set).to_numpy(dtype=bool)
    for name, selected in (("labels", accepted & ~gate), ("gate", accepted & gate)):
        export(FEEDBACK / f"{name}.npz", images[selected], labels["label"].to_numpy(np.uint8)[selected], dataset)
    outcomes = {str(outcome): count for outcome, count in labels["outcome"].value_counts().to_dict().items()}
    summary = {"dataset": dataset, "learnt": int((accepted & ~gate).sum()), "gate": int((accepted & gate).sum())}
    write_json(REPORTS / "feedback.json", {**summary, "outcomes": outcomes})
    say(f"{len(labels)} labels: {summary['learnt']} for training, {summary['gate']} for the gate set")
    for outcome, count in outcomes.items():
        if outcome != ACCEPTED:
            say(f"  {outcome} ({count})" + ("; decide with: make review" if outcome.startswith(NEEDS_REVIEW) else ""))


def labelled_pictures() -> tuple[pd.DataFrame, Images, str]:
    """Returns all current labels with their `outcome`, their pictures, uint8 (n, 28, 28), and the dataset's name."""
    splits = {name: load_split(name) for name in ("train", "val", "test")}
    name = splits["train"].dataset
    labels, images = read_labels(open_database(), name)
    held_out = {hashlib.sha256(image.tobytes()).hexdigest() for key in ("val", "test") for image in splits[key].images}
    counts = np.bincount(splits["train"].labels, minlength=256)
    settings = load_params().feedback
    labels["outcome"] = decide_outcomes(labels, images, load_dataset(name), held_out, load_models(), counts, settings)
    return labels, images, name


def read_labels(engine: sql.Engine, dataset: str) -> tuple[pd.DataFrame, Images]:
    """Returns the current labels of a dataset's pictures, oldest first, and the pictures, uint8 (n, 28, 28).

    Columns: id, request_id, label, client, digest, review (True, False or None).
    """
    current = database.current_labels().subquery()
    newest = sql.select(sql.func.max(database.reviews.c.id)).group_by(database.reviews.c.label_id)
    reviews = sql.select(database.reviews).where(database.reviews.c.id.in_(newest)).subquery()
    columns = (current.c.id, current.c.request_id, current.c.label, current.c.client, database.pictures.c.digest)
    query = (
        sql.select(*columns, reviews.c.accepted.label("review"), database.pictures.c.pixels)
        .join(database.pictures, database.same_picture(database.pictures, current))
        .outerjoin(reviews, reviews.c.label_id == current.c.id)
        .where(database.pictures.c.dataset == dataset)
        .order_by(current.c.id)
    )
    with engine.connect() as connection:
        frame = pd.read_sql(query, connection, coerce_float=False)
    pixels = b"".join(frame.pop("pixels"))
    return frame.astype({"review": object}), np.frombuffer(pixels, np.uint8).reshape(-1, IMAGE_SIZE, IMAGE_SIZE)


def load_models() -> list[Classifier]:
    """Loads all trained models."""
    return [Classifier(MODELS / name / "model.tflite") for name in load_params().models]


def decide_outcomes(
    labels: pd.DataFrame,
    images: Images,
    dataset: Dataset,
    held_out: set[str],
    models: list[Classifier],
    train_counts: NDArray[np.integer[Any]],
    settings: Feedback,
) -> list[str]:
    """Returns the outcome of each label: ACCEPTED, or the reason for its exclusion. The first matching reason counts.

    `labels` has the columns of `read_labels`. `held_out` holds the sha256 of validation and test images,
    `train_counts` the number of training images per class.
    """
    if labels.empty:
        return []
    outcome = pd.Series("", index=labels.index)

    def decide(mask: Any, text: str) -> None:
        outcome[mask & (outcome == "")] = text

    approved = labels["review"].map(lambda review: review is True)
    decide(labels["review"].map(lambda review: review is False), "rejected in a review")
    frame = describe("feedback", images, labels["label"].to_numpy(np.int64))
    for result in run(frame, [label_rule(dataset), *image_rules(dataset, slack=1)]):
        decide(labels.index.isin(offenders(result)), f"violates the rule: {result.expectation_config.meta['rule']}")
    decide(labels["digest"].isin(held_out), "equals a validation or test image")
    # Each client has one vote per label of a picture. Reviewed labels outvote all others.
    for _, group in labels[outcome == ""].groupby("digest"):
        voters = group[approved[group.index]] if approved[group.index].any() else group
        votes = voters.drop_duplicates(["client", "label"])["label"].value_counts()
        if votes.iloc[0] / votes.sum() < settings.agreement:
            decide(labels.index.isin(group.index), DISPUTED)
            continue
        majority = voters.index[voters["label"] == votes.index[0]]
        decide(labels.index.isin(group.index[group["label"] != votes.index[0]]), "outvoted by other users")
        decide(labels.index.isin(group.index.difference(majority[:1])), "duplicate of another label")
    rows, columns = np.arange(len(labels)), labels["label"]
    probabilities = [model.probabilities(images)[rows, columns % model.classes] for model in models]
    decide((np.max(probabilities, axis=0) < settings.rejected_below) & ~approved, DOUBTED)
    order = labels.sort_values("digest", kind="stable")  # users cannot choose which labels exceed a limit
    for keys, share, text in (
        (["client", "label"], settings.client_share, "exceeds the client's share of a class"),
        (["label"], settings.class_share, "exceeds the share of a class"),
    ):
        rank = order[outcome[order.index] == ""].groupby(keys).cumcount().reindex(labels.index, fill_value=0)
        decide(rank >= np.maximum(1, (share * train_counts[labels["label"]]).astype(int)), text)
    decide(True, ACCEPTED)
    return list(outcome)


def in_gate_set(digest: str) -> bool:
    """Whether a picture belongs to the gate set, by digits of its sha256 that the validation split does not use."""
    return int(digest[16:32], 16) % GATE_ONE_IN == 0


def export(path: Path, images: Images, labels: NDArray[np.uint8], dataset: str) -> None:
    """Write images and labels to `path` and add it to DVC. Without images, delete the file and its .dvc file."""
    if not len(images):
        path.unlink(missing_ok=True)
        path.with_name(f"{path.name}.dvc").unlink(missing_ok=True)
        return
    with replacing(path) as file:
        np.savez_compressed(file, images=images, labels=labels, dataset=np.array(dataset))
    command = [sys.executable, "-m", "dvc", "add", "--quiet", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise PipelineError(f"DVC cannot track {path.name}: {' '.join((done.stdout + done.stderr).split())[-300:]}")


if __name__ == "__main__":
    run_main(main)
