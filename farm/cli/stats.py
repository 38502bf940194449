"""The command that shows the farm in figures: how it is planned, who gets what, how good estimates were."""

import click

from farm.cli.console import json_option, one_line, open_client, print_json, print_table
from farm.reports.figures import StatsReport


@click.command()
@json_option
def stats(as_json: bool) -> None:
    """Show the plan of each pool, who gets how much of it, and how far off estimates were."""
    found = open_client().stats()
    if as_json:
        return print_json(found)
    _print_farm(found)
    for plan in found.plans:
        click.echo(f"{'Plan':<10} {one_line(plan.in_words)}")
    click.echo(f"{'Starts':<10} {found.starts.in_words}")
    click.echo(f"{'Ends':<10} {found.ends.in_words}")
    if found.shares:
        print_table(
            found.shares,
            {
                "OWNER": lambda share: share.owner,
                "PROJECT": lambda share: share.project or "",
                "POOL": lambda share: share.pool,
                "WEIGHT": lambda share: f"{share.weight:g}",
                "DEVICES": lambda share: f"{share.rate:.1f}",
                "OWED": lambda share: f"{share.lag:+.0f}s",
                "USED": lambda share: f"{share.used_seconds:.0f}s",
            },
        )
    return None


def _print_farm(found: StatsReport) -> None:
    click.echo(f"{'Images':<10} {found.queued} queued, {found.running} running")
    workers = f"{found.workers_live} live, {found.workers_in_service} in service, {found.workers_busy} busy"
    click.echo(f"{'Workers':<10} {workers}")
