"""Alembic's entry: one transaction, bounded waits, and a lock against a second migration at the same time."""

from typing import Final

from alembic import context
from sqlalchemy import text

from jobs.database import allow
from jobs.tables import metadata

_LOCK: Final = 0x70656E73
"""Names the advisory lock that only one migration can hold: the letters "pens"."""

connection = context.config.attributes["connection"]
connection.execute(text("SET LOCAL lock_timeout = '60s'"))
allow(connection, seconds=900)
connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
# Waiting for the lock was the long part; a table lock must not make others wait behind us.
connection.execute(text("SET LOCAL lock_timeout = '4s'"))
context.configure(connection=connection, target_metadata=metadata, compare_server_default=True)
with context.begin_transaction():
    context.run_migrations()
