"""Baseline: create the schema, or complete the schema of a database from before the migrations."""

from pathlib import Path

import sqlalchemy as sql
from alembic import op

revision = "0001"
down_revision = None

LATER_COLUMNS = {"digest": "varchar(64)", "forced": "boolean", "turn": "integer"}  # the first ledger had none of them


def upgrade() -> None:
    inspector = sql.inspect(op.get_bind())
    if inspector.has_table("ledger"):
        present = {column["name"] for column in inspector.get_columns("ledger")}
        for name, kind in LATER_COLUMNS.items():
            if name not in present:
                op.execute(f"alter table ledger add column {name} {kind}")
    script = Path(__file__).with_name(f"0001_{inspector.dialect.name}.sql").read_text(encoding="utf-8")
    for statement in script.split("\n\n"):
        op.execute(statement)
