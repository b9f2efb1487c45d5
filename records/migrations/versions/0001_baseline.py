"""Baseline: create the schema, or complete the schema of a database from before the migrations."""

import sqlalchemy as sql
from alembic import op

revision = "0001"
down_revision = None

TYPES = {
    "sqlite": {"id": "integer", "time": "datetime", "bytes": "blob"},
    "postgresql": {"id": "serial", "time": "timestamp with time zone", "bytes": "bytea"},
}
TABLES = """
create table if not exists predictions (
    request_id varchar(64) not null, position integer not null, model varchar(40) not null, time {time} not null,
    route varchar(40) not null, version varchar(20) not null, prediction integer not null, confidence float not null,
    uncertain boolean not null, reason varchar(20), latency_ms float not null, client varchar(32) not null,
    primary key (request_id, position, model)
);
create table if not exists pictures (
    request_id varchar(64) not null, position integer not null, time {time} not null, dataset varchar(40) not null,
    digest varchar(64) not null, pixels {bytes} not null,
    primary key (request_id, position)
);
create table if not exists labels (
    id {id} not null primary key, request_id varchar(64) not null, position integer not null, time {time} not null,
    label integer, client varchar(32) not null
);
create table if not exists reviews (
    id {id} not null primary key, label_id integer not null, time {time} not null, who varchar(200) not null,
    accepted boolean not null
);
create table if not exists monitoring (
    id {id} not null primary key, time {time} not null, status integer not null, figures json not null
);
create table if not exists secrets (name varchar(40) not null primary key, value varchar(200) not null);
create table if not exists ledger (
    id {id} not null primary key, time {time} not null, who varchar(200) not null,
    event varchar(20) not null check (event in ('promoted', 'refused', 'rolled back')),
    model varchar(200) not null, version varchar(20) not null, champion_before varchar(20), reason text not null
);
create index if not exists ix_predictions_time on predictions (time);
create index if not exists ix_pictures_time on pictures (time);
create index if not exists ix_labels_request_id on labels (request_id);
create index if not exists ix_reviews_label_id on reviews (label_id)
"""
LATER_COLUMNS = {"digest": "varchar(64)", "forced": "boolean", "turn": "integer"}  # the first ledger had none of them
REFUSE = "begin select raise(abort, 'the promotion history is append-only'); end"
APPEND_ONLY = {
    "sqlite": (
        *(f"drop trigger if exists ledger_no_{event}" for event in ("update", "delete", "replace")),
        f"create trigger ledger_no_update before update on ledger {REFUSE}",
        f"create trigger ledger_no_delete before delete on ledger {REFUSE}",
        # `insert or replace` deletes rows without firing the delete trigger
        "create trigger ledger_no_replace before insert on ledger when exists (select 1 from ledger "  # noqa: S608
        f"where id = new.id or (model = new.model and turn = new.turn)) {REFUSE}",
    ),
    "postgresql": (
        "create or replace function ledger_append_only() returns trigger language plpgsql as "
        "$$ begin raise exception 'the promotion history is append-only'; end $$",
        "create or replace trigger ledger_append_only before update or delete or truncate on ledger "
        "for each statement execute function ledger_append_only()",
    ),
}


def upgrade() -> None:
    dialect = op.get_bind().dialect.name
    for statement in TABLES.format(**TYPES[dialect]).split(";"):
        op.execute(statement)
    present = {column["name"] for column in sql.inspect(op.get_bind()).get_columns("ledger")}
    for name, kind in LATER_COLUMNS.items():
        if name not in present:
            op.execute(f"alter table ledger add column {name} {kind}")
    op.execute("create unique index if not exists ledger_turns on ledger (model, turn)")
    for statement in APPEND_ONLY[dialect]:
        op.execute(statement)
