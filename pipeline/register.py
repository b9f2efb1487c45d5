"""Stage `register`: the models into MLflow's registry, and the winner to champion if it beats the one there is."""

from pipeline import tracking
from pipeline.console import PipelineError, run_main, say
from pipeline.data.datasets import load_dataset
from pipeline.files import read_json, write_json
from pipeline.paths import REPORTS
from pipeline.registry import handover
from pipeline.registry.promotion import promote_winner
from pipeline.registry.registration import register
from pipeline.registry.versions import registered_model


def main() -> None:
    comparison = read_json(REPORTS / "comparison.json")
    dataset_name, ranking = comparison["dataset"], comparison["verdict"]["ranking"]
    dataset, model = load_dataset(dataset_name), registered_model(dataset_name)
    good = [name for name in ranking if comparison["models"][name]["val"]["accuracy"] >= dataset.bar(name)]
    versions = {name: register(model, name, dataset_name, dataset.classes, comparison) for name in ranking}
    client = tracking.connect()
    for name, version in versions.items():
        accuracy, bar = comparison["models"][name]["val"]["accuracy"], dataset.bar(name)
        side = "above" if name in good else "below"
        verdict = f"{side} the quality bar: {accuracy:.2%} on validation images, bar {bar:.2%}"
        client.set_model_version_tag(model, version.version, "quality", verdict)
        if name in good:
            client.set_registered_model_alias(model, name, version.version)
        say(f"{name}: version {version.version}, {verdict}")
    outcome = promote_winner(model, versions[good[0]] if good else None)
    record = {
        "dataset": dataset_name,
        "model": model,
        "champion": outcome["champion"],
        "outcome": outcome,
        "versions": {name: str(version.version) for name, version in versions.items()},
    }
    write_json(REPORTS / "registered.json", record)
    say(f"{outcome['event']}: {outcome['reason']}")
    if outcome["champion"] is None:
        bars = ", ".join(
            f"{name} {comparison['models'][name]['val']['accuracy']:.2%} (bar {dataset.bar(name):.2%})"
            for name in ranking
        )
        raise PipelineError(f"no model reaches the quality bar of {dataset_name} and there is no champion: {bars}")
    handover.export(model)


if __name__ == "__main__":
    run_main(main)
