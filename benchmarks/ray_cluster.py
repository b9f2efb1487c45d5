"""A Ray cluster of nodes with one CPU each on this machine, gone afterwards. Tests use it, too.

Each node runs what `ray start` runs on a machine: raylet, log monitor, agents of the dashboard and of runtime
environments. The head adds the GCS, the autoscaler's monitor, the server for Ray clients and the dashboard's process
without its pages. On clusters of several machines, each with many cores, these processes serve more workers.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from pipeline.deployment.bento_server import free_port

RAY = str(Path(sys.executable).with_name("ray"))
OPTIONS = ["--num-cpus=1", "--node-ip-address=127.0.0.1", "--object-store-memory=150000000", "--disable-usage-stats"]
OPTIONS += ["--min-worker-port=0", "--max-worker-port=0", "--metrics-export-port=0", "--dashboard-agent-grpc-port=0"]


class Node:
    """One node: the processes that `ray start` starts, and their workers."""

    def __init__(self, *options: str) -> None:
        command = [RAY, "start", "--block", *OPTIONS, f"--dashboard-agent-listen-port={free_port()}", *options]
        environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}  # Ray's own: 15
        environment.pop("RAY_ADDRESS", None)
        self.process = subprocess.Popen(
            command, env=environment, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert self.process.stdout is not None
        said = []
        for line in self.process.stdout:  # until all its processes run
            said.append(line)
            if "--block" in line:
                return
        raise AssertionError("the node ended:\n" + "".join(said))

    def kill(self) -> None:
        """End all processes of the node at once, as a machine does that loses its power."""
        processes = [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]
        for process in processes:
            with suppress(psutil.NoSuchProcess):  # it has ended with another one
                process.kill()
        psutil.wait_procs(processes, 30)
        self.process.wait(30)


class Cluster:
    """`address`: the value of RAY_ADDRESS. Each node has one CPU; the first one is the head."""

    def __init__(self, folder: str, nodes: int) -> None:
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        self.head = Node("--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={folder}")
        self.nodes = [self.head]
        for _ in range(nodes - 1):
            self.add()

    def add(self) -> None:
        """Start another node."""
        self.nodes.append(Node(f"--address={self.address}"))

    def kill_last(self) -> None:
        """Kill the node that was added last."""
        self.nodes.pop().kill()


@contextmanager
def running_cluster(nodes: int = 2) -> Iterator[Cluster]:
    """A cluster that runs while the block does."""
    folder = tempfile.mkdtemp(prefix="ray-")  # not pytest's: the paths of its sockets would be too long
    cluster = None
    try:
        cluster = Cluster(folder, nodes)
        yield cluster
    finally:
        while cluster and cluster.nodes:
            cluster.kill_last()
        shutil.rmtree(folder, ignore_errors=True)
