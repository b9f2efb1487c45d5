"""The promotion history accepts the event `updated`: a version with the champion's model file replaces the champion."""

from pathlib import Path

import sqlalchemy as sql
from alembic import op

revision = "0002"
down_revision = "0001"

EVENTS = "event in ('promoted', 'updated', 'refused', 'rolled back')"


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":  # cannot change a constraint: the table is copied
        for statement in Path(__file__).with_name("0002_sqlite.sql").read_text(encoding="utf-8").split("\n\n"):
            op.execute(statement)
        return
    for constraint in sql.inspect(connection).get_check_constraints("ledger"):
        op.execute(f'alter table ledger drop constraint "{constraint["name"]}"')
    op.execute(f"alter table ledger add constraint ledger_event_check check ({EVENTS})")
