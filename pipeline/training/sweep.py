"""`make sweep`: search the ranges under `sweep:` in params.yaml with Optuna; every trial is a run in MLflow.

Start it again to go on, or several times at once: all processes work on one study in its storage.
"""

import hashlib
import json
import warnings
from typing import Any

import optuna
from filelock import FileLock
from matplotlib.figure import Figure

from pipeline import tracking
from pipeline.console import PipelineError, run_main, say
from pipeline.data.datasets import load_dataset
from pipeline.data.splits import Split, load_split
from pipeline.files import write_text
from pipeline.params import Model, Params, Range, flatten, load_params
from pipeline.paths import PROFILES, checkout
from pipeline.reporting.charts import figure_to_png, search_history
from pipeline.training.override import merge
from recognition.native_output import hide_native_output

with hide_native_output():
    import keras

from pipeline.training.loop import fit, uses_bfloat16

Settings = dict[str, Any]


def main() -> None:
    params = load_params()
    if params.sweep.model not in params.models:
        raise PipelineError(f"sweep.model: {params.sweep.model!r} is not among models: {', '.join(params.models)}")
    train, val = load_split("train"), load_split("val")
    study = open_study(params, train.dataset)
    parent = parent_run(study, train.dataset, params)
    while len(finished(study)) < params.sweep.trials:
        one_trial(study, parent, params, train, val)
    report(study, parent, params)


def open_study(params: Params, dataset: str) -> optuna.Study:
    """The study of this search, made where it is missing; other ranges or settings are another study."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    search = {"sweep": params.sweep.model_dump(exclude={"trials", "storage"}), "model": base(params)}
    digest = hashlib.sha256(json.dumps(search, sort_keys=True).encode()).hexdigest()[:8]
    storage = params.sweep.storage.replace("sqlite:///", f"sqlite:///{checkout()}/", 1)
    with FileLock(checkout() / ".mlflow.lock"):  # two processes that create one SQLite store break each other
        return optuna.create_study(
            storage=storage,
            study_name=f"{dataset}-{params.sweep.model}-{digest}",
            direction="maximize",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=1),
        )


def base(params: Params) -> Settings:
    """What trials share: the model's settings with the search's epochs."""
    return {**params.models[params.sweep.model].model_dump(), "epochs": params.sweep.epochs}


def parent_run(study: optuna.Study, dataset: str, params: Params) -> str:
    """The id of the run that the trials' runs belong to."""
    with FileLock(checkout() / ".mlflow.lock"):
        known = study.user_attrs.get("run_id", "")
    if known and tracking.run_exists(known):
        return str(known)
    tags = {"sweep": study.study_name, "dataset": dataset}
    with tracking.run(dataset, f"sweep-{params.sweep.model}", tags) as run:
        study.set_user_attr("run_id", run.info.run_id)
        return str(run.info.run_id)


def finished(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Trials that ended with a score or were pruned."""
    states = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    trials: list[optuna.trial.FrozenTrial] = study.get_trials(deepcopy=False, states=states)
    return trials


def one_trial(study: optuna.Study, parent: str, params: Params, train: Split, val: Split) -> None:
    """Ask for parameters, train with them as a nested run, tell the accuracy on validation images."""
    trial = study.ask()
    study.sampler = sampler(params, trial.number)
    chosen = {key: suggest(trial, key, values) for key, values in params.sweep.ranges.items()}
    settings = base(params)
    merge(settings, nested(chosen))
    tags = {"mlflow.parentRunId": parent, "sweep": study.study_name, "dataset": train.dataset}
    try:
        model = Model.model_validate(settings)
        with tracking.run(train.dataset, f"trial-{trial.number}", tags):
            score = train_once(trial, model, params.sweep.model, train, val)
    except BaseException:
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        raise
    study.tell(trial, score, state=None if score is not None else optuna.trial.TrialState.PRUNED)
    words = f"{score:.4f}" if score is not None else "pruned"
    say(f"trial {trial.number}: {words}  " + ", ".join(f"{key} {value}" for key, value in chosen.items()))


def sampler(params: Params, number: int) -> optuna.samplers.BaseSampler:
    """What draws the values of trial `number`: a seed for each, so that processes at once draw different ones."""
    return optuna.samplers.TPESampler(seed=params.sweep.seed + number, constant_liar=True)


def train_once(trial: optuna.Trial, model: Model, name: str, train: Split, val: Split) -> float | None:
    """Accuracy on `val` after the last epoch; None when the trial was given up before it."""
    import mlflow

    mlflow.log_params(flatten(model, f"models.{name}"))
    stopped: list[int] = []

    class Prune(keras.callbacks.Callback):  # type: ignore[misc]  # keras has no types
        def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
            trial.report(logs["val_accuracy"], epoch)
            if epoch + 1 < model.epochs and trial.should_prune():
                stopped.append(epoch)
                raise optuna.TrialPruned

    keras.backend.clear_session()
    classes = len(load_dataset(train.dataset).classes)
    try:
        _, history = fit(name, model, classes, uses_bfloat16(model.precision), train, val, [Prune()])
    except optuna.TrialPruned:
        mlflow.set_tag("pruned", f"after epoch {stopped[0] + 1}")
        return None
    return float(history.val_accuracy.iloc[-1])


def suggest(trial: optuna.Trial, key: str, values: Range) -> Any:
    """A value of the range under `key`."""
    if values.choices is not None:
        return trial.suggest_categorical(key, values.choices)
    assert values.low is not None and values.high is not None
    if isinstance(values.low, int) and isinstance(values.high, int):
        return trial.suggest_int(key, values.low, values.high, log=values.log)
    return trial.suggest_float(key, values.low, values.high, log=values.log)


def nested(flat: Settings) -> Settings:
    """{"optimizer.ema": 1} as {"optimizer": {"ema": 1}}."""
    made: Settings = {}
    for key, value in flat.items():
        for part in reversed(key.split(".")):
            value = {part: value}
        merge(made, value)
    return made


def report(study: optuna.Study, parent: str, params: Params) -> None:
    """Write the best parameters as an override file; put them and a picture of the search into the parent run."""
    if not any(trial.state == optuna.trial.TrialState.COMPLETE for trial in finished(study)):
        raise PipelineError("every trial was given up before its last epoch; raise sweep.trials and start again")
    client = tracking.connect()
    best, name = study.best_trial, params.sweep.model
    path = PROFILES / f"sweep-{name}.yaml"
    changes = {"models": {name: nested(best.params)}}
    head = f"# Trial {best.number} of {study.study_name}: {best.value:.4f} of the validation images right\n"
    write_text(path, head + json.dumps(changes, indent=2) + "\n")
    trials = [(trial.params, trial.value) for trial in finished(study) if trial.value is not None]
    figure: Figure = search_history(trials, list(params.sweep.ranges))
    client.log_image(parent, figure_to_png(figure), "search.png")
    client.log_text(parent, path.read_text(), path.name)
    client.log_metric(parent, "best_val_accuracy", float(best.value or 0))
    say(f"best of {len(finished(study))}: trial {best.number}, {best.value:.2%} of {name}'s validation images right")
    say(f"take it: python -m pipeline.training.override profiles/{path.name} && dvc repro")


if __name__ == "__main__":
    run_main(main)
