"""Calls at the same time in processes: results, errors, room, and processes that die. tests/test_ray.py has Ray."""

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pipeline.console import PipelineError
from pipeline.params import load_params
from pipeline.training import parallel
from tests.conftest import REPOSITORY, drawn_digits


def describe(prefix: str, number: int) -> tuple[str, int]:
    """A call: its arguments, and the process that ran it."""
    return f"{prefix}{number}", os.getpid()


def fail(prefix: str, number: int) -> None:
    raise PipelineError(f"{prefix}{number} cannot be used")


def die(prefix: str, number: int) -> None:
    os._exit(3)


def wait_for(folder: Path, number: int) -> int:
    """A call that leaves a file with its process, and ends when the file `go` exists."""
    (folder / f"{number}-{os.getpid()}").write_text(str(os.getppid()))
    while not (folder / "go").exists():
        time.sleep(0.05)
    return number


def weights(ensemble_size: int) -> str:
    """A digest of a short training's weights."""
    from pipeline.data.splits import Split
    from pipeline.training import loop

    changes = {"arguments": {"widths": [16]}, "minimum_steps": 0, "batch_size": 16, "epochs": 1, "threads": 1}
    settings = load_params().models["mlp"].model_copy(update={**changes, "ensemble_size": ensemble_size})
    train, val = (Split("mnist", *drawn_digits(8, seed)) for seed in (0, 1))
    network, _ = loop.fit("mlp", settings, 10, train, val)
    return hashlib.sha256(b"".join(array.tobytes() for array in network.get_weights())).hexdigest()


@pytest.mark.parametrize("processes", ["1", "2"])
def test_every_call_runs_once(processes: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIGITS_PROCESSES", processes)
    found = dict(parallel.run(describe, [(number,) for number in range(20)], ("call ",)))
    assert {call: text for call, (text, _) in found.items()} == {(number,): f"call {number}" for number in range(20)}
    assert (os.getpid() in {process for _, process in found.values()}) == (processes == "1")


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_call_is_taken_when_there_is_room_for_it(processes: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIGITS_PROCESSES", processes)
    finished: list[int] = []
    waiting: list[int] = []

    def calls() -> Iterator[tuple[int]]:
        for number in range(10):
            waiting.append(number - len(finished))
            yield (number,)

    for (number,), _ in parallel.run(describe, calls(), ("",)):
        finished.append(number)
    assert sorted(finished) == list(range(10)) and max(waiting) <= int(processes)


@pytest.mark.parametrize("processes", ["1", "2"])
def test_an_error_for_the_user_arrives_as_it_is(processes: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIGITS_PROCESSES", processes)
    with pytest.raises(PipelineError, match=r"^picture 1 cannot be used$"):
        list(parallel.run(fail, [(1,)], ("picture ",)))


def test_a_killed_process_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIGITS_PROCESSES", "2")
    with pytest.raises(PipelineError, match="a process was killed, perhaps for lack of memory; run again"):
        list(parallel.run(die, [(1,), (2,)], ("",)))


@pytest.mark.parametrize("setting", ["0", "two", "-1"])
def test_an_impossible_number_of_processes_is_an_error(setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIGITS_PROCESSES", setting)
    with pytest.raises(PipelineError, match=f"DIGITS_PROCESSES: expected a number .* from 1, found '{setting}'"):
        list(parallel.run(describe, [(1,)], ("",)))


def start(folder: Path, command: str, **environment: str) -> subprocess.Popen[str]:
    """A process that uses `parallel.run`."""
    script = folder / "driver.py"
    script.write_text(
        "import os\n"
        "from pathlib import Path\n"
        "from pipeline.training import parallel\n"
        "from tests.pipeline.training.test_parallel import fail, wait_for, weights\n"
        f"if __name__ == '__main__':\n    {command}\n"
    )
    return subprocess.Popen(
        [sys.executable, script],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def started(folder: Path, count: int, driver: subprocess.Popen[str]) -> list[tuple[int, int]]:
    """Waits until `count` calls of `wait_for` have started: their numbers and processes."""
    while len(found := [path.name.split("-") for path in folder.glob("[0-9]*-*")]) < count:
        assert driver.poll() is None, driver.stdout and driver.stdout.read()
        time.sleep(0.05)
    return [(int(number), int(process)) for number, process in found]


def test_processes_end_with_a_killed_driver(tmp_path: Path) -> None:
    command = f"list(parallel.run(wait_for, [(0,), (1,)], (Path({str(tmp_path)!r}),)))"
    driver = start(tmp_path, command, DIGITS_PROCESSES="2")
    workers = [psutil.Process(process) for _, process in started(tmp_path, 2, driver)]
    driver.kill()
    driver.wait(60)
    assert not psutil.wait_procs(workers, timeout=60)[1]


def test_without_a_cluster_or_ray_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(PipelineError, match=r"^RAY_ADDRESS: no Ray cluster can be used at 127.0.0.1:1: .*refused"):
        list(parallel.run(describe, [(1,)], ("",)))
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(PipelineError, match="RAY_ADDRESS is set, but Ray is not installed; run: make cluster"):
        list(parallel.run(describe, [(1,)], ("",)))


def test_a_command_that_hands_out_calls_imports_neither_tensorflow_nor_ray_nor_s3fs() -> None:
    code = "import sys, pipeline.batch.predict, pipeline.training.seeds, pipeline.training.sweep\n"
    code += "print({'tensorflow', 'keras', 'ray', 's3fs', 'botocore'} & sys.modules.keys())"
    said = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert said.stdout.splitlines()[-1] == "set()"


def test_finished_trainings_are_kept_for_the_same_plan_only(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.tracking.git_commit", lambda: "a commit")
    parallel.Progress("seeds", {"epochs": 1}).add("1", {"accuracy": 0.5})
    assert parallel.Progress("seeds", {"epochs": 1}).results == {"1": {"accuracy": 0.5}}
    assert parallel.Progress("seeds", {"epochs": 2}).results == {}
    monkeypatch.setattr("pipeline.tracking.git_commit", lambda: "another")
    assert parallel.Progress("seeds", {"epochs": 1}).results == {}
