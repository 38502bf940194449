"""The commands that take a worker out of service and put it back."""

import click

from farm.cli.console import one_line, open_client

_worker = click.argument("worker")


@click.command()
@_worker
@click.option("--reason", help="The reason, shown in the list of workers.")
def drain(worker: str, reason: str | None) -> None:
    """Let a worker finish what it renders and take no more.

    WORKER is its name, as `farm workers` lists it. It stays drained until `farm restore`, across restarts.
    """
    open_client().drain(worker, reason)
    click.echo(f"Worker {one_line(worker)} takes no more work. `farm restore {one_line(worker)}` puts it back.")


@click.command()
@_worker
@click.option("--checkpoint", metavar="NAME", help="Let it render this checkpoint again, and nothing else.")
def restore(worker: str, checkpoint: str | None) -> None:
    """Put a worker back in service."""
    left = open_client().restore(worker, checkpoint)
    click.echo(f"Worker {one_line(worker)} takes {'checkpoint ' + checkpoint if checkpoint else 'all work'} again.")
    for exclusion in left:
        click.echo(f"It is still kept from {exclusion.checkpoint or 'all work'}: {one_line(exclusion.reason)}")
