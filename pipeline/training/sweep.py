"""`make sweep`: search the ranges under `sweep:` in params.yaml with Optuna; every trial is a run in MLflow.

An interrupted search resumes. Several processes may work on one study at once.
"""

import hashlib
import json
import warnings
from contextlib import suppress
from typing import Any

import numpy as np
import optuna
import yaml
from filelock import FileLock
from matplotlib import rc_context
from optuna.trial import FrozenTrial, Trial, TrialState
from optuna.visualization.matplotlib import plot_slice

from pipeline import tracking
from pipeline.console import PipelineError, run_main, say
from pipeline.data.datasets import load_dataset
from pipeline.data.splits import Split, load_split
from pipeline.files import write_text
from pipeline.params import Model, Params, Range, load_params
from pipeline.paths import PARAMS, PROFILES, checkout
from pipeline.settings import parse_settings
from pipeline.training.profiles import merge
from recognition.native_output import hide_native_output

with hide_native_output():
    import keras

from pipeline.training.loop import fit

Settings = dict[str, Any]


def main() -> None:
    params = load_params()
    if params.sweep.model not in params.models:
        raise PipelineError(f"sweep.model: unknown model {params.sweep.model!r}; known: {', '.join(params.models)}")
    train, val = load_split("train"), load_split("tune")
    study = open_study(params, train.dataset)
    parent = parent_run(study, train.dataset, params)
    while len(finished_trials(study)) < params.sweep.trials:
        study.optimize(lambda trial: run_trial(trial, parent, params, train, val), n_trials=1, callbacks=[announce])
    write_best(study, parent, params)


def open_study(params: Params, dataset: str) -> optuna.Study:
    """Returns the study of this search, created if it is missing. Other ranges or settings give another study."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    search = {"sweep": params.sweep.model_dump(exclude={"trials", "storage"}), "model": base_settings(params)}
    digest = hashlib.sha256(json.dumps(search, sort_keys=True).encode()).hexdigest()[:8]
    storage = params.sweep.storage.replace("sqlite:///", f"sqlite:///{checkout()}/", 1)
    with FileLock(checkout() / ".mlflow.lock"):  # concurrent creation would corrupt an SQLite store
        return optuna.create_study(
            storage=storage,
            study_name=f"{dataset}-{params.sweep.model}-{digest}",
            direction="maximize",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=1),
        )


def base_settings(params: Params) -> Settings:
    """Settings of the model that all trials share, with the epochs of the sweep."""
    return {**params.models[params.sweep.model].model_dump(), "epochs": params.sweep.epochs}


def parent_run(study: optuna.Study, dataset: str, params: Params) -> str:
    """Returns the id of the MLflow run that is the parent of all trials, created if it is missing."""
    with FileLock(checkout() / ".sweep.lock"):  # the first of several processes creates the run
        run_id = study.user_attrs.get("run_id", "")
        if run_id and tracking.run_exists(run_id):
            return str(run_id)
        tags = {"sweep": study.study_name, "dataset": dataset}
        note = f"Search of hyperparameters of `{params.sweep.model}`; the best profile and a chart are artifacts."
        with tracking.run(dataset, f"sweep-{params.sweep.model}", tags, note) as run:
            study.set_user_attr("run_id", run.info.run_id)
            return str(run.info.run_id)


def finished_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that completed or were pruned."""
    trials: list[FrozenTrial] = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    return trials


def run_trial(trial: Trial, parent: str, params: Params, train: Split, val: Split) -> float:
    """Train with suggested parameters as a nested run; returns the validation accuracy. Raises optuna.TrialPruned."""
    import mlflow

    trial.study.sampler = make_sampler(params, trial.number)
    settings, name, history = base_settings(params), params.sweep.model, None
    for key, values in params.sweep.ranges.items():
        merge(settings, nested(key, suggest(trial, key, values)))
    model = parse_settings(PARAMS, Model, settings)

    class Prune(keras.callbacks.Callback):  # type: ignore[misc]  # keras has no types
        def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
            trial.report(logs["val_accuracy"], epoch)
            if epoch + 1 < model.epochs and trial.should_prune():
                mlflow.set_tag("pruned", f"after epoch {epoch + 1}")
                raise optuna.TrialPruned

    keras.backend.clear_session()
    tags = {"mlflow.parentRunId": parent, "sweep": trial.study.study_name, "dataset": train.dataset}
    note = f"Trial of a search of hyperparameters: {json.dumps(trial.params)}"
    with tracking.run(train.dataset, f"trial-{trial.number}", tags, note), suppress(optuna.TrialPruned):
        mlflow.log_params(tracking.flatten(settings))
        _, history = fit(name, model, len(load_dataset(train.dataset).classes), train, val, [Prune()])
    if history is None:
        raise optuna.TrialPruned
    return float(history.val_accuracy.iloc[-1])


def make_sampler(params: Params, number: int) -> optuna.samplers.BaseSampler:
    """Returns the sampler of one trial, with a seed per trial so that parallel processes draw different values."""
    return optuna.samplers.TPESampler(seed=params.sweep.seed + number, constant_liar=True)


def suggest(trial: Trial, key: str, values: Range) -> Any:
    """Returns a value of the range for `key`."""
    if values.choices is not None:
        return trial.suggest_categorical(key, values.choices)
    assert values.low is not None and values.high is not None
    if isinstance(values.low, int) and isinstance(values.high, int):
        return trial.suggest_int(key, values.low, values.high, log=values.log)
    return trial.suggest_float(key, values.low, values.high, log=values.log)


def nested(key: str, value: Any) -> Settings:
    """Nested mapping of a dotted key: ("optimizer.ema", 1) gives {"optimizer": {"ema": 1}}."""
    for part in reversed(key.split(".")):
        value = {part: value}
    settings: Settings = value
    return settings


def announce(study: optuna.Study, trial: FrozenTrial) -> None:
    result = f"{trial.value:.4f}" if trial.state == TrialState.COMPLETE else "pruned"
    say(f"trial {trial.number}: {result}  " + ", ".join(f"{key} {value}" for key, value in trial.params.items()))


def write_best(study: optuna.Study, parent: str, params: Params) -> None:
    """Write the best parameters as a profile; log the profile and a chart of the search to the parent run."""
    trials = finished_trials(study)
    if not any(trial.state == TrialState.COMPLETE for trial in trials):
        raise PipelineError("all trials were pruned; raise sweep.trials and run again")
    client = tracking.connect()
    best, name = study.best_trial, params.sweep.model
    changes: Settings = {}
    for key, value in best.params.items():
        merge(changes, nested(f"models.{name}.{key}", value))
    path = PROFILES / f"sweep-{name}.yaml"
    head = f"# Trial {best.number} of {study.study_name}: validation accuracy {best.value:.4f}\n"
    write_text(path, head + yaml.safe_dump(changes, sort_keys=False))
    with rc_context(), warnings.catch_warnings(action="ignore"):  # plot_slice sets its own style
        client.log_figure(parent, np.ravel(plot_slice(study))[0].figure, "search.png")
    client.log_text(parent, path.read_text(), path.name)
    client.log_metric(parent, "best_val_accuracy", best.value)
    say(f"best of {len(trials)} trials: number {best.number}, validation accuracy {best.value:.2%}")
    say(f"apply it: python -m pipeline.training.profiles profiles/{path.name} && dvc repro")


if __name__ == "__main__":
    run_main(main)
