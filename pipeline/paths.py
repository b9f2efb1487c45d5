"""Paths of the project's files. No other module spells them out."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

PARAMS = ROOT / "params.yaml"
DATASETS = ROOT / "pipeline" / "data" / "datasets.yaml"
REFERENCE_MODELS = ROOT / "pipeline" / "training" / "references.yaml"

IMPORTED = ROOT / "data" / "imported"  # datasets of `digits import`
RAW = ROOT / "data" / "raw"
SOURCE = RAW / "source.json"
PREPARED = ROOT / "data" / "prepared"
FEEDBACK = ROOT / "data" / "feedback"
DERIVED = ROOT / "data" / "derived"
DEMO_NETWORK = DERIVED / "demo_network.bin"  # demo_network.tflite has the same weights

MODELS = ROOT / "models"
EVALUATIONS = ROOT / "evaluations"
REPORTS = ROOT / "reports"
TEMPLATES = ROOT / "pipeline" / "reporting" / "templates"

REFERENCES = ROOT / "docs" / "references.json"
QUICK_REFERENCES = REPORTS / "references-quick.json"
PROFILES = ROOT / "profiles"
DVC_FOLDERS = (RAW, PREPARED, DERIVED, MODELS, EVALUATIONS, REPORTS)  # outputs of the stages

BENTOML_HOME = ROOT / ".bentoml"

TRAININGS = ROOT / ".dvc" / "tmp" / "trainings"  # results of interrupted `digits references` and `digits seeds`
RETRAINING = ROOT / ".dvc" / "tmp" / "retraining.json"  # state before the retraining in progress
RETRAINING_LOCK = RETRAINING.with_suffix(".lock")


def checkout() -> Path:
    """Returns the root of the user's checkout, which holds the stores of MLflow and the promotion history.

    DVC runs queued experiments in a temporary copy of the checkout, under its `.dvc/tmp/exps`.
    """
    for parent in ROOT.parents:
        if parent.parts[-3:] == (".dvc", "tmp", "exps"):
            return parent.parents[2]
    return ROOT
