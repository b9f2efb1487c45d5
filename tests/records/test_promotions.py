"""The ledger on SQLite and on PostgreSQL: rows come back in order, none is ever changed, one turn has one row."""

import sqlite3
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sql

from records import promotions
from records.promotions import Entry

MODEL = "mnist-classifier"
FIRST = Entry("promoted", MODEL, "1", None, "first champion", "a" * 64, turn=1)


pytestmark = pytest.mark.usefixtures("database_url")


def test_rows_come_back_in_order() -> None:
    promotions.append(FIRST)
    promotions.append(Entry("refused", MODEL, "2", "1", "not better"))
    promotions.append(Entry("promoted", "other-classifier", "1", None, "first champion"))
    rows = promotions.history(MODEL)
    assert [(row["event"], row["version"], row["champion_before"]) for row in rows] == [
        ("promoted", "1", None),
        ("refused", "2", "1"),
    ]
    assert rows[0]["who"] == promotions.who() and rows[0]["time"] <= rows[1]["time"]
    assert abs((datetime.now(UTC) - rows[0]["time"]).total_seconds()) < 600
    assert promotions.turns(MODEL) == 1 and promotions.turns("other-classifier") == 0
    assert promotions.has(MODEL, "refused", "2", "1")
    assert promotions.has(MODEL, "refused", "2", None)
    assert not promotions.has(MODEL, "refused", "2", "7")
    assert not promotions.has(MODEL, "promoted", "2", None)


def test_an_unknown_event_is_refused_by_the_database() -> None:
    with pytest.raises(sql.exc.IntegrityError):
        promotions.append(Entry("forgotten", MODEL, "1", None, ""))
    assert promotions.history(MODEL) == []


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
def test_no_row_is_changed_or_removed(statement: str, database_url: str) -> None:
    if statement.startswith("insert or replace" if database_url.startswith("postgresql") else "truncate"):
        return  # not a statement of this database
    promotions.append(FIRST)
    before = promotions.history(MODEL)
    with (
        pytest.raises(sql.exc.DatabaseError, match="the ledger is append-only"),
        promotions.engine().begin() as connection,
    ):
        connection.exec_driver_sql(statement)
    assert promotions.history(MODEL) == before


def test_of_many_that_want_one_turn_one_gets_it() -> None:
    outcomes: list[str] = []
    barrier = threading.Barrier(8)

    def take(version: int) -> None:
        barrier.wait()
        try:
            promotions.append(Entry("promoted", MODEL, str(version), None, "", turn=1))
            outcomes.append("won")
        except promotions.Overtaken:
            outcomes.append("told")

    threads = [threading.Thread(target=take, args=(version,)) for version in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["told"] * 7 + ["won"]
    assert len(promotions.history(MODEL)) == 1


def test_a_ledger_of_before_is_brought_up_to_date(tmp_path: Path, database_url: str) -> None:
    if database_url.startswith("postgresql"):
        return  # only SQLite was used then
    with sqlite3.connect(tmp_path / "digits.db") as connection:
        connection.execute(
            "create table ledger (id integer primary key, time datetime not null, who varchar(200) not null, "
            "event varchar(20) not null, model varchar(200) not null, version varchar(20) not null, "
            "champion_before varchar(20), reason text not null)"
        )
        connection.execute(
            "insert into ledger values (1, '2026-01-01 10:00:00.000000', 'ann', 'promoted', ?, '1', null, '')", (MODEL,)
        )
    promotions.append(Entry("promoted", MODEL, "2", "1", "better", "b" * 64, turn=1))
    assert [(row["version"], row["turn"], row["digest"]) for row in promotions.history(MODEL)] == [
        ("1", None, None), ("2", 1, "b" * 64),
    ]  # fmt: skip
    with pytest.raises(sql.exc.DatabaseError, match="append-only"), promotions.engine().begin() as connection:
        connection.execute(promotions.table.delete())
