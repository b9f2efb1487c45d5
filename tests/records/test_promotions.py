"""The promotion history on SQLite and on PostgreSQL: order of rows, append-only table, one row for each revision."""

import threading
from datetime import UTC, datetime

import pytest
import sqlalchemy as sql

from records import promotions
from records.promotions import Entry

MODEL = "mnist-classifier"
FIRST = Entry("promoted", MODEL, "1", None, "first champion", "a" * 64, revision=1)


def test_rows_come_back_in_order(engine: sql.Engine) -> None:
    assert promotions.last_row(engine) == 0 and promotions.revision(engine, MODEL) == 0
    promotions.append(engine, FIRST)
    promotions.append(engine, Entry("refused", MODEL, "2", "1", "not better"))
    promotions.append(engine, Entry("promoted", "other-classifier", "1", None, "first champion"))
    rows = promotions.history(engine, MODEL)
    assert [(row["event"], row["version"], row["champion_before"], row["revision"]) for row in rows] == [
        ("promoted", "1", None, 1),
        ("refused", "2", "1", None),
    ]
    assert rows[0]["who"] == promotions.who() and rows[0]["time"] <= rows[1]["time"]
    assert abs((datetime.now(UTC) - rows[0]["time"]).total_seconds()) < 600
    assert promotions.revision(engine, MODEL) == 1 and promotions.revision(engine, "other-classifier") == 0
    assert promotions.last_row(engine) == 3


def test_the_database_refuses_unknown_events(engine: sql.Engine) -> None:
    with pytest.raises(sql.exc.IntegrityError):
        promotions.append(engine, Entry("forgotten", MODEL, "1", None, ""))
    assert promotions.history(engine, MODEL) == []


@pytest.mark.parametrize(
    "statement",
    [
        "update ledger set reason = 'another'",
        "delete from ledger",
        "truncate ledger",
        "insert or replace into ledger select id, time, 'me', event, model, version, champion_before, reason, digest, "
        "forced, turn from ledger",
        "insert or replace into ledger select id + 1, time, 'me', event, model, version, champion_before, reason, "
        "digest, forced, turn from ledger",
    ],
)
def test_the_database_refuses_changes_of_rows(statement: str, engine: sql.Engine) -> None:
    if statement.startswith("insert or replace" if engine.dialect.name == "postgresql" else "truncate"):
        return  # the database has no such statement
    promotions.append(engine, FIRST)
    before = promotions.history(engine, MODEL)
    with pytest.raises(sql.exc.DatabaseError, match="append-only"), engine.begin() as connection:
        connection.exec_driver_sql(statement)
    assert promotions.history(engine, MODEL) == before


def test_one_of_several_concurrent_promotions_wins(engine: sql.Engine) -> None:
    outcomes: list[str] = []
    barrier = threading.Barrier(8)

    def promote(version: int) -> None:
        barrier.wait()
        try:
            promotions.append(engine, Entry("promoted", MODEL, str(version), None, "", revision=1))
            outcomes.append("won")
        except promotions.ConcurrentPromotion:
            outcomes.append("lost")

    threads = [threading.Thread(target=promote, args=(version,)) for version in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["lost"] * 7 + ["won"]
    assert len(promotions.history(engine, MODEL)) == 1
