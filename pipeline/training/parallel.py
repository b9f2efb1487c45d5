"""Runs independent calls at the same time: in processes of this machine, or as Ray tasks if `RAY_ADDRESS` is set.

Trials of a sweep, reference models, ensemble members, seeds and the parts of a batch prediction run through `run`.
"""

import json
import logging
import multiprocessing
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any, Final, TypeVar

from pipeline.console import QUIET_LIBRARIES, PipelineError, say
from pipeline.files import read_json, write_json
from pipeline.paths import ROOT, TRAININGS

Call = TypeVar("Call", bound=tuple[Any, ...])
Outcome = tuple[Any, PipelineError | None, float]  # result, error that the user can fix, CPU seconds
Submit = Callable[[tuple[Any, ...]], "Future[Outcome]"]

PACKAGES: Final = ("pipeline", "recognition", "records")  # that a task imports; Ray copies them to the other machines
RETRIES: Final = 5  # of a task whose node or process dies

is_worker = False  # in a process that runs calls for another one
elsewhere_seconds = 0.0  # CPU seconds of the calls that ran in other processes
_shared: tuple[Any, ...] = ()  # the first arguments of all calls, in a worker process of this machine


def run(
    function: Callable[..., Any],
    calls: Iterable[Call],
    shared: tuple[Any, ...] = (),
    cpus: int = 1,
    at_most: int | None = None,
    ahead: bool = False,
) -> Iterator[tuple[Call, Any]]:
    """Call `function(*shared, *call)` for each of `calls`; yields (call, result) in the order in which they end.

    `calls` may be a generator: a call is taken when there is room for it, so that it may depend on earlier results,
    and only those in progress are in memory. A call uses `cpus` threads; `at_most` limits the processes of this
    machine. With `ahead`, as many calls as run at once wait beside them, which hides the time of transfers.

    A Ray task whose node dies runs again. Calls within a call run one after the other. Raises PipelineError if a
    call raises it, a process of this machine is killed, or Ray cannot be used.
    """
    global elsewhere_seconds
    address = os.environ.get("RAY_ADDRESS")
    processes = local_processes(cpus)
    if at_most is not None:
        processes = max(min(processes, at_most), 1)
    if is_worker or (processes == 1 and not address):
        for call in calls:
            yield call, function(*shared, *call)
        return
    opened = _ray_tasks(address, function, shared, cpus) if address else _processes(processes, function, shared)
    remaining, running = iter(calls), dict["Future[Outcome]", Call]()
    with opened as (slots, submit):
        while True:
            for call in islice(remaining, max(slots() * (2 if ahead else 1) - len(running), 0)):
                running[submit(call)] = call
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                result, error, seconds = future.result()
                elsewhere_seconds += seconds
                if error is not None:
                    raise error
                yield running.pop(future), result


def local_processes(cpus: int) -> int:
    """Number of calls with `cpus` threads each that run at once on this machine: `DIGITS_PROCESSES`, or by its cores.

    Raises PipelineError if the setting is no positive number.
    """
    wanted = os.environ.get("DIGITS_PROCESSES", "")
    if not wanted:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return max(cores // cpus, 1)
    if not wanted.isdecimal() or not int(wanted):
        raise PipelineError(f"DIGITS_PROCESSES: expected a number of processes from 1, found {wanted!r}")
    return int(wanted)


@contextmanager
def _processes(count: int, function: Callable[..., Any], shared: tuple[Any, ...]) -> Iterator[tuple[Any, Submit]]:
    """`count` processes. They are new interpreters, because TensorFlow does not survive a fork."""
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(count, context, _start_process, (shared,))
    try:
        yield lambda: count, lambda call: pool.submit(_call_here, function, call)
    except BrokenProcessPool:
        raise PipelineError(
            "a process was killed, perhaps for lack of memory; run again with a smaller DIGITS_PROCESSES"
        ) from None
    finally:
        for process in multiprocessing.active_children():  # idle, or of an interrupted run
            process.terminate()
        pool.shutdown(cancel_futures=True)


def _start_process(shared: tuple[Any, ...]) -> None:
    """Prepare a worker process. It ends with its parent, however that ends; Ctrl-C is the parent's business."""
    global _shared
    _shared = shared
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _call_here(function: Callable[..., Any], call: tuple[Any, ...]) -> Outcome:
    return _outcome(function, _shared, call)


def _outcome(function: Callable[..., Any], shared: tuple[Any, ...], call: tuple[Any, ...]) -> Outcome:
    """Run one call in a worker."""
    global is_worker
    is_worker, start = True, time.process_time()
    try:
        return function(*shared, *call), None, time.process_time() - start
    except PipelineError as error:
        return None, error, 0.0


@contextmanager
def _ray_tasks(
    address: str, function: Callable[..., Any], shared: tuple[Any, ...], cpus: int
) -> Iterator[tuple[Any, Submit]]:
    """Tasks of a Ray cluster. Nodes that join or leave change how many run at once."""
    ray = _connect(address)
    task = ray.remote(_outcome).options(num_cpus=cpus, max_retries=RETRIES)
    in_store, submitted = ray.put(shared), dict["Future[Outcome]", Any]()

    def slots() -> int:
        return max(int(ray.cluster_resources().get("CPU", 0) // cpus), 1)

    def submit(call: tuple[Any, ...]) -> "Future[Outcome]":
        reference = task.remote(function, in_store, call)
        future: Future[Outcome] = reference.future()
        submitted[future] = reference
        future.add_done_callback(submitted.pop)
        return future

    try:
        yield slots, submit
    except ray.exceptions.RayTaskError:
        raise  # a defect: its traceback helps
    except ray.exceptions.RayError as error:
        reason = " ".join(str(error).split())[:300]
        raise PipelineError(f"Ray could not finish a task after {RETRIES} more attempts: {reason}") from None
    finally:
        for reference in list(submitted.values()):
            with suppress(ray.exceptions.RayError):
                ray.cancel(reference, force=True)


def _connect(address: str) -> Any:
    """Connect this process to the Ray cluster of `RAY_ADDRESS`; returns the module `ray`.

    The tasks run this project's code, and report to its MLflow store. Raises PipelineError if that is not possible.
    """
    from pipeline import tracking

    try:
        import ray
    except ImportError:
        raise PipelineError("RAY_ADDRESS is set, but Ray is not installed; run: make cluster") from None
    if not ray.is_initialized():
        code = [str(ROOT / package) for package in PACKAGES]
        variables = {**QUIET_LIBRARIES, "MLFLOW_TRACKING_URI": tracking.tracking_uri()}
        try:
            if match := re.fullmatch(r"(?:ray://)?([^:/]+):(\d+)", address):  # Ray itself tries for three minutes
                socket.create_connection((match[1], int(match[2])), timeout=10).close()
            ray.init(
                address,
                runtime_env={"py_modules": code, "env_vars": variables},
                log_to_driver=False,
                logging_level=logging.CRITICAL,
            )
        except (OSError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise PipelineError(f"RAY_ADDRESS: no Ray cluster can be used at {address}: {reason}") from None
    return ray


class Progress:
    """Results of a command with several trainings, in a file until the command ends, so that a killed one continues.

    `results`: those of an interrupted command with the same `plan` and commit, by key. Plan and results are JSON.
    """

    def __init__(self, name: str, plan: Any) -> None:
        from pipeline import tracking

        self.path = TRAININGS / f"{name}.json"
        self.plan, self.results = json.loads(json.dumps([plan, tracking.git_commit()])), dict[str, Any]()
        with suppress(OSError, ValueError):
            saved = read_json(self.path)
            if saved["plan"] == self.plan:
                self.results = saved["results"]
                say(f"resuming an interrupted run: {len(self.results)} trainings are done")

    def add(self, key: str, result: Any) -> None:
        self.results[key] = result
        write_json(self.path, {"plan": self.plan, "results": self.results})

    def finish(self) -> None:
        self.path.unlink(missing_ok=True)


def require_shared(name: str, url: str) -> None:
    """Raise PipelineError if `url`, the setting `name`, is a SQLite file and the Ray cluster has several machines."""
    address = os.environ.get("RAY_ADDRESS")
    if not address or not url.startswith("sqlite"):
        return
    machines = {node["NodeManagerAddress"] for node in _connect(address).nodes() if node["Alive"]}
    if len(machines) > 1:
        raise PipelineError(
            f"{name} is a file, which the {len(machines)} machines of the Ray cluster do not share; set it to a server"
        )
