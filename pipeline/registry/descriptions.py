"""What MLflow's UI shows about a run, a version and the registered model, in Markdown."""

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from pipeline import tracking

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

REASON_LENGTH: Final = 1000  # characters; MLflow's stores accept 5,000 in a description


def describe_version(name: str, evaluation: Mapping[str, Any], quality: str, experiment: str, run_id: str) -> str:
    """The model card in short. `quality`: on which side of the quality bar the model is."""
    return (
        f"{name}: {accuracy_with_interval(evaluation)}, {quality}.\n\n"
        f"{links(experiment, run_id)} The source model has all metrics.\n\n{most_important_metrics(evaluation)}"
    )


def describe_run(name: str, evaluation: Mapping[str, Any], title: str, version: "ModelVersion", experiment: str) -> str:
    """The result of a training on the dataset with this title, the version and the reports."""
    page = tracking.page(f"models/{version.name}/versions/{version.version}")
    return (
        f"Training of `{name}` on {title}: {accuracy_with_interval(evaluation)}. "
        f"Registered as [version {version.version} of {version.name}]({page}). "
        f"{links(experiment, str(version.run_id))}\n\n{most_important_metrics(evaluation)}"
    )


def describe_model(model: str, champion: "ModelVersion | None", previous: str | None, row: Mapping[str, Any]) -> str:
    """Who is champion, since when and why. `row`: the change in the promotion history; empty if unknown."""
    if champion is None:
        now = "There is no champion yet."
    else:
        page = tracking.page(f"models/{model}/versions/{champion.version}")
        now = f"**Champion: [version {champion.version}]({page})** (`{champion.tags['name']}`)"
        if row:
            event = f"{row['event']}, forced," if row["forced"] else row["event"]
            reason = textwrap.shorten(row["reason"], REASON_LENGTH, placeholder=" ...")
            now += f", {event} on {row['time']:%Y-%m-%d at %H:%M} UTC by {row['who']}.\n\nReason: {reason}"
    return (
        f"{now}\n\n"
        f"Previous champion: {f'version {previous}' if previous else 'none'}. "
        "`digits champions` shows the history, `digits rollback` makes the previous champion champion again.\n\n"
        "Each version has a model file or thresholds of its own. By default, the service predicts with the champion. "
        "An alias such as `cnn` names the version that is served under this name."
    )


def accuracy_with_interval(evaluation: Mapping[str, Any]) -> str:
    """The test accuracy with its interval."""
    low, accuracy, high = (f"{evaluation['test'][key]:.2%}" for key in ("accuracy_low", "accuracy", "accuracy_high"))
    return f"test accuracy {accuracy} (95% interval {low} to {high})"


def most_important_metrics(evaluation: Mapping[str, Any]) -> str:
    """The most important metrics of a model as a list."""
    ood, cost = evaluation["out_of_distribution"], evaluation["cost"]
    rows = {
        "validation accuracy": f"{evaluation['val']['accuracy']:.2%}",
        "mean error rate under corruption": f"{evaluation['robustness']['mean_error']:.1%}",
        "expected calibration error": f"{evaluation['test']['ece']:.4f}",
        "false rejections": f"{ood['false_rejections_test']:.2%}",
        "non-digits accepted": f"{ood['accepted']:.1%}",
        "multiply-adds": f"{cost['multiply_adds']:,}",
        "file size": f"{cost['bytes'] / 1000:,.0f} kB",
    }
    return "\n".join(f"- {key}: {value}" for key, value in rows.items())


def links(experiment: str, run_id: str) -> str:
    """Links to the reports among the artifacts of a run."""
    report = f"experiments/{experiment}/runs/{run_id}/artifacts/report"
    card, comparison = (tracking.page(f"{report}/{name}.html") for name in ("model_card", "comparison"))
    return f"Reports: [model card]({card}), [comparison of the models]({comparison})."
