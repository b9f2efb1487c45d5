"""Where everything lies, relative to the repository's root: the only module that spells a path."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

PARAMS = ROOT / "params.yaml"
DATASETS = ROOT / "pipeline" / "data" / "datasets.yaml"
REFERENCE_MODELS = ROOT / "pipeline" / "training" / "references.yaml"

RAW = ROOT / "data" / "raw"
SOURCE = RAW / "source.json"
PREPARED = ROOT / "data" / "prepared"
FEEDBACK = ROOT / "data" / "feedback"
DERIVED = ROOT / "data" / "derived"
DEMO_NETWORK = DERIVED / "demo_network.bin"  # and demo_network.tflite: the network that the page shows at work

MODELS = ROOT / "models"
EVALUATIONS = ROOT / "evaluations"
REPORTS = ROOT / "reports"
TEMPLATES = ROOT / "pipeline" / "reporting" / "templates"

REFERENCES = ROOT / "docs" / "references.json"
PROFILES = ROOT / "profiles"

BENTOML_HOME = ROOT / ".bentoml"

RETRAINING = ROOT / ".dvc" / "tmp" / "retraining.json"  # while one is under way: what it is compared with at its end
RETRAINING_LOCK = RETRAINING.with_suffix(".lock")


def checkout() -> Path:
    """Root of the checkout that the user works in.

    DVC runs queued experiments in a throw-away copy under `.dvc/tmp/exps`; stores that must outlive it (MLflow's, the
    ledger) belong to the checkout around that copy.
    """
    for parent in ROOT.parents:
        if parent.name == "exps" and parent.parts[-3:] == (".dvc", "tmp", "exps"):
            return parent.parents[2]
    return ROOT
