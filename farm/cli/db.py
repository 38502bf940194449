"""The commands that manage the database."""

import click

from farm import config
from farm.db import migrate


@click.group()
def db() -> None:
    """Manage the database."""


@db.command()
def upgrade() -> None:
    """Bring the schema up to this release."""
    settings = config.load()
    migrate.upgrade(settings.required_database_url)
    click.echo("The database is up to date.")
