"""The commands for checkpoints."""

from pathlib import Path

import click

from farm import catalog, overview
from farm.cli.console import ago, json_option, open_database, print_json, print_table


@click.group()
def checkpoints() -> None:
    """Add, list and remove checkpoints."""


@checkpoints.command()
@click.argument("name")
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--note", help="A word on what it is.")
def add(name: str, folder: Path, note: str | None) -> None:
    """Register a diffusers checkpoint folder; every worker must find it at the same path."""
    found = catalog.inspect_folder(folder)
    with open_database().begin() as session:
        catalog.add(session, name, found, note)
    click.echo(f"Added {name}: {found.family}, sha256 {found.sha256[:10]}…")


@checkpoints.command("list")
@json_option
def list_checkpoints(as_json: bool) -> None:
    """List the registered checkpoints."""
    with open_database().begin() as session:
        found = overview.checkpoint_reports(catalog.by_name(session).values())
    if as_json:
        return print_json(found)
    return print_table(
        found,
        {
            "NAME": lambda checkpoint: checkpoint.name,
            "FAMILY": lambda checkpoint: checkpoint.family,
            "HASH": lambda checkpoint: checkpoint.sha256[:10],
            "ADDED": lambda checkpoint: ago(checkpoint.created_at),
            "NOTE": lambda checkpoint: checkpoint.note or "",
        },
    )


@checkpoints.command()
@click.argument("name")
def remove(name: str) -> None:
    """Take a checkpoint out of use; its files stay, and accepted jobs keep rendering with it."""
    with open_database().begin() as session:
        catalog.remove(session, name)
    click.echo(f"Removed {name}.")
