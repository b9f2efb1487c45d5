"""`make serve`: the sentence on who can access the service, and a service that dies."""

import signal
import subprocess
from pathlib import Path

import pytest

from pipeline.console import PipelineError
from pipeline.deployment import serve
from pipeline.deployment.serve import describe_access
from pipeline.files import write_json


@pytest.mark.parametrize(
    ("host", "key", "text"),
    [
        ("127.0.0.1", "", "Only this machine"),
        ("0.0.0.0", "", "without a key"),
        ("0.0.0.0", "a-long-key", "with a key"),
        ("192.0.2.1", "", "Set DIGITS_API_KEY"),
    ],
)
def test_it_describes_the_access(monkeypatch: pytest.MonkeyPatch, host: str, key: str, text: str) -> None:
    monkeypatch.setenv("DIGITS_API_KEY", key)
    assert text in describe_access(host)


def test_a_service_that_ends_by_itself_is_an_error(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process in place of the service is ready at once and then killed, as by the kernel without memory."""
    write_json(workspace / "reports" / "bento.json", {"bento": "digits:1"})
    monkeypatch.setattr(serve, "check_free", lambda host, port: None)
    monkeypatch.setattr(serve, "start", lambda *_, **__: subprocess.Popen(["sh", "-c", "kill -KILL $$"]))
    monkeypatch.setattr(serve, "wait_until_ready", lambda server, url: None)
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # this process keeps its own handlers
    with pytest.raises(PipelineError, match="ended by itself, with status -9"):
        serve.main()
