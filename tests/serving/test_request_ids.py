"""Request ids: signed, dated, and those that were created before the key was known."""

import time

import pytest

from serving.prediction_log import request_ids
from serving.prediction_log.request_ids import RequestIds, UnknownRequestId, age, is_signed

KEY = bytes(32)


def signed(key: bytes = KEY) -> RequestIds:
    ids = RequestIds()
    ids.use_key(key)
    return ids


def test_an_id_is_valid_wherever_the_key_is_the_same() -> None:
    made = signed().create()
    assert len(made) == 48 and age(made) == pytest.approx(0, abs=5)
    assert signed().parse(made) == (made, None)
    assert signed().parse(f"{made}-12") == (made, 12)


@pytest.mark.parametrize("position", [0, 5, 20, 31, 32, 47])
def test_a_changed_character_is_noticed(position: int) -> None:
    made = signed().create()
    other = "0" if made[position] != "0" else "1"
    with pytest.raises(UnknownRequestId):
        signed().parse(made[:position] + other + made[position + 1 :])


def test_an_id_of_another_key_is_refused() -> None:
    with pytest.raises(UnknownRequestId):
        signed(key=bytes(31) + b"1").parse(signed().create())


@pytest.mark.parametrize(
    "text", ["", "no id", "0" * 31, "0" * 33, "0" * 47, "G" * 32, "0" * 32 + "-", "0" * 32 + "-12345"]
)
def test_a_malformed_id_is_refused(text: str) -> None:
    with pytest.raises(UnknownRequestId):
        signed().parse(text)


def test_an_id_from_the_future_is_refused_beyond_the_clocks_skew(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time_ns()
    for seconds, accepted in ((50, True), (70, False)):
        monkeypatch.setattr(request_ids.time, "time_ns", lambda ahead=seconds: now + ahead * 10**9)
        made = signed().create()
        if accepted:
            assert signed().parse(made) == (made, None)
        else:
            with pytest.raises(UnknownRequestId):
                signed().parse(made)


def test_the_limit_of_the_clocks_skew_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_ids.time, "time_ns", lambda: 1_800_000_060_000_000_000)
    made = signed().create()
    monkeypatch.setattr(request_ids.time, "time", lambda: 1_800_000_000.0)
    assert signed().parse(made) == (made, None)  # as far ahead as clocks may differ
    monkeypatch.setattr(request_ids.time, "time", lambda: 1_799_999_999.9)
    with pytest.raises(UnknownRequestId):
        signed().parse(made)


def test_ids_from_before_the_key_was_known_stay_valid() -> None:
    ids = RequestIds()
    made = ids.create()
    assert len(made) == 32 and not is_signed(made)
    assert ids.parse(made) == (made, None)
    ids.use_key(KEY)
    assert ids.parse(f"{made}-3") == (made, 3)
    assert is_signed(ids.create())
