"""`make sweep`: search the ranges under `sweep:` in params.yaml with Optuna; every trial is a run in MLflow.

An interrupted search resumes. Several processes may work on one study at once. `parallel.run` runs the trials.
"""

import hashlib
import json
import socket
import time
import warnings
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

import numpy as np
import optuna
import psutil
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
from pipeline.training import parallel
from pipeline.training.profiles import merge
from recognition.native_output import hide_native_output

Settings = dict[str, Any]
FINISHED: Final = (TrialState.COMPLETE, TrialState.PRUNED)
DRIVER: Final = "driver"  # user attribute of a trial: the process that started it
POLL_SECONDS: Final = 5


def main() -> None:
    params = load_params()
    if params.sweep.model not in params.models:
        raise PipelineError(f"sweep.model: unknown model {params.sweep.model!r}; known: {', '.join(params.models)}")
    train, tune = load_split("train"), load_split("tune")
    parallel.require_shared("sweep.storage", params.sweep.storage)
    parallel.require_shared("MLFLOW_TRACKING_URI", tracking.tracking_uri())
    study = open_study(params, train.dataset)
    parent = parent_run(study, train.dataset, params)
    classes = len(load_dataset(train.dataset).classes)
    shared = (params.sweep.model, classes, parent, tracking.git_commit(), train, tune)
    threads = params.models[params.sweep.model].threads
    while (left := params.sweep.trials - len(trials(study, *FINISHED))) > 0:
        repeat_orphans(study)
        for (trial, _), value in parallel.run(run_trial, next_trials(study, params), shared, threads, at_most=left):
            state = TrialState.PRUNED if value is None else TrialState.COMPLETE
            announce(study.tell(trial, value, state))
        if running_trials(study) and len(trials(study, *FINISHED)) < params.sweep.trials:
            time.sleep(POLL_SECONDS)  # another process has the last trials
    write_best(study, parent, params)


def open_study(params: Params, dataset: str) -> optuna.Study:
    """Returns the study of this search, created if it is missing. Other ranges or settings give another study."""
    quiet()
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


def quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


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


def trials(study: optuna.Study, *states: TrialState) -> list[FrozenTrial]:
    """Trials in one of the states."""
    found: list[FrozenTrial] = study.get_trials(deepcopy=False, states=states)
    return found


def next_trials(study: optuna.Study, params: Params) -> Iterator[tuple[Trial, Settings]]:
    """New trials with the settings of their models, until the finished and the running ones are `sweep.trials`.

    A trial is drawn when there is room for it, so that it can use the results of the earlier ones.
    """
    while len(trials(study, *FINISHED)) + len(running_trials(study)) < params.sweep.trials:
        trial = study.ask()
        trial.set_user_attr(DRIVER, this_driver())
        trial.study.sampler = make_sampler(params, trial.number)
        settings = base_settings(params)
        for key, values in params.sweep.ranges.items():
            merge(settings, nested(key, suggest(trial, key, values)))
        parse_settings(PARAMS, Model, settings)
        yield trial, settings


def this_driver() -> str:
    """Identifies this process: host, process id and start time."""
    process = psutil.Process()
    return f"{socket.gethostname()} {process.pid} {process.create_time()}"


def running_trials(study: optuna.Study, alive: bool = True) -> list[FrozenTrial]:
    """Trials whose driver, a process of this machine, runs; with alive=False, trials whose driver was killed."""
    return [
        trial
        for trial in trials(study, TrialState.RUNNING)
        if (driver := trial.user_attrs.get(DRIVER, "").split())
        and driver[0] == socket.gethostname()
        and is_running(int(driver[1]), float(driver[2])) == alive
    ]


def is_running(process_id: int, create_time: float) -> bool:
    try:
        return bool(psutil.Process(process_id).create_time() == create_time)
    except psutil.NoSuchProcess:
        return False


def repeat_orphans(study: optuna.Study) -> None:
    """Queue the trials of drivers that were killed on this machine again, with the same parameters."""
    with FileLock(checkout() / ".sweep.lock"):
        for trial in running_trials(study, alive=False):
            study.tell(trial.number, state=TrialState.FAIL)
            study.enqueue_trial(trial.params, user_attrs={"repeats": trial.number})


def run_trial(
    name: str, classes: int, parent: str, commit: str, train: Split, tune: Split, trial: Trial, settings: Settings
) -> float | None:
    """Train with the settings of `trial` as a nested run. Returns the accuracy on `tune`; None for a pruned trial."""
    import mlflow

    with hide_native_output():  # here, because the process that hands out trials needs no TensorFlow
        import keras

        from pipeline.training.loop import fit

    quiet()
    model = parse_settings(PARAMS, Model, settings)

    class Prune(keras.callbacks.Callback):  # type: ignore[misc]  # keras has no types
        def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
            trial.report(logs["val_accuracy"], epoch)
            if epoch + 1 < model.epochs and trial.should_prune():
                mlflow.set_tag("pruned", f"after epoch {epoch + 1}")
                raise optuna.TrialPruned

    keras.backend.clear_session()
    tags = {"mlflow.parentRunId": parent, "sweep": trial.study.study_name, "dataset": train.dataset}
    tags |= {"git_commit": commit, "trial": str(trial.number)}
    note = f"Trial of a search of hyperparameters: {json.dumps(trial.params)}"
    history = None
    tracking.end_interrupted(train.dataset, sweep=trial.study.study_name, trial=str(trial.number))
    with tracking.run(train.dataset, f"trial-{trial.number}", tags, note), suppress(optuna.TrialPruned):
        mlflow.log_params(tracking.flatten(settings))
        try:
            _, history = fit(name, model, classes, train, tune, [Prune()])
        except PipelineError:  # another attempt would end in the same way
            trial.study.tell(trial.number, state=TrialState.FAIL)
            raise
    return None if history is None else float(history.val_accuracy.iloc[-1])


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


def announce(trial: FrozenTrial) -> None:
    result = f"{trial.value:.4f}" if trial.state == TrialState.COMPLETE else "pruned"
    say(f"trial {trial.number}: {result}  " + ", ".join(f"{key} {value}" for key, value in trial.params.items()))


def write_best(study: optuna.Study, parent: str, params: Params) -> None:
    """Write the best parameters as a profile; log the profile and a chart of the search to the parent run."""
    finished = trials(study, *FINISHED)
    if not any(trial.state == TrialState.COMPLETE for trial in finished):
        raise PipelineError("all trials were pruned; raise sweep.trials and run again")
    client = tracking.connect()
    best, name = study.best_trial, params.sweep.model
    changes: Settings = {}
    for key, value in best.params.items():
        merge(changes, nested(f"models.{name}.{key}", value))
    path = PROFILES / f"sweep-{name}.yaml"
    head = f"# Trial {best.number} of {study.study_name}: tuning accuracy {best.value:.4f}\n"
    write_text(path, head + yaml.safe_dump(changes, sort_keys=False))
    with rc_context(), warnings.catch_warnings(action="ignore"):  # plot_slice sets its own style
        client.log_figure(parent, np.ravel(plot_slice(study))[0].figure, "search.png")
    client.log_text(parent, path.read_text(), path.name)
    client.log_metric(parent, "best_val_accuracy", best.value)
    say(f"best of {len(finished)} trials: number {best.number}, tuning accuracy {best.value:.2%}")
    say(f"apply it: python -m pipeline.training.profiles profiles/{path.name} && dvc repro")


if __name__ == "__main__":
    run_main(main)
