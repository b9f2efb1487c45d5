"""`python -m pipeline.deployment.check`: verifies that the champion and the Bento of the last run still exist."""

from pipeline.console import PipelineError, run_main
from pipeline.files import read_json
from pipeline.paths import BENTOML_HOME, REPORTS
from pipeline.registry import handover, versions
from pipeline.registry.champion import champion_state
from pipeline.tracking import open_database


def main() -> None:
    """Export the models to `DIGITS_MODEL_DIR`. Raises PipelineError if champion, model files or Bento are missing."""
    model, bento = read_json(REPORTS / "registered.json")["model"], read_json(REPORTS / "bento.json")["bento"]
    champion = champion_state(open_database(), model).version
    if champion is None:
        raise PipelineError(
            f"MLflow's store has no champion of {model}: it was deleted or moved, or MLFLOW_TRACKING_URI points to "
            f"another store; {versions.REPAIR}"
        )
    versions.download(model, champion)
    if not (BENTOML_HOME / "bentos" / bento.replace(":", "/") / "bento.yaml").exists():
        raise PipelineError(f"the Bento {bento} is missing; {versions.REPAIR}")
    handover.export(model)


if __name__ == "__main__":
    run_main(main)
