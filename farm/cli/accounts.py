"""The commands for accounts, which a portal needs as soon as others can reach it."""

import click

from farm import accounts
from farm.cli.console import open_database


@click.group()
def users() -> None:
    """Look after accounts."""


@users.command()
@click.argument("name")
def add(name: str) -> None:
    """Make an account, or another key for it; the key is shown once."""
    with open_database().begin() as session:
        key = accounts.add_user(session, name)
    click.echo(key)
    click.echo(
        "Keep this key: it is not shown again. Use it as FARM_API_KEY, or as the password in a browser.", err=True
    )
