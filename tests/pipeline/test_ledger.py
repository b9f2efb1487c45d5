"""The ledger: rows come back in order, and only known events go in."""

import pytest
import sqlalchemy

from pipeline import ledger
from pipeline.ledger import Entry


@pytest.fixture(autouse=True)
def database(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("DIGITS_DATABASE_URL", f"sqlite:///{tmp_path / 'digits.db'}")


def test_rows_come_back_in_order() -> None:
    ledger.append(Entry("promoted", "mnist-classifier", "1", None, "first champion"))
    ledger.append(Entry("refused", "mnist-classifier", "2", "1", "not better"))
    ledger.append(Entry("promoted", "other-classifier", "1", None, "first champion"))
    rows = ledger.history("mnist-classifier")
    assert [(row["event"], row["version"], row["champion_before"]) for row in rows] == [
        ("promoted", "1", None),
        ("refused", "2", "1"),
    ]
    assert rows[0]["who"] and rows[0]["time"] <= rows[1]["time"]
    assert ledger.has("mnist-classifier", "refused", "2", "1")
    assert ledger.has("mnist-classifier", "refused", "2", None)
    assert not ledger.has("mnist-classifier", "refused", "2", "7")
    assert not ledger.has("mnist-classifier", "promoted", "2", None)


def test_an_unknown_event_is_refused_by_the_database() -> None:
    with pytest.raises(sqlalchemy.exc.IntegrityError):
        ledger.append(Entry("forgotten", "mnist-classifier", "1", None, ""))
    assert ledger.history("mnist-classifier") == []
