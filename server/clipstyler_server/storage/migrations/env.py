"""Alembic's entry point: runs the migrations on the given connection."""

from alembic import context

from clipstyler_server.storage.tables import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
with context.begin_transaction():
    context.run_migrations()
