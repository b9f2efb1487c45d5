"""The sweep: nested runs, pruning, resuming, parallel processes on one study, and the profile of the best trial."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import optuna
import pytest

from pipeline import tracking
from pipeline.console import PipelineError
from pipeline.data.splits import Split, load_split, save_split
from pipeline.params import Params, Range, load_params
from pipeline.settings import read_yaml
from pipeline.training import sweep
from tests.conftest import drawn_digits


def small(**changes: Any) -> Params:
    """The repository's parameters with a sweep of three short trials of a small MLP."""
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
    """Prepared splits and empty stores for runs and studies; the returned function sets the sweep."""
    monkeypatch.setattr(sweep, "checkout", lambda: workspace)
    monkeypatch.setattr(tracking, "checkout", lambda: workspace)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr("pipeline.train.tf.config.threading.set_intra_op_parallelism_threads", lambda count: None)
    for seed, name in enumerate(("train", "tune")):
        save_split(name, Split("mnist", *drawn_digits(8, seed)))

    def use(**changes: Any) -> Params:
        params = small(**changes)
        monkeypatch.setattr(sweep, "load_params", lambda: params)
        return params

    return use


def runs() -> list[Any]:
    client = tracking.connect()
    return client.search_runs([client.get_experiment_by_name("mnist").experiment_id], order_by=["attribute.start_time"])


def test_a_sweep_is_tracked_resumes_and_writes_the_best_trial(search, workspace, capsys) -> None:
    params = search(trials=2)
    sweep.main()
    study = sweep.open_study(params, "mnist")
    assert [trial.number for trial in sweep.trials(study, *sweep.FINISHED)] == [0, 1]
    search(trials=3)
    sweep.main()
    study = sweep.open_study(params, "mnist")
    assert len(sweep.trials(study, *sweep.FINISHED)) == 3
    parent, *trials = runs()
    assert [run.data.tags["mlflow.parentRunId"] for run in trials] == [parent.info.run_id] * 3
    rates = [float(run.data.params["optimizer.learning_rate"]) for run in trials]
    assert rates == pytest.approx(
        [trial.params["optimizer.learning_rate"] for trial in sweep.trials(study, *sweep.FINISHED)]
    )
    artifacts = {item.path for item in tracking.connect().list_artifacts(parent.info.run_id)}
    assert artifacts == {"search.png", "sweep-mlp.yaml"}
    assert parent.data.metrics["best_val_accuracy"] == study.best_value
    best = read_yaml(workspace / "profiles" / "sweep-mlp.yaml")
    assert tracking.flatten(best["models"]["mlp"]) == study.best_params
    said, head = capsys.readouterr().out, (workspace / "profiles" / "sweep-mlp.yaml").read_text().splitlines()[0]
    assert f"tuning accuracy {study.best_value:.2%}" in said and "validation" not in said
    assert head.endswith(f": tuning accuracy {study.best_value:.4f}")
    assert "python -m pipeline.training.profiles profiles/sweep-mlp.yaml" in said


def test_the_tuning_images_guide_the_search(search, monkeypatch) -> None:
    search(trials=1)
    seen: list[str] = []
    monkeypatch.setattr(sweep, "run_trial", lambda *arguments: seen.append(arguments[5].digest()) or 0.5)
    monkeypatch.setenv("DIGITS_PROCESSES", "1")
    sweep.main()
    assert seen == [load_split("tune").digest()]


def test_a_poor_trial_is_pruned(search, monkeypatch) -> None:
    params = search(trials=1)
    study = sweep.open_study(params, "mnist")
    monkeypatch.setattr(optuna.Trial, "should_prune", lambda self: True)
    with pytest.raises(PipelineError, match=r"raise sweep\.trials"):
        sweep.main()
    (trial,) = sweep.trials(study, *sweep.FINISHED)
    assert trial.state == optuna.trial.TrialState.PRUNED and list(trial.intermediate_values) == [0]
    assert runs()[-1].data.tags["pruned"] == "after epoch 1"


def test_other_settings_give_another_study(search) -> None:
    one = sweep.open_study(search(), "mnist").study_name
    assert sweep.open_study(search(trials=9), "mnist").study_name == one
    assert sweep.open_study(search(epochs=3), "mnist").study_name != one
    assert sweep.open_study(search(), "kmnist").study_name != one


def test_parallel_processes_draw_different_values(search) -> None:
    params = search()
    drawn = []
    for _ in range(2):
        first, second = (sweep.open_study(params, "mnist") for _ in range(2))
        for study in (first, second):
            trial = study.ask()
            study.sampler = sweep.make_sampler(params, trial.number)
            drawn.append(
                sweep.suggest(trial, "optimizer.learning_rate", params.sweep.ranges["optimizer.learning_rate"])
            )
    assert len(set(drawn)) == 4


def test_sweeps_that_start_together_have_one_parent_run(search) -> None:
    params = search()
    studies = [sweep.open_study(params, "mnist") for _ in range(3)]
    tracking.experiment_id("mnist")
    barrier = threading.Barrier(len(studies))

    def start(study: optuna.Study) -> str:
        barrier.wait()
        return sweep.parent_run(study, "mnist", params)

    with ThreadPoolExecutor(len(studies)) as pool:
        parents = set(pool.map(start, studies))
    assert parents == {run.info.run_id for run in runs()} and len(parents) == 1
    assert sweep.parent_run(studies[0], "mnist", params) in parents


def test_a_range_that_needs_another_key_is_an_error(search) -> None:
    params = search(ranges={"augmentation.final_phase": {"low": 0.1, "high": 0.5}})
    mlp = params.models["mlp"]
    augmentation = mlp.augmentation.model_copy(update={"final_phase": 0.0, "final_phase_strength": None})
    params.models["mlp"] = mlp.model_copy(update={"augmentation": augmentation})
    with pytest.raises(
        PipelineError, match=r"augmentation\.final_phase_strength: .*required, because final_phase is 0"
    ):
        sweep.main()


def test_a_range_has_limits_or_choices() -> None:
    with pytest.raises(ValueError, match="either low and high, or choices"):
        Range(low=1)
    with pytest.raises(ValueError, match="either low and high, or choices"):
        Range(low=1, high=2, choices=[1])


def test_an_unknown_model_is_an_error(search) -> None:
    search(model="cnm")
    with pytest.raises(PipelineError, match=r"sweep\.model: unknown model 'cnm'; known: mlp, cnn"):
        sweep.main()
