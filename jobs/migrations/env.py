"""Alembic's entry: each revision is a transaction of its own. The connection's bounds are set by who gives it."""

from alembic import context

from jobs.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    compare_server_default=True,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
