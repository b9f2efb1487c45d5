"""`python -m pipeline.deployment.check`: whether the registry and the Bento of the last run are still there."""

from pipeline.console import PipelineError, run_main
from pipeline.files import read_json
from pipeline.paths import BENTOML_HOME, REPORTS
from pipeline.registry import handover, versions
from pipeline.registry.champion import champion_state


def main() -> None:
    """Raise PipelineError unless the registry still has a champion, with its files, and the store the Bento.

    What is served is brought to `DIGITS_MODEL_DIR` then, where that is set.
    """
    record = read_json(REPORTS / "registered.json")
    champion = champion_state(record["model"]).version
    if champion is None:
        raise PipelineError(
            f"MLflow's store has no champion of {record['model']}: it was deleted or moved, or MLFLOW_TRACKING_URI "
            f"names another one; {versions.REPAIR}"
        )
    versions.download(record["model"], champion)
    bento = read_json(REPORTS / "bento.json")["bento"]
    if not (BENTOML_HOME / "bentos" / bento.replace(":", "/") / "bento.yaml").exists():
        raise PipelineError(f"the Bento {bento} is gone; {versions.REPAIR}")
    handover.export(record["model"])


if __name__ == "__main__":
    run_main(main)
