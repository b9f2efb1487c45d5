"""Two instances of the service with one bucket, one PostgreSQL and one Redis: promotions and failures under load."""

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests
import sqlalchemy as sql

from records import database
from tests.conftest import Project
from tests.deploy.conftest import StartProxy
from tests.deploy.proxy import Proxy, picture
from tests.deploy.test_rolling_restart import SETTLE_SECONDS, UNLIMITED, Restartable, restartable, under_load
from tests.postgres import Postgres, running_postgres
from tests.redis import Redis, running_redis
from tests.s3 import S3, running_s3

pytestmark = [pytest.mark.slow, pytest.mark.alone]

RATE = 30  # requests of a client in a minute; each request of the load is a client of its own
PAUSE = 0.1  # seconds between two requests of a connection, which leaves the machine to promotions and restarts
RELOAD_SECONDS = 10.0  # until both instances serve a promoted version
RECOVERY_SECONDS = 60.0
PROMOTION = ("python", "-m", "pipeline.registry.promotion")
CLIENTS = {"X-Forwarded-For $remote_addr": "X-Forwarded-For $http_x_test", **UNLIMITED}


class Cluster:
    """The servers, a project that promotes models, and the instances behind nginx."""

    def __init__(self, stack: ExitStack, project: Project, folder: Path, start_proxy: StartProxy) -> None:
        self.project = project.copy(folder / "project")
        (folder / "s3").mkdir()
        self.s3: S3 = stack.enter_context(running_s3(folder / "s3"))
        self.postgres: Postgres = stack.enter_context(running_postgres())
        self.redis: Redis = stack.enter_context(running_redis())
        self.shared = {
            **self.s3.environment,
            "DIGITS_MODEL_DIR": f"{self.s3.url}/served",
            "DIGITS_DATABASE_URL": self.postgres.url,
        }
        self.run("-m", "pipeline.registry.handover")
        own = {
            "DIGITS_RATE_STORAGE": self.redis.url,
            "DIGITS_RATE_PER_MINUTE": str(RATE),
            "DIGITS_HASH_KEY": "a key of 16 letters or more",
            "DIGITS_LOG_PREDICTIONS": "true",
        }
        self.instances: list[Restartable] = stack.enter_context(
            restartable(self.project, folder, 2, **self.shared, **own)
        )
        self.proxy: Proxy = start_proxy(*(each.port for each in self.instances), changes=CLIENTS)
        self._asked, self._clients = 0, itertools.count()

    def run(self, *arguments: str, status: int = 0) -> str:
        """Run a module of the project with the shared servers."""
        return self.project.run("python", *arguments, status=status, **self.shared)

    def ask(self, each: Restartable, path: str, **options: Any) -> requests.Response:
        """Ask an instance directly, each time as another client."""
        self._asked += 1
        method = "POST" if "json" in options else "GET"
        headers = {"x-forwarded-for": f"test-{self._asked}"}
        return requests.request(method, each.url + path, headers=headers, timeout=60, **options)

    def champions(self) -> list[str]:
        """The version that each instance serves as champion."""
        served = [self.ask(each, "/model").json() for each in self.instances]
        return [answer["models"][answer["champion"]]["version"] for answer in served]

    def wait_for(self, champion: str, seconds: float = RELOAD_SECONDS) -> None:
        wait_until(lambda: self.champions() == [champion] * 2, seconds)

    def allowed(self, client: str) -> int:
        """How many of 2 x RATE requests of a client nginx, which takes turns with the instances, has answered."""
        headers = {"content-type": "image/png", "x-test": client}
        answers = [self.proxy.request("POST", "/predict", picture(), **headers) for _ in range(2 * RATE)]
        statuses = [answer.status_code for answer in answers]
        assert set(statuses) <= {200, 429}
        return statuses.count(200)

    def limited(self, client: str) -> bool:
        """Whether a client has its rate once. Counted by each instance, it would have it twice."""
        started = time.monotonic()
        allowed = self.allowed(client)
        freed = 1 + (time.monotonic() - started) * RATE / 60  # places that became free meanwhile
        return RATE <= allowed <= RATE + freed

    def wait_until_limited(self) -> None:
        """Wait for a client that has its rate once. On a busy machine, late answers of Redis let some requests pass."""
        wait_until(lambda: self.limited(f"client {next(self._clients)}"))

    def metric(self, name: str) -> float:
        """The sum of a metric over both instances."""
        texts = [self.ask(each, "/metrics").text for each in self.instances]
        values = [line.rpartition(" ")[2] for text in texts for line in text.splitlines() if line.startswith(name)]
        return sum(map(float, values))

    def unlogged(self, request_ids: set[str]) -> int:
        """How many of these requests are not in the prediction log."""
        engine = sql.create_engine(self.postgres.url, poolclass=sql.NullPool)
        with engine.connect() as connection:
            return len(request_ids - set(connection.execute(sql.select(database.pictures.c.request_id)).scalars()))


def wait_until(holds: Callable[[], bool], seconds: float = RECOVERY_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "not within the time"
        time.sleep(0.2)


@pytest.fixture
def cluster(project: Project, tmp_path: Path, start_proxy: StartProxy) -> Iterator[Cluster]:
    with ExitStack() as stack:
        yield Cluster(stack, project, tmp_path, start_proxy)


def test_promotions_rollbacks_and_restarts_under_load_fail_no_prediction(cluster: Cluster) -> None:
    first = cluster.champions()[0]
    other = "1" if first == "2" else "2"
    logged: set[str] = set()

    def work() -> None:
        cluster.run(*PROMOTION[1:], "promote", other, "--reason", "test")
        cluster.wait_for(other)
        cluster.run(*PROMOTION[1:], "rollback")
        cluster.wait_for(first)
        for each in cluster.instances:
            time.sleep(SETTLE_SECONDS)
            each.stop()
            each.start()
        time.sleep(SETTLE_SECONDS)
        cluster.wait_until_limited()

    seen = under_load(cluster.proxy, work, connections=16, pause=PAUSE, logged=logged)
    assert set(seen) == {"200"}, seen
    assert cluster.champions() == [first] * 2
    wait_until(lambda: cluster.unlogged(logged) == 0)
    assert logged


def test_each_server_may_fail_once_under_load(cluster: Cluster) -> None:
    first = cluster.champions()[0]
    other = "1" if first == "2" else "2"
    logged: set[str] = set()

    def lose_the_bucket() -> None:
        cluster.s3.kill()
        said = cluster.run(*PROMOTION[1:], "promote", other, "--reason", "test", status=1)
        assert "the models cannot be published to s3://" in said
        restarted, _ = cluster.instances
        restarted.stop()
        restarted.start()  # from its copy on disk
        assert cluster.champions() == [first] * 2
        cluster.s3.start()
        cluster.run("-m", "pipeline.registry.handover")
        cluster.wait_for(other, RECOVERY_SECONDS)

    def lose_the_rates() -> None:
        cluster.wait_until_limited()
        cluster.redis.kill()
        assert cluster.allowed("in the outage") == 2 * RATE
        cluster.redis.start()
        cluster.wait_until_limited()

    def lose_the_database() -> None:
        answer = cluster.ask(cluster.instances[0], "/predict_pixels", json={"images": [[[0] * 28] * 28]})
        label = {"request_id": answer.json()["results"][0]["request_id"], "label": 7}
        cluster.postgres.kill()
        refused = cluster.ask(cluster.instances[0], "/feedback", json=label)
        assert (refused.status_code, refused.json()["code"]) == (503, "database_unavailable")
        wait_until(lambda: cluster.metric("digits_log_waiting_pictures") > 0)
        cluster.postgres.start()
        wait_until(lambda: cluster.ask(cluster.instances[0], "/feedback", json=label).status_code == 204)

    def work() -> None:
        lose_the_bucket()
        lose_the_rates()
        lose_the_database()

    seen = under_load(cluster.proxy, work, connections=8, pause=PAUSE, logged=logged)
    assert set(seen) == {"200"}, seen
    wait_until(lambda: cluster.unlogged(logged) == 0)
    assert logged and cluster.metric("digits_log_lost_pictures_total") == 0
