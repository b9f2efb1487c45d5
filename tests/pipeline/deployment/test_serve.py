"""What `make serve` says of who can reach the service."""

import pytest

from pipeline.deployment.serve import who_can_reach


@pytest.mark.parametrize(
    ("host", "key", "said"),
    [
        ("127.0.0.1", "", "Only this machine"),
        ("0.0.0.0", "", "Everybody"),
        ("0.0.0.0", "a-long-key", "need the key"),
        ("192.0.2.1", "", "DIGITS_API_KEY asks"),
    ],
)
def test_it_says_who_can_reach_it(monkeypatch: pytest.MonkeyPatch, host: str, key: str, said: str) -> None:
    monkeypatch.setenv("DIGITS_API_KEY", key)
    assert said in who_can_reach(host)
