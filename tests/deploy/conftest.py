"""Fixtures of the tests of deploy/: nginx, if it is installed."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.deploy.proxy import PROGRAM, Handler, Instance, Proxy, instance, nginx

StartProxy = Callable[..., Proxy]


@pytest.fixture
def needs_nginx() -> None:
    if PROGRAM is None or shutil.which("openssl") is None:
        pytest.skip("nginx or openssl is not installed (Debian: apt-get install nginx-light openssl)")


@pytest.fixture
def start_proxy(needs_nginx: None, tmp_path: Path) -> Iterator[StartProxy]:
    """Starts nginx in front of instances on these ports, with these changes to deploy/nginx.conf."""
    with ExitStack() as stack:

        def start(*instances: int, changes: dict[str, str] | None = None) -> Proxy:
            return stack.enter_context(nginx(tmp_path, instances, changes))

        yield start


@pytest.fixture
def start_instances() -> Iterator[Callable[[Sequence[Handler]], list[Instance]]]:
    """Starts a stand-in for an instance of the service for each handler."""
    with ExitStack() as stack:
        yield lambda handlers: [stack.enter_context(instance(handler)) for handler in handlers]
