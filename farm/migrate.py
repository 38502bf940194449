"""Bring the database's schema up to this release."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine

_SCRIPTS = Path(__file__).resolve().parents[1] / "migrations"


def upgrade(database_url: str, revision: str = "head") -> None:
    """Run the migrations that are missing.

    Two processes may do so at once: the second waits and finds nothing to do. Two threads may not:
    Alembic keeps its context in module globals.
    """
    command.upgrade(_config(database_url), revision)


def is_current(engine: Engine) -> bool:
    """Whether the database has every migration of this release."""
    with engine.connect() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    return found == ScriptDirectory.from_config(_config("")).get_current_head()


def _config(database_url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    config.attributes["url"] = database_url
    return config
