"""`make feedback`: checks the corrections of users and exports the accepted ones to files that DVC tracks.

No stage reads the database. `prepare` adds `data/feedback/labels.npz` to the training images. `gate.npz` holds one
picture in five, selected by its hash: it is never used for training, only to evaluate challengers.
"""

import hashlib
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.console import PipelineError, run_main, say
from pipeline.data.datasets import Dataset, load_dataset
from pipeline.data.expectations import describe, image_rules, label_rule, offenders, run
from pipeline.data.idx import read_raw, read_source
from pipeline.data.splits import load_split, split_masks
from pipeline.files import replacing, write_json
from pipeline.monitoring.drift import Version
from pipeline.monitoring.logged import Images, database_errors, load_versions, read_labels
from pipeline.params import Feedback, load_params
from pipeline.paths import FEEDBACK, PREPARED, REPORTS, ROOT
from pipeline.tracking import open_database
from recognition.model import Model

ACCEPTED = "accepted"
NEEDS_REVIEW = "needs review: "
DISPUTED, DOUBTED = f"{NEEDS_REVIEW}users disagree", f"{NEEDS_REVIEW}all versions that answered reject the label"
UNJUDGED = f"{NEEDS_REVIEW}a version that answered is not in the registry"
HELD_OUT = "equals a validation, tuning or test image"
GATE_ONE_IN = 5
EXPORTS = ("labels.npz", "gate.npz")  # in data/feedback


def main() -> None:
    labels, images, dataset = labelled_pictures()
    accepted = (labels["outcome"] == ACCEPTED).to_numpy()
    gate = labels["digest"].map(in_gate_set).to_numpy(dtype=bool)
    classes = load_dataset(dataset).classes
    for name, selected in zip(EXPORTS, (accepted & ~gate, accepted & gate), strict=True):
        export(FEEDBACK / name, images[selected], labels["label"].to_numpy(np.uint8)[selected], dataset, classes)
    outcomes = {str(outcome): count for outcome, count in labels["outcome"].value_counts().to_dict().items()}
    summary = {"dataset": dataset, "learnt": int((accepted & ~gate).sum()), "gate": int((accepted & gate).sum())}
    write_json(REPORTS / "feedback.json", {**summary, "outcomes": outcomes})
    say(f"{len(labels)} labels: {summary['learnt']} for training, {summary['gate']} for the gate set")
    for outcome, count in outcomes.items():
        if outcome != ACCEPTED:
            say(f"  {outcome} ({count})" + ("; decide with: make review" if outcome.startswith(NEEDS_REVIEW) else ""))


def labelled_pictures() -> tuple[pd.DataFrame, Images, str]:
    """Returns all current labels with their `outcome`, their pictures, uint8 (n, 28, 28), and the dataset's name.

    Labels of answers by versions with other classes are left out: their numbers stand for other classes.
    """
    name, settings, engine = str(read_source()["dataset"]), load_params(), open_database()
    dataset = load_dataset(name)
    with database_errors():
        labels, images = read_labels(engine, name)
    answered = {(model, version) for answers in labels["answers"] for model, version, _, _ in answers}
    found = load_versions(name, answered) if answered else {}
    changed = {version for version, model in found.items() if model and model.card["classes"] != dataset.classes}
    current = np.array([changed.isdisjoint(answer[:2] for answer in answers) for answers in labels["answers"]], bool)
    if not current.all():
        say(f"{(~current).sum()} labels of versions with other classes than {name} has now: ignored")
        labels, images = labels[current].reset_index(drop=True), images[current]
    published, classes = read_raw("train")
    masks = split_masks(published, settings.data.validation_share, settings.data.tuning_share)
    counts = np.bincount(classes[masks["train"]], minlength=256)
    given = label_probabilities(labels, images, found)
    outcomes = decide_outcomes(labels, images, dataset, held_out(), given, counts, settings.feedback)
    return labels.assign(outcome=outcomes), images, name


def held_out() -> set[str]:
    """sha256 of all images that select or evaluate models: validation, test and, if there is one, tuning split."""
    names = ["val", "test", *(["tune"] if (PREPARED / "tune.npz").exists() else [])]
    return {hashlib.sha256(image.tobytes()).hexdigest() for name in names for image in load_split(name).images}


def label_probabilities(
    labels: pd.DataFrame, images: Images, versions: Mapping[Version, Model | None]
) -> NDArray[np.float64]:
    """Returns for each label the highest probability that the versions that answered its picture give it: (n,).

    It is NaN if no answer is stored, or if the registry does not hold one of the versions any more. `versions`: the
    result of `load_versions`.
    """
    answered: dict[tuple[str, str], list[int]] = {}
    for row, answers in enumerate(labels["answers"]):
        for model, version, _, _ in answers:
            answered.setdefault((model, version), []).append(row)
    highest = np.where([bool(answers) for answers in labels["answers"]], 0.0, np.nan)
    for version, rows in answered.items():
        found = versions[version]
        if found is None:
            highest[rows] = np.nan
            continue
        classes = labels["label"].to_numpy(int)[rows] % found.classifier.classes  # the validation rules exclude others
        given = found.classifier.probabilities(images[rows])[np.arange(len(rows)), classes]
        highest[rows] = np.maximum(highest[rows], given)  # NaN stays
    return highest


def decide_outcomes(
    labels: pd.DataFrame,
    images: Images,
    dataset: Dataset,
    held_out: set[str],
    probabilities: NDArray[np.float64],
    train_counts: NDArray[np.integer[Any]],
    settings: Feedback,
) -> list[str]:
    """Returns the outcome of each label: ACCEPTED, or the reason for its exclusion. The first matching reason counts.

    `labels` has the columns of `read_labels`. `held_out` holds the sha256 of images that no model may be trained on,
    `probabilities` is the result of `label_probabilities`, `train_counts` the number of published training images per
    class.
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
    decide(labels["digest"].isin(held_out), HELD_OUT)
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
    decide(np.isnan(probabilities) & ~approved, UNJUDGED)
    decide((probabilities < settings.rejected_below) & ~approved, DOUBTED)
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


def export(path: Path, images: Images, labels: NDArray[np.uint8], dataset: str, classes: Sequence[str]) -> None:
    """Write images and labels to `path` and add it to DVC. Without images, delete the file and its .dvc file.

    `classes`: the names that the labels are indices of.
    """
    if not len(images):
        path.unlink(missing_ok=True)
        path.with_name(f"{path.name}.dvc").unlink(missing_ok=True)
        return
    with replacing(path) as file:
        np.savez_compressed(file, images=images, labels=labels, dataset=np.array(dataset), classes=np.array(classes))
    track(path)


def track(path: Path) -> None:
    """Add a file to DVC. Raises PipelineError."""
    command = [sys.executable, "-m", "dvc", "add", "--quiet", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise PipelineError(f"DVC cannot track {path.name}: {' '.join((done.stdout + done.stderr).split())[-300:]}")


if __name__ == "__main__":
    run_main(main)
