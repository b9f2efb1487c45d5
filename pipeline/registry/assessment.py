"""The evidence for the promotion gate: a challenger and the champion answer the same images."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pipeline.console import PipelineError
from pipeline.data.datasets import load_dataset
from pipeline.data.splits import Split, hash_fractions, load_split
from pipeline.evaluation.metrics import corruption_accuracy
from pipeline.evaluation.model_selection import Evidence
from pipeline.evaluation.ood_fit import rejected_samples
from pipeline.evaluation.statistics import Correct
from pipeline.params import load_params
from pipeline.paths import FEEDBACK
from pipeline.registry import gate, versions
from pipeline.tracking import open_database
from recognition.model import Model
from records import database


def assess(model: str, challenger: Model, champion: str | None) -> gate.Decision:
    """The gate's decision about a challenger; `champion`: number of the champion's version, None if there is none.

    A version with the champion's model file updates the champion without a comparison, because it classifies every
    image as the champion does. A challenger with other classes than the champion is refused: the same prediction means
    another class. Raises PipelineError if the images are missing or of other classes than the challenger. A champion
    whose files are missing or damaged does not count.
    """
    current = versions.by_number(model, champion) if champion else None
    if current is not None and current.tags.get("digest") == challenger.digest:
        reason = f"it has the model file of version {champion}"
        return gate.Decision(True, reason, event="updated")
    val = load_split("val")
    if val.dataset != challenger.card["dataset"]:
        raise PipelineError(f"the validation images are of {val.dataset}, the model of {challenger.card['dataset']}")
    dataset = load_dataset(val.dataset)
    if change := change_of_classes(dataset.classes, challenger.card.get("classes", dataset.classes)):
        raise PipelineError(f"the model has other classes than the validation images: {change}")
    old = versions.find(model, champion) if champion else None
    if old and (change := change_of_classes(old.card.get("classes", dataset.classes), dataset.classes)):
        reason = f"other classes than the champion, version {champion}: {change}; only a user can decide"
        return gate.Decision(False, reason)
    unseen = unseen_images(val, [challenger, old] if old else [challenger])
    evidence, old_evidence = collect(challenger, val, unseen), collect(old, val, unseen) if old else None
    if old is not None and old_evidence is not None:
        new_correct, old_correct = logged_answers(challenger, old)
        evidence = replace(evidence, labelled=np.concatenate([evidence.labelled, new_correct]))
        old_evidence = replace(old_evidence, labelled=np.concatenate([old_evidence.labelled, old_correct]))
    return gate.decide(evidence, old_evidence, dataset.bar(challenger.name), load_params().selection)


def change_of_classes(before: Sequence[str], after: Sequence[str]) -> str:
    """What is different in the second list of classes; empty if they are equal."""
    added = [f"new: {', '.join(names)}"] if (names := [name for name in after if name not in before]) else []
    removed = [f"missing: {', '.join(names)}"] if (names := [name for name in before if name not in after]) else []
    return "; ".join([*added, *removed]) or ("" if list(before) == list(after) else "in another order")


def unseen_images(val: Split, models: Sequence[Model]) -> NDArray[np.bool_]:
    """Which validation images neither trained nor tuned any of the models, bool (n,).

    A version records the split that it was trained with. Versions from before this record count if their validation
    images were exactly these; otherwise, every image may have trained them.
    """
    unseen, fractions = np.ones(len(val.labels), bool), hash_fractions(val.images)
    for model in models:
        if split := model.card.get("split"):
            unseen &= fractions < split["validation_share"]
        elif model.card["data_digest"].get("val") != val.digest():
            unseen[:] = False
    return unseen


def logged_answers(challenger: Model, champion: Model) -> tuple[Correct, Correct]:
    """Which labelled pictures from the service both classified correctly there: bool (n,) each, for the same pictures.

    Counted are pictures of `labels.npz` that both versions answered, one of them as a shadow or in a comparison,
    before anybody labelled the picture: neither version can have been trained with it.
    """
    labels, path = {}, FEEDBACK / "labels.npz"
    if path.exists():
        with np.load(path, allow_pickle=False) as content:
            if str(content["dataset"]) == challenger.card["dataset"]:
                digests = (hashlib.sha256(image.tobytes()).hexdigest() for image in content["images"])
                labels = dict(zip(digests, content["labels"].tolist(), strict=True))
    answers: dict[str, tuple[int, int]] = {}
    if labels:
        versions_of_both = str(challenger.version), str(champion.version)
        answers = database.answers_before_label(open_database(), challenger.card["dataset"], *versions_of_both)
    correct = [[found == labels[digest] for found in pair] for digest, pair in answers.items() if digest in labels]
    new, old = np.array(correct, bool).reshape(-1, 2).T
    return new, old


def collect(model: Model, val: Split, unseen: NDArray[np.bool_]) -> Evidence:
    """The evidence for or against a registered model, from the `unseen` validation images, bool (n,)."""

    def correct(images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> Correct:
        return np.asarray(model.classifier.probabilities(images).argmax(axis=1) == labels)

    labelled, path = np.zeros(0, bool), FEEDBACK / "gate.npz"
    if path.exists():
        with np.load(path, allow_pickle=False) as content:
            same = "classes" not in content or content["classes"].tolist() == model.card["classes"]
            if same and str(content["dataset"]) == model.card["dataset"]:
                labelled = correct(content["images"], content["labels"])
    corrupted = corruption_accuracy(model.classifier, val.labels)
    ood = rejected_samples(model.classifier, model.ood_score)
    clean = correct(val.images[unseen], val.labels[unseen])
    return Evidence(clean, corrupted[unseen[: len(corrupted)]], ood, labelled, model.card["cost"])
