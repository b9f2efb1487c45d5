"""The file of named API keys: read, checked, and read again when it changes."""

import hashlib
from pathlib import Path

import prometheus_client
import pytest

from serving.middleware import api_keys
from serving.middleware.api_keys import ApiKeys, read_key_file
from serving.settings import Settings


def line(name: str, key: str) -> str:
    return f"{name} {hashlib.sha256(key.encode()).hexdigest()}\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text("# two users\n\n" + line("ann", "the key of ann") + line("bob@example.org", "the key of bob"))
    return path


def test_each_key_has_a_name(file: Path) -> None:
    keys = ApiKeys(Settings(api_keys_file=file, api_key="the single key"))
    assert keys.required
    assert keys.identify(b"the key of ann") == "key of ann"
    assert keys.identify(b"the key of bob") == "key of bob@example.org"
    assert keys.identify(b"the single key") == "key b'the single key'"
    assert keys.identify(b"the key of eve") is None and keys.identify(b"") is None


def test_without_keys_none_is_required() -> None:
    keys = ApiKeys(Settings())
    assert not keys.required and keys.identify(b"") is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "has no key"),
        ("ann the-key-itself\n", "line 1: expected a name and the SHA-256"),
        (line("ann", "k") + "bob\n", "line 2"),
        (line("two words", "k"), "line 1"),
        (line("ann", "k")[:-2], "line 1"),
        (line("ann", "k").upper(), "line 1"),
        (line("a" * 61, "k"), "line 1"),
        (line("b\u00f6b", "k"), "line 1"),
        (line("ann", "k").replace(" ", ""), "line 1"),
        (line("ann", "k") + line("bob", ""), "line 2: this is the SHA-256 of an empty key"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "keys").write_text(content)
    with pytest.raises(ValueError, match=said):
        read_key_file(tmp_path / "keys")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        ApiKeys(Settings(api_keys_file=tmp_path / "missing"))


def test_the_file_is_read_again_after_the_interval(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(api_keys.time, "monotonic", lambda: now)
    keys = ApiKeys(Settings(api_keys_file=file))
    for name in ("first", "second"):
        file.write_text(line(name, f"the {name} key"))
        now += api_keys.INTERVAL - 0.001
        assert keys.identify(f"the {name} key".encode()) is None
        now += 0.001
        assert keys.identify(f"the {name} key".encode()) == f"key of {name}"


def test_a_changed_file_takes_effect_and_a_wrong_one_does_not(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_keys, "INTERVAL", 0)
    keys = ApiKeys(Settings(api_keys_file=file))
    file.write_text(line("ann", "a new key"))
    assert keys.identify(b"a new key") == "key of ann"
    assert keys.identify(b"the key of ann") is None and keys.identify(b"the key of bob") is None

    def failures() -> float:
        return prometheus_client.REGISTRY.get_sample_value("digits_key_file_failures_total") or 0.0

    before = failures()
    file.write_text("ann\n")
    assert keys.identify(b"a new key") == "key of ann" and failures() == before + 1
    file.unlink()
    assert keys.identify(b"a new key") == "key of ann" and failures() == before + 2
    file.write_text(line("bob", "another key"))
    assert keys.identify(b"another key") == "key of bob" and keys.identify(b"a new key") is None
