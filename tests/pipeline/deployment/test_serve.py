"""The sentence of `make serve` on who can access the service."""

import pytest

from pipeline.deployment.serve import describe_access


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
