"""Bring the database's schema up to this release."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, NullPool, create_engine

from farm.db.connection import driver_url

SCRIPTS = Path(__file__).resolve().parents[2] / "migrations"


def upgrade(database_url: str, revision: str = "head") -> None:
    """Run the migrations that are missing.

    Two processes may do so at once: the second waits and finds nothing to do. Two threads may not:
    Alembic keeps its context in module globals. A database that is newer is left as it is.
    """
    engine = create_engine(driver_url(database_url), poolclass=NullPool)
    if not is_newer(engine):
        command.upgrade(_config(database_url), revision)


def is_current(engine: Engine) -> bool:
    """Whether the database has every migration of this release.

    A newer release may have migrated it already while this one still runs: each works beside the one before.
    """
    return _revision(engine) == _scripts().get_current_head() or is_newer(engine)


def is_newer(engine: Engine) -> bool:
    """Whether the database has a migration that this release does not know."""
    return _revision(engine) not in (None, *(script.revision for script in _scripts().walk_revisions()))


def _revision(engine: Engine) -> str | None:
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config(""))


def _config(database_url: str) -> Config:
    config = Config()
    # A % in an option begins a reference to another one.
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.attributes["url"] = database_url
    return config
