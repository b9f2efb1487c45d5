"""Two instances of the service behind nginx are restarted one after the other under load: no prediction is lost."""

import asyncio
import itertools
import signal
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import requests

from pipeline.deployment import bento_server
from pipeline.files import read_json
from tests.conftest import Project
from tests.deploy.conftest import StartProxy
from tests.deploy.proxy import Proxy, picture, pixels

pytestmark = [pytest.mark.slow, pytest.mark.alone]

CONNECTIONS = 64
DRAIN_SECONDS = 5.0  # until an instance answers 503 to /readyz; an instance without that stops all the same
STOP_SECONDS = 60.0
SETTLE_SECONDS = 2.0  # until nginx sends requests to a restarted instance again: fail_timeout and more
JSON, PNG = {"content-type": "application/json"}, {"content-type": "image/png"}
REQUESTS = [
    ("/predict_pixels", pixels(1), JSON),
    ("/predict", picture(), PNG),
    ("/compare", picture(), PNG),
    ("/predict_pixels", pixels(64), JSON),
]
UNLIMITED = {
    "rate=20r/s": "rate=10000r/s",
    "burst=40": "burst=10000",
    "limit_conn connections 32": "limit_conn connections 1000",
}


class Restartable:
    """An instance of the service that starts on the same port again."""

    def __init__(self, project: Project, folder: Path, number: int, environment: Mapping[str, str]) -> None:
        self.port = bento_server.free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.drain_file = folder / f"drain-{number}"
        self._project, self._log = project, folder / f"service-{number}.log"
        self._tag = read_json(project.folder / "reports" / "bento.json")["bento"]
        self._environment = {
            "DIGITS_DRAIN_FILE": str(self.drain_file),
            "DIGITS_LOG_LEVEL": "warning",
            "DIGITS_MODEL_CACHE": str(folder / f"cache-{number}"),
            **environment,
        }
        self.start()

    def start(self) -> None:
        """Starts the service and waits until it is ready."""
        self.drain_file.unlink(missing_ok=True)
        home = self._project.folder / ".bentoml"
        with self._log.open("ab") as log:
            self._server = bento_server.start(self._tag, "127.0.0.1", self.port, log, self._environment, home)
        bento_server.wait_until_ready(self._server, self.url)

    def stop(self) -> None:
        """Stops the service as an orchestrator does: not ready first, SIGTERM then."""
        self.drain_file.touch()
        deadline = time.monotonic() + DRAIN_SECONDS
        while requests.get(f"{self.url}/readyz", timeout=STOP_SECONDS).status_code == 200:
            if time.monotonic() > deadline:
                break
            time.sleep(0.1)
        self._server.send_signal(signal.SIGTERM)
        self._server.wait(STOP_SECONDS)

    def kill(self) -> None:
        """Ends the service if it runs."""
        if self._server.poll() is None:
            bento_server.stop(self._server)


@contextmanager
def restartable(project: Project, folder: Path, count: int, **environment: str) -> Iterator[list[Restartable]]:
    """Instances of the project's Bento on free ports, with these settings."""
    with ExitStack() as stack:
        instances = []
        for number in range(count):
            instances.append(Restartable(project, folder, number, environment))
            stack.callback(instances[-1].kill)
        yield instances


async def predict_until(
    done: asyncio.Event,
    url: str,
    certificate: Path,
    connections: int = CONNECTIONS,
    pause: float = 0.0,
    logged: set[str] | None = None,
) -> Counter[str]:
    """Asks for predictions over several connections until `done`; counts of the statuses and failures.

    `pause`: seconds between an answer and the next request of its connection. The header X-Test has another value in
    each request. `logged` gets the ids of the requests that were queued for the prediction log.
    """
    seen: Counter[str] = Counter()
    numbers = itertools.count()
    context = ssl.create_default_context(cafile=str(certificate))
    connector = aiohttp.TCPConnector(limit=connections, ssl=context)
    timeout = aiohttp.ClientTimeout(total=STOP_SECONDS)

    async def one(session: aiohttp.ClientSession, number: int) -> None:
        while not done.is_set():
            path, body, headers = REQUESTS[number % len(REQUESTS)]
            number += 1
            try:
                own = headers | {"x-test": f"client-{next(numbers)}"}
                async with session.post(url + path, data=body, headers=own) as answer:
                    await answer.read()
                    seen[str(answer.status)] += 1
                    if logged is not None and "digits-logged" in answer.headers:
                        logged.add(answer.headers["x-request-id"])
            except (aiohttp.ClientError, TimeoutError) as error:
                seen[f"lost: {error!r}"] += 1
            await asyncio.sleep(pause)

    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        await asyncio.gather(*(one(session, number) for number in range(connections)))
    return seen


def under_load(proxy: Proxy, work: Callable[[], None], **options: Any) -> Counter[str]:
    """Does the work while predictions are asked for; counts of their statuses and failures. See predict_until."""

    async def run() -> Counter[str]:
        done = asyncio.Event()
        load = asyncio.create_task(predict_until(done, proxy.url, proxy.certificate, **options))
        try:
            await asyncio.to_thread(work)
        finally:
            done.set()
        return await load

    return asyncio.run(run())


def test_a_rolling_restart_under_load_loses_no_prediction(
    start_proxy: StartProxy, project: Project, tmp_path: Path
) -> None:
    with restartable(project, tmp_path, 2) as instances:
        proxy = start_proxy(*(each.port for each in instances), changes=UNLIMITED)

        def restart_all() -> None:
            for each in instances:
                time.sleep(SETTLE_SECONDS)
                each.stop()
                each.start()
            time.sleep(SETTLE_SECONDS)

        seen = under_load(proxy, restart_all)
        log = (tmp_path / "error.log").read_text()
        problems = [line for line in log.splitlines() if "[error]" in line]
        assert set(seen) == {"200"}, "\n".join([str(seen), *problems[-20:]])
        assert seen.total() > 10 * CONNECTIONS
        assert all(f"127.0.0.1:{each.port}" in "".join(problems) for each in instances), (
            "no instance was missing while it restarted"
        )
