"""`farm bench`: measurements that print figures; nothing here is a test."""

import click


@click.group()
def bench() -> None:
    """Measure this machine: submit, claim, overhead."""
