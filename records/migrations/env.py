"""Alembic's environment: run the revisions in the connection and the transaction of `records.database.migrate`."""

from alembic import context

from records.database import VERSION_TABLE

context.configure(connection=context.config.attributes["connection"], version_table=VERSION_TABLE)
context.run_migrations()
