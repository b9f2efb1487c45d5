"""Trainings and batch predictions on a Ray cluster of two nodes, one of which is killed in the middle of each."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient
from optuna.trial import TrialState

from benchmarks.ray_cluster import Cluster, running_cluster
from pipeline.batch.sources import PART_SIZE
from tests.conftest import Project
from tests.pipeline.batch.test_predict import parquet
from tests.pipeline.training.test_parallel import start, started

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def running() -> Iterator[Cluster]:
    """A cluster of one or two nodes."""
    with running_cluster() as running:
        yield running


@pytest.fixture
def cluster(running: Cluster) -> Cluster:
    """A cluster of two nodes; a test may kill the second."""
    if len(running.nodes) < 2:
        running.add()
    return running


def test_an_error_for_the_user_arrives_as_it_is(running: Cluster, tmp_path: Path) -> None:
    command = "list(parallel.run(fail, [(1,)], ('picture ',)))"
    said, _ = start(tmp_path, command, RAY_ADDRESS=running.address).communicate(timeout=300)
    assert said.splitlines()[-1] == "pipeline.console.PipelineError: picture 1 cannot be used"


def test_an_ensemble_has_the_same_weights_wherever_its_members_are_trained(cluster: Cluster, tmp_path: Path) -> None:
    command = f"print(weights(2)); os.environ['RAY_ADDRESS'] = {cluster.address!r}; print(weights(2))"
    environment = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}", "DIGITS_PROCESSES": "1"}
    said, _ = start(tmp_path, command, **environment).communicate(timeout=300)
    digests = [line for line in said.splitlines() if len(line) == 64]
    assert len(digests) == 2 and len(set(digests)) == 1, said


def test_calls_of_a_killed_node_run_again_and_every_result_comes_once(cluster: Cluster, tmp_path: Path) -> None:
    command = f"print(sorted(parallel.run(wait_for, [(n,) for n in range(6)], (Path({str(tmp_path)!r}),))))"
    driver = start(tmp_path, command, RAY_ADDRESS=cluster.address)
    running = dict(started(tmp_path, 2, driver))
    assert len({psutil.Process(process).ppid() for process in running.values()}) == 2  # on both nodes
    cluster.kill_last()
    (tmp_path / "go").touch()
    said, _ = driver.communicate(timeout=300)
    assert said == f"{[((number,), number) for number in range(6)]}\n"
    attempts = [int(path.name.split("-")[0]) for path in tmp_path.glob("[0-9]*-*")]
    assert len(attempts) == 7 and set(attempts) == set(range(6))


def wait_until(condition: Callable[[], Any], process: subprocess.Popen[str]) -> None:
    while not condition():
        assert process.poll() is None, process.stdout and process.stdout.read()
        time.sleep(0.05)


def test_a_batch_has_every_row_once_after_a_node_was_killed(project: Project, cluster: Cluster, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, 150 * PART_SIZE * 784, np.uint8)
    offsets = np.arange(0, len(pixels) + 1, 784, np.int32)
    offsets[-1] = offsets[-2]  # the last row is null
    last = np.arange(150 * PART_SIZE) == 150 * PART_SIZE - 1
    images = pa.ListArray.from_arrays(offsets, pixels, mask=pa.array(last))
    source = parquet(tmp_path / "pixels.parquet", pixels=images)
    command = ["digits", "predict", str(source), "--model", "models/mlp/model.tflite", "--output"]
    project.run(*command, str(tmp_path / "local.parquet"), DIGITS_PROCESSES="1")
    driver = project.start(*command, str(tmp_path / "ray.parquet"), RAY_ADDRESS=cluster.address)
    parts = tmp_path / "ray.parquet.parts"
    wait_until(lambda: len(list(parts.glob("[0-9]*"))) >= 10, driver)
    cluster.kill_last()
    assert not (tmp_path / "ray.parquet").exists()
    said, _ = driver.communicate(timeout=300)
    assert driver.returncode == 0 and len(said.splitlines()) == 2, said
    local, ray = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("local", "ray"))
    assert ray.equals(local) and ray["row"].to_pylist() == list(range(150 * PART_SIZE))
    assert ray["error"].null_count == 150 * PART_SIZE - 1


@pytest.fixture
def searching(project: Project, tmp_path: Path) -> Project:
    """A project whose sweep trains a small network for some seconds."""
    made = project.copy(tmp_path / "project")

    def edit(params: dict[str, Any]) -> None:
        params["models"]["mlp"] |= {"threads": 1, "minimum_steps": 0, "batch_size": 16}
        ranges = {"optimizer.learning_rate": {"low": 0.001, "high": 0.01}}
        params["sweep"] |= {"model": "mlp", "trials": 4, "epochs": 6, "ranges": ranges}

    made.change(edit)
    return made


def study(project: Project) -> optuna.Study:
    storage = f"sqlite:///{project.folder / 'sweep.db'}"
    return optuna.load_study(study_name=None, storage=storage)  # the only one


def trials(project: Project) -> list[optuna.trial.FrozenTrial]:
    try:
        return study(project).get_trials()
    except (ValueError, KeyError):  # not created yet
        return []


def under_way(project: Project) -> list[optuna.trial.FrozenTrial]:
    return [trial for trial in trials(project) if trial.state == TrialState.RUNNING and trial.intermediate_values]


def test_a_sweep_finishes_every_trial_once_though_a_node_and_the_driver_are_killed_and_prunes(
    searching: Project, cluster: Cluster
) -> None:
    driver = searching.start("digits", "sweep", RAY_ADDRESS=cluster.address)
    wait_until(lambda: len(under_way(searching)) == 2, driver)
    cluster.kill_last()
    wait_until(lambda: any(trial.number > 1 for trial in under_way(searching)), driver)
    driver.kill()
    driver.wait(60)
    left = trials(searching)
    before, states = {trial.number: trial.params for trial in left}, {trial.number: trial.state for trial in left}
    orphans = [number for number, state in states.items() if state == TrialState.RUNNING]
    assert orphans and set(states.values()) == {TrialState.RUNNING, TrialState.COMPLETE}
    for _ in range(5):  # perfect from the first epoch on: all further trials are behind their median
        values = dict.fromkeys(range(6), 1.0)
        added = optuna.create_trial(value=1.0, intermediate_values=values, user_attrs={"added": True})
        study(searching).add_trial(added)
    searching.change(lambda params: params["sweep"].update(trials=9))
    said = searching.run("digits", "sweep", RAY_ADDRESS=cluster.address)
    found = {trial.number: trial for trial in trials(searching) if "added" not in trial.user_attrs}
    finished = [trial for trial in found.values() if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    assert len(finished) == 4 and "best of 9 trials" in said
    repeated = {trial.user_attrs["repeats"]: trial.params for trial in finished if "repeats" in trial.user_attrs}
    assert repeated == {number: before[number] for number in orphans}
    assert {found[number].state for number in orphans} == {TrialState.FAIL}
    runs = mlflow_runs(searching, "sweep")
    assert sorted(run["trial"] for run in runs if run["status"] == "FINISHED" and "trial" in run) == sorted(
        str(trial.number) for trial in finished
    )
    pruned = [trial.number for trial in finished if trial.number not in states]
    assert pruned and {found[number].state for number in pruned} == {TrialState.PRUNED}
    assert {run["trial"]: run["pruned"] for run in runs if "pruned" in run} == {
        str(number): "after epoch 2" for number in pruned
    }


def mlflow_runs(project: Project, tag: str) -> list[dict[str, str]]:
    """Status and tags of the runs with a tag."""
    client = MlflowClient(f"sqlite:///{project.folder / 'mlflow.db'}")
    experiments = [found.experiment_id for found in client.search_experiments()]
    runs = [{**run.data.tags, "status": run.info.status} for run in client.search_runs(experiments)]
    return [run for run in runs if tag in run]


def test_seeds_on_a_cluster_are_those_of_one_machine_and_a_killed_command_continues(
    searching: Project, running: Cluster
) -> None:
    command = ("digits", "seeds", "mlp", "--seeds", "2", "--json")
    driver = searching.start(*command, RAY_ADDRESS=running.address)
    kept = searching.folder / ".dvc" / "tmp" / "trainings" / "seeds-mlp.json"
    wait_until(kept.exists, driver)
    driver.kill()
    driver.wait(60)
    done = json.loads(kept.read_text())["results"]
    said = searching.run(*command, RAY_ADDRESS=running.address)
    remote = json.loads(said.splitlines()[-1])
    assert f"resuming an interrupted run: {len(done)} trainings are done" in said and not kept.exists()
    accuracies = [row["accuracy"] for row in remote["seeds"]]
    assert [row["seed"] for row in remote["seeds"]] == [1, 2]
    assert all(row["accuracy"] == accuracies[int(seed) - 1] for seed, row in done.items()) and done
    assert remote["accuracy"] == pytest.approx(np.mean(accuracies))
    assert remote["accuracy_low"] <= remote["accuracy"] <= remote["accuracy_high"]
    local = json.loads(searching.run(*command, DIGITS_PROCESSES="1").splitlines()[-1])
    assert [row["accuracy"] for row in local["seeds"]] == accuracies
