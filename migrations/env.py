"""How Alembic reaches the database: by the URL that `farm db upgrade` hands over, else by the settings."""

from alembic import context
from sqlalchemy import create_engine, text

from farm import config
from farm.db.connection import driver_url
from farm.db.locks import Lock
from farm.db.tables.schema import METADATA


def run() -> None:
    url = context.config.attributes.get("url") or config.load().required_database_url
    engine = create_engine(driver_url(url))
    with engine.connect() as connection:
        # Two upgrades at once: the second waits here, then finds nothing to do.
        connection.execute(text(f"SELECT pg_advisory_lock({Lock.MIGRATION.value})"))
        # A migration that cannot get its lock gives up and can be repeated; it must not queue
        # in front of every other statement.
        connection.execute(text("SET lock_timeout = '5s'"))
        connection.execute(text("SET statement_timeout = '10min'"))
        connection.commit()
        context.configure(connection=connection, target_metadata=METADATA, transaction_per_migration=True)
        with context.begin_transaction():
            context.run_migrations()
    engine.dispose()


run()
