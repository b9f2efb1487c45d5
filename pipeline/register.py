"""Stage `register`: registers the models in MLflow; the winner becomes champion if the gate lets it pass."""

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
    dataset_name, ranking = comparison["dataset"], comparison["selection"]["ranking"]
    dataset, model = load_dataset(dataset_name), registered_model(dataset_name)
    client, versions, findings, good = tracking.connect(), {}, {}, []
    for name in ranking:
        accuracy, bar = comparison["models"][name]["val"]["accuracy"], dataset.bar(name)
        side = "above" if accuracy >= bar else "below"
        findings[name] = f"{side} the quality bar: validation accuracy {accuracy:.2%}, bar {bar:.2%}"
        versions[name] = register(model, name, dataset_name, dataset.classes, comparison, findings[name])
        if accuracy >= bar:
            good.append(name)
            client.set_registered_model_alias(model, name, versions[name].version)
        say(f"{name}: version {versions[name].version}, {findings[name]}")
    outcome = promote_winner(model, [str(versions[name].version) for name in good])
    record = {
        "dataset": dataset_name,
        "model": model,
        "champion": outcome["champion"],
        "versions": {name: str(version.version) for name, version in versions.items()},
    }
    write_json(REPORTS / "outcome.json", outcome)  # not a DVC output: it depends on what was registered before
    write_json(REPORTS / "registered.json", record)
    say(f"{outcome['event']}: {outcome['reason']}")
    if outcome["champion"] is None:
        reasons = "; ".join(f"{name} is {finding}" for name, finding in findings.items())
        raise PipelineError(f"no model reaches the quality bar of {dataset_name} and there is no champion: {reasons}")
    handover.export(model)


if __name__ == "__main__":
    run_main(main)
