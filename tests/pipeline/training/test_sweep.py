"""The search: nested runs, pruning, going on where it stopped, several processes on one study, an override file."""

from typing import Any

import optuna
import pytest

from pipeline import tracking
from pipeline.console import PipelineError
from pipeline.data.splits import Split, save_split
from pipeline.params import Params, Range, load_params
from pipeline.training import override, sweep
from tests.conftest import drawn_digits


def small(**changes: Any) -> Params:
    """The repository's params with a search of three short trials of a small MLP."""
    content = load_params().model_dump()
    content["models"]["mlp"] |= {"arguments": {"widths": [16]}, "minimum_steps": 0, "batch_size": 16}
    content["sweep"] |= {
        "model": "mlp", "trials": 3, "epochs": 2,
        "ranges": {
            "optimizer.learning_rate": {"low": 0.001, "high": 0.1, "log": True},
            "batch_size": {"low": 8, "high": 32},
            "schedule.name": {"choices": ["cosine"]},
        },
    }  # fmt: skip
    content["sweep"] |= changes
    return Params.model_validate(content)


@pytest.fixture
def search(workspace, monkeypatch):
    """Prepared splits, an own store for runs and studies; sets the params of the search."""
    monkeypatch.setattr(sweep, "checkout", lambda: workspace)
    monkeypatch.setattr(tracking, "checkout", lambda: workspace)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr("pipeline.train.tf.config.threading.set_intra_op_parallelism_threads", lambda count: None)
    for seed, name in enumerate(("train", "val")):
        save_split(name, Split("mnist", *drawn_digits(8, seed)))

    def use(**changes: Any) -> Params:
        params = small(**changes)
        monkeypatch.setattr(sweep, "load_params", lambda: params)
        return params

    return use


def runs() -> list[Any]:
    client = tracking.connect()
    return client.search_runs([client.get_experiment_by_name("mnist").experiment_id], order_by=["attribute.start_time"])


def test_a_search_is_tracked_goes_on_and_leaves_its_best(search, workspace, capsys) -> None:
    params = search(trials=2)
    sweep.main()
    study = sweep.open_study(params, "mnist")
    assert [trial.number for trial in sweep.finished(study)] == [0, 1]
    search(trials=3)
    sweep.main()
    study = sweep.open_study(params, "mnist")
    assert len(sweep.finished(study)) == 3
    parent, *trials = runs()
    assert [run.data.tags["mlflow.parentRunId"] for run in trials] == [parent.info.run_id] * 3
    rates = [float(run.data.params["models.mlp.optimizer.learning_rate"]) for run in trials]
    assert rates == pytest.approx([trial.params["optimizer.learning_rate"] for trial in sweep.finished(study)])
    artifacts = {item.path for item in tracking.connect().list_artifacts(parent.info.run_id)}
    assert artifacts == {"search.png", "sweep-mlp.yaml"}
    assert parent.data.metrics["best_val_accuracy"] == study.best_value
    best = override.read(workspace / "profiles" / "sweep-mlp.yaml")
    assert override.leaves(best["models"]["mlp"]) == study.best_params
    assert "python -m pipeline.training.override profiles/sweep-mlp.yaml" in capsys.readouterr().out


def test_a_hopeless_trial_is_pruned(search, monkeypatch) -> None:
    params = search(trials=1)
    study = sweep.open_study(params, "mnist")
    monkeypatch.setattr(optuna.Trial, "should_prune", lambda self: True)
    with pytest.raises(PipelineError, match=r"raise sweep\.trials"):
        sweep.main()
    (trial,) = sweep.finished(study)
    assert trial.state == optuna.trial.TrialState.PRUNED and list(trial.intermediate_values) == [0]
    assert runs()[-1].data.tags["pruned"] == "after epoch 1"


def test_another_search_is_another_study(search) -> None:
    one = sweep.open_study(search(), "mnist").study_name
    assert sweep.open_study(search(trials=9), "mnist").study_name == one
    assert sweep.open_study(search(epochs=3), "mnist").study_name != one
    assert sweep.open_study(search(), "kmnist").study_name != one


def test_every_trial_draws_its_own_values_however_many_processes_ask(search) -> None:
    params = search()
    drawn = []
    for _ in range(2):
        first, second = (sweep.open_study(params, "mnist") for _ in range(2))
        for study in (first, second):
            trial = study.ask()
            study.sampler = sweep.sampler(params, trial.number)
            drawn.append(
                sweep.suggest(trial, "optimizer.learning_rate", params.sweep.ranges["optimizer.learning_rate"])
            )
    assert len(set(drawn)) == 4


def test_a_range_is_either_kind() -> None:
    with pytest.raises(ValueError, match="either low and high, or choices"):
        Range(low=1)
    with pytest.raises(ValueError, match="either low and high, or choices"):
        Range(low=1, high=2, choices=[1])


def test_an_unknown_model_is_named(search) -> None:
    search(model="cnm")
    with pytest.raises(PipelineError, match=r"sweep\.model: 'cnm' is not among models: mlp, cnn"):
        sweep.main()
